//! Makes people, members and operators from the command line's side of the house, not the API's.

use crate::{
    authn::password::Hasher,
    clock::Clock,
    error::{Error, Result, SqlExt as _},
    events::{self, Entry},
    ids::{OrgId, UserId},
    tenancy::{PLATFORM, PlatformDb, PlatformTx},
    trail::Trail,
};
use secrecy::SecretString;
use serde_json::json;

/// A person with a password.
///
/// # Errors
/// 409 `email_taken`.
pub async fn create_user(
    platform: &PlatformDb,
    hasher: &Hasher,
    email: &str,
    name: &str,
    password: SecretString,
) -> Result<UserId> {
    let id = UserId::new();
    let hash = hasher.hash(password).await?;
    let mut tx = platform.begin().await?;
    sqlx::query!("insert into users (id, email, name) values ($1, $2, $3)", id.uuid(), email, name)
        .execute(&mut *tx)
        .await
        .on_constraint("users_email_key", || {
            Error::conflict("email_taken", "this e-mail address is registered")
        })?;
    sqlx::query!("insert into credentials (user_id, password_hash) values ($1, $2)", id.uuid(), hash)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(id)
}

/// Makes `user` an operator, and writes down that nobody who is one did.
pub async fn make_operator(platform: &PlatformDb, clock: &Clock, user: UserId) -> Result<()> {
    let roles = ["operator"];
    let mut tx = platform.begin().await?;
    join(&mut tx, PLATFORM, user, &roles).await?;
    let made = Entry::new("member.joined", "user", user.uuid().to_string()).after(json!({"roles": roles}));
    events::record_by_platform(&mut tx, PLATFORM, None, &Trail::of_the_house(clock.now()), made).await?;
    tx.commit().await
}

/// Makes `user` a member of `org` with exactly `roles`, whatever they held before: for demos and tests, which tell nobody.
pub async fn set_member(platform: &PlatformDb, org: OrgId, user: UserId, roles: &[&str]) -> Result<()> {
    let mut tx = platform.begin().await?;
    join(&mut tx, org, user, roles).await?;
    tx.commit().await
}

async fn join(tx: &mut PlatformTx, org: OrgId, user: UserId, roles: &[&str]) -> Result<()> {
    let mut roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    roles.sort();
    // First: changes of an org's members take turns.
    sqlx::query!("update org_control set policy_version = policy_version + 1 where org_id = $1", org.uuid())
        .execute(&mut **tx)
        .await?;
    sqlx::query!(
        "insert into members (org_id, user_id, email, name, roles)
         select $1, id, email, name, $3 from users where id = $2
         on conflict (org_id, user_id) do update set roles = excluded.roles, version = members.version + 1",
        org.uuid(),
        user.uuid(),
        &roles
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("select control_change('policy', $1, null)", org.uuid()).execute(&mut **tx).await?;
    Ok(())
}
