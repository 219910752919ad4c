//! What Postgres is told of files.

use super::{File, upload::Received};
use crate::{
    audit::hex,
    authn::{self, Actor},
    error::{Error, Result, SqlExt as _},
    ids::{ApiKeyId, FileId, UserId},
    tenancy::TenantTx,
};
use time::OffsetDateTime;

pub const COLUMNS: &str =
    "id, name, content_type, size, sha256, width, height, created_by_user, created_by_key, created_at";

#[derive(sqlx::FromRow)]
pub struct FileRow {
    id: FileId,
    name: String,
    content_type: String,
    size: i64,
    sha256: Vec<u8>,
    width: Option<i32>,
    height: Option<i32>,
    created_by_user: Option<UserId>,
    created_by_key: Option<ApiKeyId>,
    created_at: OffsetDateTime,
}

impl From<FileRow> for File {
    /// Without a link: those are made for each answer.
    fn from(row: FileRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            content_type: row.content_type,
            size: row.size,
            sha256: hex(&row.sha256),
            width: row.width,
            height: row.height,
            url: String::new(),
            url_expires_at: row.created_at,
            created_by: authn::id_in(row.created_by_user, row.created_by_key),
            created_at: row.created_at,
        }
    }
}

/// Says that from `due_at` on there is nothing of this id in the storage that anybody needs.
pub async fn loosen(tx: &mut TenantTx, id: FileId, due_at: OffsetDateTime) -> Result<()> {
    sqlx::query!(
        "insert into loose_files (org_id, id, due_at) values ($1, $2, $3)",
        tx.org().uuid(),
        id.uuid(),
        due_at
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Makes a file of what was loose.
///
/// # Errors
/// 503 where it took so long that it was swept away.
pub async fn insert(tx: &mut TenantTx, id: FileId, by: &Actor, received: &Received) -> Result<File> {
    let found =
        sqlx::query!("delete from loose_files where org_id = $1 and id = $2", tx.org().uuid(), id.uuid());
    if found.execute(&mut **tx).await?.rows_affected() == 0 {
        return Err(Error::Unavailable("the upload took too long; try again"));
    }
    let (user, key) = by.columns();
    let row = sqlx::query_as!(
        FileRow,
        r#"insert into files (org_id, id, name, content_type, size, sha256, width, height, created_by_user,
                              created_by_key)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
           returning id as "id: _", name, content_type, size, sha256, width, height,
                     created_by_user as "created_by_user: _", created_by_key as "created_by_key: _", created_at"#,
        tx.org().uuid(),
        id.uuid(),
        received.name,
        received.content_type,
        received.size,
        received.sha256,
        received.pixels.map(|(width, _)| width),
        received.pixels.map(|(_, height)| height),
        user,
        key
    );
    Ok(row.fetch_one(&mut **tx).await?.into())
}

pub async fn select(tx: &mut TenantTx, id: FileId) -> Result<Option<File>> {
    let row = sqlx::query_as!(
        FileRow,
        r#"select id as "id: _", name, content_type, size, sha256, width, height,
                  created_by_user as "created_by_user: _", created_by_key as "created_by_key: _", created_at
           from files where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

/// # Errors
/// 409 where a product is shown by it. Deleted ones, which may be restored, come back without it.
pub async fn delete(tx: &mut TenantTx, id: FileId) -> Result<Option<File>> {
    sqlx::query!(
        "with gone as (
             delete from product_images i using products p
             where i.org_id = $1 and i.file_id = $2
               and p.org_id = $1 and p.id = i.product_id and p.deleted_at is not null
             returning i.product_id, i.position
         )
         update product_images i set position = i.position - 1, version = version + 1, updated_at = now()
         from gone where i.org_id = $1 and i.product_id = gone.product_id and i.position > gone.position",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query_as!(
        FileRow,
        r#"delete from files where org_id = $1 and id = $2
           returning id as "id: _", name, content_type, size, sha256, width, height,
                     created_by_user as "created_by_user: _", created_by_key as "created_by_key: _", created_at"#,
        tx.org().uuid(),
        id.uuid()
    )
    .fetch_optional(&mut **tx)
    .await
    .on_constraint("product_images_org_id_file_id_fkey", || {
        Error::conflict("in_use", "a product is shown by this file: take it from there first")
    })?;
    Ok(row.map(Into::into))
}
