//! Files to upload, and those of uploads that came to nothing.

use super::{Persona, Reply, TestApp};
use insula::{
    ids::{FileId, OrgId},
    storage::Key,
};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::Value;
use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};
use time::OffsetDateTime;

/// The beginning of a picture of 2 by 3 pixels, like no other.
pub fn png() -> Vec<u8> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03\x08\x02\0\0\0".to_vec();
    png.extend(MADE.fetch_add(1, Ordering::SeqCst).to_be_bytes());
    png
}

/// Uploads a file under a name, declared to be of a type.
pub async fn upload(by: &Persona, name: &str, declared: &str, bytes: impl Into<Vec<u8>>) -> Reply {
    let part = Part::bytes(bytes.into()).file_name(name.to_owned()).mime_str(declared).unwrap();
    by.upload(Form::new().part("file", part)).await
}

impl Persona {
    pub async fn upload(&self, form: Form) -> Reply {
        Reply::of(self.request(Method::POST, "/api/v1/files").multipart(form)).await
    }

    /// A picture that was uploaded.
    pub async fn picture(&self) -> Value {
        upload(self, "cog.png", "image/png", png()).await.expect(201)
    }

    /// What a link leads to, asked of the server that this one calls.
    pub async fn follow(&self, url: &Value) -> Reply {
        self.get(url.as_str().unwrap().strip_prefix("http://insula.test").unwrap()).await
    }
}

impl TestApp {
    /// What is left where a server dies between the last byte of an upload and its commit.
    pub async fn died_in_an_upload(&self, org: OrgId, due_at: OffsetDateTime) -> FileId {
        let id = FileId::new();
        let mut writing = self.state.storage.write(&Key::of(org, id));
        writing.push(png().into()).await.unwrap();
        writing.finish().await.unwrap();
        let mut superuser = self.database.superuser().await;
        sqlx::query("insert into loose_files (org_id, id, due_at) values ($1, $2, $3)")
            .bind(org.uuid())
            .bind(id.uuid())
            .bind(due_at)
            .execute(&mut superuser)
            .await
            .unwrap();
        id
    }

    /// What of an org is in the storage.
    pub async fn stored(&self, org: OrgId) -> Vec<String> {
        self.state.storage.list(org).await.unwrap()
    }

    /// How many files there are in the folder of the storage, those included that are still being written.
    pub fn on_disk(&self) -> usize {
        fn files(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
        }
        files(&self.database.files)
    }
}
