//! Search: what fits some words best, whatever it is. Of products, so far.

mod highlight;

use crate::{
    authz::{Action::Read, Resource::Products},
    error::{Error, Result},
    extract::{Json, Query, TenantDb},
    ids::{CategoryId, ProductId},
    middleware::TenantRoutes,
    money::Money,
    page::{DEFAULT_LIMIT, MAX_LIMIT, sought},
    tenancy::TenantTx,
};
use highlight::Sought;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Products).allow(Read, routes!(search)).costing(5)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Question {
    /// The words: the first ten count, and each has to be found.
    #[param(example = "blue widget", min_length = 1, max_length = 200)]
    q: String,
    /// How many at most.
    #[serde(default = "usual_limit")]
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: u32,
}

/// What was found, the best first.
#[derive(Serialize, ToSchema)]
pub struct Found {
    #[schema(max_items = 100)]
    pub data: Vec<Hit>,
    /// Whether more was found than these.
    pub has_more: bool,
    /// Whether more fit than the 5,000 that are ranked, so that there may be better ones than these: one more word would
    /// tell.
    pub truncated: bool,
}

/// Something that was found.
#[derive(Serialize, ToSchema)]
pub struct Hit {
    /// What it is. There will be further types: pass over those that you do not know.
    #[serde(rename = "type")]
    pub kind: HitType,
    pub id: ProductId,
    /// How well it fits, from 0 to 1, which is a product's own sku. To be compared within one answer alone.
    #[schema(example = 0.8, minimum = 0, maximum = 1)]
    pub score: f32,
    pub product: FoundProduct,
    pub highlights: Highlights,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HitType {
    Product,
}

/// The essentials of a product.
#[derive(Serialize, ToSchema)]
pub struct FoundProduct {
    #[schema(example = "COG-1", max_length = 64)]
    pub sku: String,
    #[schema(example = "Cog", max_length = 200)]
    pub name: String,
    pub price: Money,
    pub category_id: Option<CategoryId>,
    pub is_active: bool,
}

/// Why it was found: HTML, in which the words that were meant stand in `<mark>` and all else is escaped.
#[derive(Serialize, ToSchema)]
pub struct Highlights {
    #[schema(example = "<mark>COG</mark>-1", max_length = 2000)]
    pub sku: String,
    #[schema(example = "<mark>Cog</mark>", max_length = 4000)]
    pub name: String,
    /// The surroundings of the first such word; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "…a <mark>cog</mark> of steel…", max_length = 4000, nullable = false)]
    pub description: Option<String>,
}

/// Search
///
/// Each word has to be found in a product's sku or name, as a word or the beginning of one, or in its description as a
/// word. Case and accents do not matter, and in words of four letters or more one slip is forgiven: a letter that is
/// missing, too many or another one, or two that have changed places. The own sku comes first, then whole words,
/// beginnings, the description, and last what was misspelt. What was written is found by the next request. Of what more
/// than 5,000 products have, 5,000 are ranked, those with the whole words first, and the answer says so. There are no
/// pages: `GET /products?q=` lists all that is ranked, sorted and filtered.
#[utoipa::path(get, path = "/search", tag = "search", params(Question),
    responses((status = 200, description = "What fits best.", body = Found)))]
async fn search(db: TenantDb, Query(question): Query<Question>) -> Result<Json<Found>> {
    let Question { q, limit } = question;
    let q = sought(&q)?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::malformed("bad_parameter", "limit is a number from 1 to 100"));
    }
    let mut rows = select(&mut db.read().await?, q, limit).await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let truncated = rows.iter().any(|row| row.missing);
    let sought = Sought::of(q);
    Ok(Json(Found { data: rows.into_iter().map(|row| row.hit(&sought)).collect(), has_more, truncated }))
}

fn usual_limit() -> u32 {
    DEFAULT_LIMIT
}

struct ProductRow {
    id: ProductId,
    score: f32,
    /// Whether others were not ranked.
    missing: bool,
    sku: String,
    name: String,
    description: String,
    price: i64,
    currency: String,
    category_id: Option<CategoryId>,
    is_active: bool,
}

impl ProductRow {
    fn hit(self, sought: &Sought) -> Hit {
        Hit {
            kind: HitType::Product,
            id: self.id,
            score: self.score,
            highlights: Highlights {
                sku: sought.mark_sku(&self.sku),
                name: sought.mark(&self.name),
                description: sought.excerpt(&self.description),
            },
            product: FoundProduct {
                sku: self.sku,
                name: self.name,
                price: Money::from_columns(self.price, self.currency),
                category_id: self.category_id,
                is_active: self.is_active,
            },
        }
    }
}

/// One more than `limit`, where there are more. The index proposes, and who asks sees what is theirs.
async fn select(tx: &mut TenantTx, q: &str, limit: u32) -> Result<Vec<ProductRow>> {
    let rows = sqlx::query_as!(
        ProductRow,
        r#"select p.id as "id: _", found.rank as "score!", found.missing as "missing!", p.sku, p.name, p.description, p.price, p.currency,
                  p.category_id as "category_id: _", p.is_active
           from search_products($2, $3) found
           join products p on p.org_id = $1 and p.id = found.id and p.deleted_at is null
           order by found.rank desc, length(p.name), p.id"#,
        tx.org().uuid(),
        q,
        i32::try_from(limit + 1).unwrap_or(i32::MAX)
    );
    Ok(rows.fetch_all(&mut **tx).await?)
}
