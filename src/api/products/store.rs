//! What Postgres is told of products.

use super::{NewProduct, Product};
use crate::{
    error::{Error, Result, SqlExt as _},
    ids::{CategoryId, ProductId},
    metadata::Metadata,
    money::Money,
    product::rows,
    tenancy::TenantTx,
};
use sqlx::types::Json;
use std::collections::HashMap;
use time::OffsetDateTime;
use uuid::Uuid;

pub const COLUMNS: &str = "id, sku, name, description, price, cost, currency, stock, category_id, is_active, metadata, \
    version, created_at, updated_at";

#[derive(sqlx::FromRow)]
pub struct ProductRow {
    id: ProductId,
    sku: String,
    name: String,
    description: String,
    price: i64,
    cost: Option<i64>,
    currency: String,
    stock: i32,
    category_id: Option<CategoryId>,
    is_active: bool,
    metadata: Json<Metadata>,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<ProductRow> for Product {
    fn from(row: ProductRow) -> Self {
        Self {
            id: row.id,
            sku: row.sku,
            name: row.name,
            description: row.description,
            cost: Some(row.cost.map(|cost| Money::from_columns(cost, row.currency.clone()))),
            price: Money::from_columns(row.price, row.currency),
            stock: row.stock,
            category_id: row.category_id,
            category: None,
            is_active: row.is_active,
            metadata: row.metadata.0,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

pub async fn insert(tx: &mut TenantTx, new: &NewProduct) -> Result<Product> {
    let row = sqlx::query_as!(
        ProductRow,
        r#"insert into products (org_id, id, sku, name, description, price, cost, currency, stock, category_id,
                                 is_active, metadata)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
           returning id as "id: _", sku, name, description, price, cost, currency, stock,
                     category_id as "category_id: _", is_active, metadata as "metadata: _", version,
                     created_at, updated_at"#,
        tx.org().uuid(),
        ProductId::new().uuid(),
        new.sku,
        new.name,
        new.description,
        new.price.amount,
        new.cost.as_ref().map(|cost| cost.amount),
        new.price.currency.as_str(),
        new.stock,
        new.category_id.map(CategoryId::uuid),
        new.is_active,
        Json(&new.metadata) as _
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("products_sku_taken", sku_taken)
    .on_constraint("products_org_id_category_id_fkey", no_category)?;
    Ok(row.into())
}

pub async fn select(tx: &mut TenantTx, id: ProductId) -> Result<Option<Product>> {
    let row = sqlx::query_as!(
        ProductRow,
        r#"select id as "id: _", sku, name, description, price, cost, currency, stock,
                  category_id as "category_id: _", is_active, metadata as "metadata: _", version,
                  created_at, updated_at
           from products where org_id = $1 and id = $2 and deleted_at is null"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

/// The row, locked to the end of the transaction.
pub async fn lock(tx: &mut TenantTx, id: ProductId) -> Result<Option<Product>> {
    let row = sqlx::query_as!(
        ProductRow,
        r#"select id as "id: _", sku, name, description, price, cost, currency, stock,
                  category_id as "category_id: _", is_active, metadata as "metadata: _", version,
                  created_at, updated_at
           from products where org_id = $1 and id = $2 and deleted_at is null for update"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

/// Those of `ids` that there are, locked in the order that everybody locks in.
pub async fn lock_all(tx: &mut TenantTx, ids: &[ProductId]) -> Result<Vec<Product>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_as!(
        ProductRow,
        r#"select id as "id: _", sku, name, description, price, cost, currency, stock,
                  category_id as "category_id: _", is_active, metadata as "metadata: _", version,
                  created_at, updated_at
           from products where org_id = $1 and id = any($2) and deleted_at is null order by id for update"#,
        tx.org().uuid(),
        &ids
    );
    Ok(rows.fetch_all(&mut **tx).await?.into_iter().map(Into::into).collect())
}

/// Each for itself: what one is refused for stands in no other's way.
pub async fn insert_all(tx: &mut TenantTx, new: &[&NewProduct]) -> Result<Vec<Result<Product>>> {
    let categories = rows::categories_of(tx, new.iter().copied()).await?;
    let has_place = |new: &NewProduct| new.category_id.is_none_or(|id| categories.contains(&id));
    let all: Vec<(ProductId, &NewProduct)> = new.iter().map(|new| (ProductId::new(), *new)).collect();
    let fit: Vec<_> = all.iter().copied().filter(|(_, new)| has_place(new)).collect();
    let made: Vec<ProductId> = rows::insert_all(tx, &fit).await?.into_keys().collect();
    let made = lock_all(tx, &made).await?.into_iter().map(|product| (product.id, product));
    let mut made: HashMap<ProductId, Product> = made.collect();
    let outcome = |(id, new): (ProductId, &NewProduct)| match made.remove(&id) {
        Some(product) => Ok(product),
        None if has_place(new) => Err(sku_taken()),
        None => Err(no_category()),
    };
    Ok(all.into_iter().map(outcome).collect())
}

pub async fn update(tx: &mut TenantTx, product: &Product) -> Result<Product> {
    let row = sqlx::query_as!(
        ProductRow,
        r#"update products
           set sku = $3, name = $4, description = $5, price = $6, cost = $7, currency = $8, stock = $9,
               category_id = $10, is_active = $11, metadata = $12, version = version + 1, updated_at = now()
           where org_id = $1 and id = $2
           returning id as "id: _", sku, name, description, price, cost, currency, stock,
                     category_id as "category_id: _", is_active, metadata as "metadata: _", version,
                     created_at, updated_at"#,
        tx.org().uuid(),
        product.id.uuid(),
        product.sku,
        product.name,
        product.description,
        product.price.amount,
        product.cost.as_ref().and_then(Option::as_ref).map(|cost| cost.amount),
        product.price.currency.as_str(),
        product.stock,
        product.category_id.map(CategoryId::uuid),
        product.is_active,
        Json(&product.metadata) as _
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("products_sku_taken", sku_taken)
    .on_constraint("products_org_id_category_id_fkey", no_category)?;
    Ok(row.into())
}

pub async fn delete(tx: &mut TenantTx, id: ProductId) -> Result<()> {
    sqlx::query!(
        "update products set deleted_at = now(), version = version + 1 where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn sku_taken() -> Error {
    Error::conflict("sku_taken", "a product of this organisation has this sku")
}

fn no_category() -> Error {
    Error::invalid("/category_id", "not_found", "there is no such category")
}

/// Brings a deleted product back, if it is not too late.
///
/// # Errors
/// 404 where there never was one or it is purged, 409 where it is there or its sku has gone to another.
pub async fn restore(tx: &mut TenantTx, id: ProductId) -> Result<Product> {
    let restored = sqlx::query_as!(
        ProductRow,
        r#"update products set deleted_at = null, version = version + 1, updated_at = now()
           where org_id = $1 and id = $2 and deleted_at > now() - interval '30 days' and purged_at is null
           returning id as "id: _", sku, name, description, price, cost, currency, stock,
                     category_id as "category_id: _", is_active, metadata as "metadata: _", version,
                     created_at, updated_at"#,
        tx.org().uuid(),
        id.uuid()
    )
    .fetch_optional(&mut **tx)
    .await
    .on_constraint("products_sku_taken", || {
        Error::conflict("sku_taken", "another product has its sku by now: change that one's first")
    })?;
    match restored {
        Some(row) => Ok(row.into()),
        None if select(tx, id).await?.is_some() => {
            Err(Error::conflict("not_deleted", "this product is not deleted"))
        }
        None => Err(Error::NotFound),
    }
}
