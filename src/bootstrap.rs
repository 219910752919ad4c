//! Makes a database server ready for Insula: its roles, its database, its schema.

use crate::db::{MIGRATOR, reach};
use anyhow::{Context as _, bail};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use std::{num::NonZeroU32, str::FromStr as _, time::Duration};

const ROLES: &str = include_str!("../migrations/bootstrap.sql");

/// Passwords to set; a role without one keeps what it has.
#[derive(Default)]
pub struct Passwords {
    pub owner: Option<SecretString>,
    pub app: Option<SecretString>,
    pub platform: Option<SecretString>,
}

/// Creates what is missing on the server of `admin_url`, and changes nothing that is there but passwords given.
pub async fn bootstrap(
    admin_url: &SecretString,
    database: &str,
    passwords: &Passwords,
    patience: Duration,
) -> anyhow::Result<()> {
    if !database.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        bail!("the database name {database:?} has other characters than letters, digits and _");
    }
    let mut admin = reach(admin_url, patience).await.context("as the administrator")?;
    admin.execute(sqlx::raw_sql(ROLES)).await.context("making the roles")?;
    for (role, password) in [
        ("insula_owner", &passwords.owner),
        ("insula_app", &passwords.app),
        ("insula_platform", &passwords.platform),
    ] {
        if let Some(password) = password {
            set_password(&mut admin, role, password)
                .await
                .with_context(|| format!("setting the password of {role}"))?;
        }
    }
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(database)
        .fetch_one(&mut admin)
        .await?;
    if !exists {
        // The administrator of a managed server is no superuser, and may give away only what it is a member of.
        admin
            .execute("grant insula_owner to current_user")
            .await
            .context("becoming a member of insula_owner")?;
        let create = format!("create database {database} owner insula_owner");
        admin.execute(AssertSqlSafe(create)).await.context("creating the database")?;
    }
    admin.close().await?;
    let inside = PgConnectOptions::from_str(admin_url.expose_secret())?.database(database);
    let mut inside = PgConnection::connect_with(&inside).await.context("connecting to the new database")?;
    inside.execute("revoke create on schema public from public").await?;
    // A temporary table of the app's could stand before ours in somebody's search path.
    inside.execute(AssertSqlSafe(format!("revoke temporary on database {database} from public"))).await?;
    inside.close().await?;
    Ok(())
}

/// Drops a database and whoever is connected to it.
pub async fn drop_database(admin_url: &SecretString, database: &'static str) -> anyhow::Result<()> {
    let mut admin = reach(admin_url, Duration::ZERO).await?;
    let drop = format!("drop database if exists {database} with (force)");
    admin.execute(AssertSqlSafe(drop)).await.context("dropping the database")?;
    Ok(())
}

/// `alter role` takes no parameters: the server quotes the words itself. It is told no password but what it would keep
/// of one: its log may show each statement.
async fn set_password(admin: &mut PgConnection, role: &str, password: &SecretString) -> anyhow::Result<()> {
    // Others would have to be normalized first (RFC 4013).
    if !password.expose_secret().bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        bail!("it has other characters than those of ASCII that can be printed");
    }
    let kept = verifier(password, rand::random());
    let statement: String =
        sqlx::query_scalar("select format('alter role %I password %L', $1::text, $2::text)")
            .bind(role)
            .bind(kept)
            .fetch_one(&mut *admin)
            .await?;
    admin.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

/// What Postgres keeps of a password: a verifier of SCRAM-SHA-256 (RFC 5802, RFC 7677).
fn verifier(password: &SecretString, salt: [u8; 16]) -> String {
    // As many as Postgres itself takes.
    const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4_095);
    let mut salted = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        &salt,
        password.expose_secret().as_bytes(),
        &mut salted,
    );
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&salted, b"Client Key").as_ref());
    let server = hmac::sign(&salted, b"Server Key");
    let [salt, stored, server] =
        [&salt[..], stored.as_ref(), server.as_ref()].map(|part| STANDARD.encode(part));
    format!("SCRAM-SHA-256${ROUNDS}:{salt}${stored}:{server}")
}

/// Brings the schema up to date, as its owner. Replicas that start at once take turns.
pub async fn migrate(owner_url: &SecretString, patience: Duration) -> anyhow::Result<()> {
    let mut owner = reach(owner_url, patience).await.context("as INSULA_DATABASE__OWNER_URL")?;
    MIGRATOR.run(&mut owner).await.context("a migration failed, and nothing of it was kept")?;
    owner.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3, as Postgres stores its end of it.
    #[test]
    fn what_is_kept_of_a_password_is_what_postgres_would_keep() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        assert_eq!(
            verifier(&"pencil".to_owned().into(), salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
