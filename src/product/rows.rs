//! Many products at once: as they stand in rows, and a column each as Postgres takes them.

use super::NewProduct;
use crate::{
    error::Result,
    ids::{CategoryId, ProductId},
    metadata::Metadata,
    money::Money,
    tenancy::TenantTx,
};
use serde_json::{Value, json};
use sqlx::types::Json;
use std::collections::{HashMap, HashSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// A product that is there, but for what becomes of it by itself.
pub struct ProductRow {
    pub id: ProductId,
    pub created_at: OffsetDateTime,
    pub sku: String,
    pub name: String,
    pub description: String,
    pub price: i64,
    pub cost: Option<i64>,
    pub currency: String,
    pub stock: i32,
    pub category_id: Option<CategoryId>,
    pub is_active: bool,
    pub metadata: Json<Metadata>,
}

impl From<ProductRow> for NewProduct {
    fn from(row: ProductRow) -> Self {
        Self {
            sku: row.sku,
            name: row.name,
            description: row.description,
            cost: row.cost.map(|cost| Money::from_columns(cost, row.currency.clone())),
            price: Money::from_columns(row.price, row.currency),
            stock: row.stock,
            category_id: row.category_id,
            is_active: row.is_active,
            metadata: row.metadata.0,
        }
    }
}

#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    skus: Vec<String>,
    names: Vec<String>,
    descriptions: Vec<String>,
    prices: Vec<i64>,
    costs: Vec<Option<i64>>,
    currencies: Vec<String>,
    stocks: Vec<i32>,
    categories: Vec<Option<Uuid>>,
    active: Vec<bool>,
    metadata: Vec<serde_json::Value>,
}

impl Columns {
    fn of(products: &[(ProductId, &NewProduct)]) -> Self {
        let mut columns = Self::default();
        for (id, product) in products {
            columns.ids.push(id.uuid());
            columns.skus.push(product.sku.clone());
            columns.names.push(product.name.clone());
            columns.descriptions.push(product.description.clone());
            columns.prices.push(product.price.amount);
            columns.costs.push(product.cost.as_ref().map(|cost| cost.amount));
            columns.currencies.push(product.price.currency.as_str().to_owned());
            columns.stocks.push(product.stock);
            columns.categories.push(product.category_id.map(CategoryId::uuid));
            columns.active.push(product.is_active);
            columns.metadata.push(serde_json::json!(product.metadata));
        }
        columns
    }
}

/// What a product has come to by itself.
pub struct Stamp {
    pub id: ProductId,
    pub version: i64,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A product as the audit and the events tell of it: as `GET` answers it to whoever may not see its cost.
pub fn told(product: &NewProduct, stamp: &Stamp) -> Value {
    let mut told = json!(product);
    if let Some(told) = told.as_object_mut() {
        told.remove("cost");
        told.insert("id".to_owned(), json!(stamp.id));
        told.insert("version".to_owned(), json!(stamp.version));
        for (name, at) in [("created_at", stamp.created_at), ("updated_at", stamp.updated_at)] {
            told.insert(name.to_owned(), json!(at.format(&Rfc3339).ok()));
        }
    }
    told
}

/// Makes those whose sku is free, of several with one sku the first, and answers which. In the order of their skus, so
/// that two who make the same wait for each other in one direction only. Their categories must be there.
pub async fn insert_all(
    tx: &mut TenantTx,
    products: &[(ProductId, &NewProduct)],
) -> Result<HashMap<ProductId, Stamp>> {
    if products.is_empty() {
        return Ok(HashMap::new());
    }
    let columns = Columns::of(products);
    let made = sqlx::query_as!(
        Stamp,
        r#"insert into products (org_id, id, sku, name, description, price, cost, currency, stock, category_id,
                                 is_active, metadata)
           select $1, id, sku, name, description, price, cost, currency, stock, category_id, is_active, metadata
           from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[],
                       $9::int[], $10::uuid[], $11::bool[], $12::jsonb[])
                with ordinality as new (id, sku, name, description, price, cost, currency, stock, category_id,
                                        is_active, metadata, at)
           order by sku collate "C", at
           on conflict (org_id, sku) where deleted_at is null do nothing
           returning id as "id: _", version, created_at, updated_at"#,
        tx.org().uuid(),
        &columns.ids,
        &columns.skus,
        &columns.names,
        &columns.descriptions,
        &columns.prices,
        &columns.costs as _,
        &columns.currencies,
        &columns.stocks,
        &columns.categories as _,
        &columns.active,
        &columns.metadata
    );
    Ok(made.fetch_all(&mut **tx).await?.into_iter().map(|stamp| (stamp.id, stamp)).collect())
}

/// Has products that are there, and locked, be like these; their skus stay.
pub async fn update_all(
    tx: &mut TenantTx,
    products: &[(ProductId, &NewProduct)],
) -> Result<HashMap<ProductId, Stamp>> {
    if products.is_empty() {
        return Ok(HashMap::new());
    }
    let columns = Columns::of(products);
    let changed = sqlx::query_as!(
        Stamp,
        r#"update products p
         set name = n.name, description = n.description, price = n.price, cost = n.cost, currency = n.currency,
             stock = n.stock, category_id = n.category_id, is_active = n.is_active, metadata = n.metadata,
             version = p.version + 1, updated_at = now()
         from unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::int[],
                     $9::uuid[], $10::bool[], $11::jsonb[])
              n (id, name, description, price, cost, currency, stock, category_id, is_active, metadata)
         where p.org_id = $1 and p.id = n.id
         returning p.id as "id: _", p.version, p.created_at, p.updated_at"#,
        tx.org().uuid(),
        &columns.ids,
        &columns.names,
        &columns.descriptions,
        &columns.prices,
        &columns.costs as _,
        &columns.currencies,
        &columns.stocks,
        &columns.categories as _,
        &columns.active,
        &columns.metadata
    );
    Ok(changed.fetch_all(&mut **tx).await?.into_iter().map(|stamp| (stamp.id, stamp)).collect())
}

/// Of the categories that products name those that there are, which stay to the end of the transaction.
pub async fn categories_of<'a>(
    tx: &mut TenantTx,
    products: impl Iterator<Item = &'a NewProduct>,
) -> Result<HashSet<CategoryId>> {
    let named: HashSet<CategoryId> = products.filter_map(|product| product.category_id).collect();
    if named.is_empty() {
        return Ok(named);
    }
    let named: Vec<Uuid> = named.into_iter().map(CategoryId::uuid).collect();
    let found = sqlx::query_scalar!(
        r#"select id as "id: CategoryId" from categories where org_id = $1 and id = any($2)
           order by id for key share"#,
        tx.org().uuid(),
        &named
    );
    Ok(found.fetch_all(&mut **tx).await?.into_iter().collect())
}
