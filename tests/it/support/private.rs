//! A Postgres of a test's own, for what would disturb the others: stopping it, making its roles.

use super::{Database, Dir};
use insula::{
    bootstrap::{self, Passwords},
    local::{Durability, Postgres},
};
use secrecy::SecretString;
use std::{fs, time::Duration};

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Private {
    // Before the directory it lives in.
    postgres: Option<Postgres>,
    dir: Dir,
}

impl Private {
    /// As initdb leaves it.
    pub async fn new() -> Self {
        let mut private = Self { postgres: None, dir: Dir::new() };
        private.start().await;
        private
    }

    /// With the roles, and a migrated database `insula`.
    pub async fn migrated() -> (Self, Database) {
        let private = Self::new().await;
        let database = private.database();
        let owner = SecretString::from(database.url("insula_owner"));
        bootstrap::bootstrap(&private.superuser_url(), "insula", &Passwords::default(), PATIENCE)
            .await
            .unwrap();
        bootstrap::migrate(&owner, PATIENCE).await.unwrap();
        (private, database)
    }

    pub fn database(&self) -> Database {
        Database::of(self.postgres.as_ref().unwrap(), "insula")
    }

    pub fn superuser_url(&self) -> SecretString {
        self.postgres.as_ref().unwrap().superuser_url().into()
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        let log = fs::read(self.postgres.as_ref().unwrap().dir().join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    pub async fn stop(&mut self) {
        self.postgres.take().unwrap().stop().await.unwrap();
    }

    /// On the same data, at the same address.
    pub async fn start(&mut self) {
        let started = Postgres::start(&self.dir.path().join("pg"), None, Durability::Throwaway).await;
        self.postgres = Some(started.unwrap());
    }
}
