//! What Postgres is told of a batch of rows: what is there under their skus, what is new, and what has changed.

use super::rows::Row;
use crate::{
    error::{Flaw, Result},
    events::Entry,
    ids::{CategoryId, ImportErrorId, JobId, ProductId},
    product::{
        NewProduct,
        rows::{self, ProductRow},
        same_currency,
    },
    tenancy::TenantTx,
};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What came of a batch.
#[derive(Default)]
pub struct Applied {
    pub created: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub flaws: Vec<(i64, Flaw)>,
    /// What happened to products.
    pub told: Vec<Entry>,
}

struct Known {
    /// None of what is yet to be made.
    id: Option<ProductId>,
    product: NewProduct,
    /// How it was, where it has changed since.
    before: Option<NewProduct>,
}

/// Has the rows be there, as if one after the other. None where somebody else has made one of them meanwhile: nothing of
/// the transaction is to be kept then, and the batch tried again.
pub async fn apply(tx: &mut TenantTx, rows: &[Row], sees_costs: bool) -> Result<Option<Applied>> {
    let mut known = select(tx, rows).await?;
    let categories = rows::categories_of(tx, rows.iter().map(|row| &row.product)).await?;
    let mut applied = Applied::default();
    for row in rows {
        if let Some(flaw) = wrong(row, &categories, sees_costs) {
            applied.flaws.push((row.line, flaw));
            continue;
        }
        match known.get_mut(&row.product.sku) {
            None => {
                applied.created += 1;
                let new = Known { id: None, product: row.product.clone(), before: None };
                known.insert(row.product.sku.clone(), new);
            }
            Some(found) => match over(&found.product, row, sees_costs) {
                Err(flaw) => applied.flaws.push((row.line, flaw)),
                Ok(product) if product == found.product => applied.unchanged += 1,
                Ok(product) => {
                    applied.updated += 1;
                    let before = std::mem::replace(&mut found.product, product);
                    found.before.get_or_insert(before);
                }
            },
        }
    }
    // Ids in the order of the file, which is the order of an export.
    let mut seen = HashSet::new();
    let in_order = rows.iter().map(|row| &row.product.sku).filter(|sku| seen.insert(*sku));
    let touched = in_order.filter_map(|sku| known.get(sku));
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    let mut were = Vec::new();
    for Known { id, product, before } in touched {
        match (id, before) {
            (None, _) => new.push((ProductId::new(), product)),
            (Some(id), Some(before)) => {
                changed.push((*id, product));
                were.push(before);
            }
            (Some(_), None) => {}
        }
    }
    let made = rows::insert_all(tx, &new).await?;
    if made.len() < new.len() {
        return Ok(None);
    }
    for (id, product) in new {
        let told = made.get(&id).map(|stamp| rows::told(product, stamp));
        applied.told.push(Entry::made("product.created", "product", id.uuid(), &told));
    }
    let stamps = rows::update_all(tx, &changed).await?;
    for ((id, product), before) in changed.into_iter().zip(were) {
        let told = |product| stamps.get(&id).map(|stamp| rows::told(product, stamp));
        let entry = Entry::changed("product.updated", "product", id.uuid(), &told(before), &told(product));
        applied.told.push(entry);
    }
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
    let found = sqlx::query_as!(
        ProductRow,
        r#"select id as "id: _", created_at, sku, name, description, price, cost, currency, stock,
                  category_id as "category_id: _", is_active, metadata as "metadata: _"
           from products where org_id = $1 and deleted_at is null and sku = any($2)
           order by id for no key update"#,
        tx.org().uuid(),
        &skus
    );
    let known = found.fetch_all(&mut **tx).await?.into_iter().map(|row| {
        let (id, product) = (Some(row.id), NewProduct::from(row));
        (product.sku.clone(), Known { id, product, before: None })
    });
    Ok(known.collect())
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
