//! What Postgres is told of the images of products. Whoever changes those of one product holds its row.

use super::{MOST, NewProductImage, ProductImage, ProductImagePatch};
use crate::{
    error::{Error, OptionExt as _, Result, SqlExt as _},
    file_links::PICTURES,
    ids::{FileId, ImageId, ProductId},
    tenancy::TenantTx,
};
use time::OffsetDateTime;

pub struct ImageRow {
    id: ImageId,
    product_id: ProductId,
    file_id: FileId,
    position: i32,
    alt: String,
    content_type: String,
    width: Option<i32>,
    height: Option<i32>,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<ImageRow> for ProductImage {
    /// Without a link: those are made for each answer.
    fn from(row: ImageRow) -> Self {
        Self {
            id: row.id,
            product_id: row.product_id,
            file_id: row.file_id,
            position: row.position,
            alt: row.alt,
            content_type: row.content_type,
            width: row.width,
            height: row.height,
            url: String::new(),
            url_expires_at: row.created_at,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// # Errors
/// 404 where it is not there, or deleted.
pub async fn see_product(tx: &mut TenantTx, id: ProductId) -> Result<()> {
    let found = sqlx::query_scalar!(
        r#"select 1 as "one!" from products where org_id = $1 and id = $2 and deleted_at is null"#,
        tx.org().uuid(),
        id.uuid()
    );
    found.fetch_optional(&mut **tx).await?.or_not_found().map(drop)
}

/// The same, and holds it to the end of the transaction; orders may go on naming it meanwhile.
pub async fn lock_product(tx: &mut TenantTx, id: ProductId) -> Result<()> {
    let found = sqlx::query_scalar!(
        r#"select 1 as "one!" from products where org_id = $1 and id = $2 and deleted_at is null
           for no key update"#,
        tx.org().uuid(),
        id.uuid()
    );
    found.fetch_optional(&mut **tx).await?.or_not_found().map(drop)
}

pub async fn select_all(tx: &mut TenantTx, product: ProductId) -> Result<Vec<ProductImage>> {
    let rows = sqlx::query_as!(
        ImageRow,
        r#"select i.id as "id: _", i.product_id as "product_id: _", i.file_id as "file_id: _", i.position, i.alt,
                  f.content_type, f.width, f.height, i.version, i.created_at, i.updated_at
           from product_images i join files f on f.org_id = $1 and f.id = i.file_id
           where i.org_id = $1 and i.product_id = $2 order by i.position"#,
        tx.org().uuid(),
        product.uuid()
    );
    Ok(rows.fetch_all(&mut **tx).await?.into_iter().map(Into::into).collect())
}

pub async fn select(tx: &mut TenantTx, product: ProductId, id: ImageId) -> Result<Option<ProductImage>> {
    let row = sqlx::query_as!(
        ImageRow,
        r#"select i.id as "id: _", i.product_id as "product_id: _", i.file_id as "file_id: _", i.position, i.alt,
                  f.content_type, f.width, f.height, i.version, i.created_at, i.updated_at
           from product_images i join files f on f.org_id = $1 and f.id = i.file_id
           where i.org_id = $1 and i.product_id = $2 and i.id = $3"#,
        tx.org().uuid(),
        product.uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

/// # Errors
/// 422 where the file is not there or no picture, 409 where it is there already or the product has as many as it can.
pub async fn insert(tx: &mut TenantTx, product: ProductId, new: &NewProductImage) -> Result<ProductImage> {
    let org = tx.org().uuid();
    let kind = sqlx::query_scalar!(
        "select content_type from files where org_id = $1 and id = $2",
        org,
        new.file_id.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(no_file)?;
    if !PICTURES.contains(&kind.as_str()) {
        let detail = format!("is {kind}; a product is shown by one of {}", PICTURES.join(", "));
        return Err(Error::invalid("/file_id", "not_an_image", detail));
    }
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from product_images where org_id = $1 and product_id = $2"#,
        org,
        product.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if count >= MOST {
        return Err(Error::conflict("too_many_images", format!("a product has {MOST} images at most")));
    }
    let end = i32::try_from(count).unwrap_or(i32::MAX).saturating_add(1);
    let position = new.position.map_or(end, |position| position.min(end));
    sqlx::query!(
        "update product_images set position = position + 1, version = version + 1, updated_at = now()
         where org_id = $1 and product_id = $2 and position >= $3",
        org,
        product.uuid(),
        position
    )
    .execute(&mut **tx)
    .await?;
    let id = ImageId::new();
    sqlx::query!(
        "insert into product_images (org_id, id, product_id, file_id, position, alt) values ($1, $2, $3, $4, $5, $6)",
        org,
        id.uuid(),
        product.uuid(),
        new.file_id.uuid(),
        position,
        new.alt
    )
    .execute(&mut **tx)
    .await
    .on_constraint("product_images_shown_once", || {
        Error::conflict("already_shown", "the product is shown by this file already")
    })
    .on_constraint("product_images_org_id_file_id_fkey", no_file)?;
    select(tx, product, id).await?.or_not_found()
}

/// Describes `image` anew, moves it, or both; each image that moves has another version.
pub async fn update(tx: &mut TenantTx, image: &ProductImage, patch: &ProductImagePatch) -> Result<()> {
    sqlx::query!(
        "update product_images i
         set position = case when i.id = $3 then t.place when t.place < $4 then i.position + 1 else i.position - 1 end,
             alt = case when i.id = $3 then coalesce($6, i.alt) else i.alt end,
             version = i.version + 1, updated_at = now()
         from (
             select least($5, max(position)) as place from product_images where org_id = $1 and product_id = $2
         ) t
         where i.org_id = $1 and i.product_id = $2
           and i.position between least($4, t.place) and greatest($4, t.place)",
        tx.org().uuid(),
        image.product_id.uuid(),
        image.id.uuid(),
        image.position,
        patch.position.unwrap_or(image.position),
        patch.alt
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub async fn delete(tx: &mut TenantTx, image: &ProductImage) -> Result<()> {
    sqlx::query!(
        "with gone as (delete from product_images where org_id = $1 and id = $3)
         update product_images set position = position - 1, version = version + 1, updated_at = now()
         where org_id = $1 and product_id = $2 and position > $4",
        tx.org().uuid(),
        image.product_id.uuid(),
        image.id.uuid(),
        image.position
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn no_file() -> Error {
    Error::invalid("/file_id", "not_found", "there is no such file")
}
