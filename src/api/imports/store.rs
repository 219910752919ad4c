//! What Postgres is told of a batch of rows: what is there under their skus, what is new, and what has changed.

use super::rows::Row;
use crate::{
    error::{Flaw, Result},
    ids::{CategoryId, ImportErrorId, JobId, ProductId},
    metadata::Metadata,
    money::Money,
    product::{NewProduct, same_currency},
    tenancy::TenantTx,
};
use sqlx::types::Json;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What came of a batch.
#[derive(Default)]
pub struct Applied {
    pub created: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub flaws: Vec<(i64, Flaw)>,
}

struct Known {
    /// None of what is yet to be made.
    id: Option<ProductId>,
    product: NewProduct,
    is_new: bool,
    has_changed: bool,
}

/// Has the rows be there, as if one after the other. None where somebody else has made one of them meanwhile: nothing of
/// the transaction is to be kept then, and the batch tried again.
pub async fn apply(tx: &mut TenantTx, rows: &[Row], sees_costs: bool) -> Result<Option<Applied>> {
    let mut known = select(tx, rows).await?;
    let categories = select_categories(tx, rows).await?;
    let mut applied = Applied::default();
    for row in rows {
        if let Some(flaw) = wrong(row, &categories, sees_costs) {
            applied.flaws.push((row.line, flaw));
            continue;
        }
        match known.get_mut(&row.product.sku) {
            None => {
                applied.created += 1;
                let new = Known { id: None, product: row.product.clone(), is_new: true, has_changed: false };
                known.insert(row.product.sku.clone(), new);
            }
            Some(found) => match over(&found.product, row, sees_costs) {
                Err(flaw) => applied.flaws.push((row.line, flaw)),
                Ok(product) if product == found.product => applied.unchanged += 1,
                Ok(product) => {
                    applied.updated += 1;
                    found.product = product;
                    found.has_changed = true;
                }
            },
        }
    }
    // In the order of the file, which is the order of an export.
    let mut seen = HashSet::new();
    let in_order = rows.iter().map(|row| &row.product.sku).filter(|sku| seen.insert(*sku));
    let touched: Vec<&Known> = in_order.filter_map(|sku| known.get(sku)).collect();
    let new: Vec<&Known> = touched.iter().copied().filter(|known| known.is_new).collect();
    if !insert(tx, &new).await? {
        return Ok(None);
    }
    let changed: Vec<&Known> =
        touched.into_iter().filter(|known| !known.is_new && known.has_changed).collect();
    update(tx, &changed).await?;
    Ok(Some(applied))
}

fn wrong(row: &Row, categories: &HashSet<CategoryId>, sees_costs: bool) -> Option<Flaw> {
    if row.gives("cost") && !sees_costs {
        let detail = "whoever imports this may not set costs: leave them out, or ask for products:read_cost";
        return Some(Flaw::new("/cost", "permission_denied", detail));
    }
    let missing = row.product.category_id.is_some_and(|id| !categories.contains(&id));
    missing.then(|| Flaw::new("/category_id", "not_found", "there is no such category"))
}

/// What is there, with what the row gives in its place.
fn over(found: &NewProduct, row: &Row, sees_costs: bool) -> Result<NewProduct, Flaw> {
    let mut product = row.product.clone();
    if !row.gives("description") {
        product.description.clone_from(&found.description);
    }
    if !row.gives("cost") {
        product.cost.clone_from(&found.cost);
    }
    if !row.gives("stock") {
        product.stock = found.stock;
    }
    if !row.gives("category_id") {
        product.category_id = found.category_id;
    }
    if !row.gives("is_active") {
        product.is_active = found.is_active;
    }
    if !row.gives("metadata") {
        product.metadata.clone_from(&found.metadata);
    }
    // Whoever can't see the cost learns no more than that the currency must stay.
    let place = if sees_costs { "/cost" } else { "/price/currency" };
    same_currency(&product.price)(&product.cost, &())
        .map_err(|error| Flaw::new(place, "invalid", error.message()))?;
    Ok(product)
}

/// Those that are there, locked to the end of the transaction.
async fn select(tx: &mut TenantTx, rows: &[Row]) -> Result<HashMap<String, Known>> {
    let skus: Vec<String> = rows.iter().map(|row| row.product.sku.clone()).collect();
    let found = sqlx::query!(
        r#"select id as "id: ProductId", sku, name, description, price, cost, currency, stock,
                  category_id as "category_id: CategoryId", is_active, metadata as "metadata: Json<Metadata>"
           from products where org_id = $1 and deleted_at is null and sku = any($2)
           order by id for no key update"#,
        tx.org().uuid(),
        &skus
    );
    let known = found.fetch_all(&mut **tx).await?.into_iter().map(|row| {
        let product = NewProduct {
            sku: row.sku.clone(),
            name: row.name,
            description: row.description,
            cost: row.cost.map(|cost| Money::from_columns(cost, row.currency.clone())),
            price: Money::from_columns(row.price, row.currency),
            stock: row.stock,
            category_id: row.category_id,
            is_active: row.is_active,
            metadata: row.metadata.0,
        };
        (row.sku, Known { id: Some(row.id), product, is_new: false, has_changed: false })
    });
    Ok(known.collect())
}

/// Of the categories that rows name those that there are, which stay to the end of the transaction.
async fn select_categories(tx: &mut TenantTx, rows: &[Row]) -> Result<HashSet<CategoryId>> {
    let named: HashSet<Uuid> =
        rows.iter().filter_map(|row| row.product.category_id.map(CategoryId::uuid)).collect();
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    let named: Vec<Uuid> = named.into_iter().collect();
    let found = sqlx::query_scalar!(
        r#"select id as "id: CategoryId" from categories where org_id = $1 and id = any($2)
           order by id for key share"#,
        tx.org().uuid(),
        &named
    );
    Ok(found.fetch_all(&mut **tx).await?.into_iter().collect())
}

/// What products are, a column each.
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
    fn of(rows: &[&Known]) -> Self {
        let mut columns = Self::default();
        for Known { id, product, .. } in rows {
            columns.ids.push(id.unwrap_or_else(ProductId::new).uuid());
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

/// Whether all of them are there now.
async fn insert(tx: &mut TenantTx, rows: &[&Known]) -> Result<bool> {
    if rows.is_empty() {
        return Ok(true);
    }
    let columns = Columns::of(rows);
    let made = sqlx::query!(
        "insert into products (org_id, id, sku, name, description, price, cost, currency, stock, category_id, is_active,
                               metadata)
         select $1, n.id, n.sku, n.name, n.description, n.price, n.cost, n.currency, n.stock, n.category_id, n.is_active,
                n.metadata
         from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::int[],
                     $10::uuid[], $11::bool[], $12::jsonb[])
              n (id, sku, name, description, price, cost, currency, stock, category_id, is_active, metadata)
         on conflict (org_id, sku) where deleted_at is null do nothing",
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
    Ok(made.execute(&mut **tx).await?.rows_affected() == rows.len() as u64)
}

async fn update(tx: &mut TenantTx, rows: &[&Known]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(rows);
    sqlx::query!(
        "update products p
         set name = n.name, description = n.description, price = n.price, cost = n.cost, currency = n.currency,
             stock = n.stock, category_id = n.category_id, is_active = n.is_active, metadata = n.metadata,
             version = p.version + 1, updated_at = now()
         from unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::int[],
                     $9::uuid[], $10::bool[], $11::jsonb[])
              n (id, name, description, price, cost, currency, stock, category_id, is_active, metadata)
         where p.org_id = $1 and p.id = n.id",
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
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes down what is wrong with rows.
pub async fn tell(tx: &mut TenantTx, job: JobId, flaws: &[(i64, Flaw)]) -> Result<()> {
    let ids: Vec<Uuid> = flaws.iter().map(|_| ImportErrorId::new().uuid()).collect();
    let lines: Vec<i64> = flaws.iter().map(|(line, _)| *line).collect();
    let short = |text: &str| text.chars().take(500).collect::<String>();
    let pointers: Vec<String> = flaws.iter().map(|(_, flaw)| short(&flaw.pointer)).collect();
    let codes: Vec<String> = flaws.iter().map(|(_, flaw)| flaw.code.to_owned()).collect();
    let details: Vec<String> = flaws.iter().map(|(_, flaw)| short(&flaw.detail)).collect();
    sqlx::query!(
        "insert into import_errors (org_id, id, job_id, line, pointer, code, detail)
         select $1, n.id, $2, n.line, n.pointer, n.code, n.detail
         from unnest($3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[]) n (id, line, pointer, code, detail)",
        tx.org().uuid(),
        job.uuid(),
        &ids,
        &lines,
        &pointers,
        &codes,
        &details
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
