//! What an order has been through.

use super::{OrderStatus, store};
use crate::{
    authn,
    error::{OptionExt as _, Result},
    extract::{List, ListParams, Listed, Path, TenantDb},
    ids::{ApiKeyId, OrderId, OrderStepId, UserId},
    page::{Filter, Kind, Listing, Page, Sort},
};
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A place that an order came to.
#[derive(Serialize, ToSchema)]
pub struct OrderStep {
    pub id: OrderStepId,
    pub status: OrderStatus,
    /// The user or API key that moved it there; none where that was before it was written down.
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(sqlx::FromRow)]
pub struct StepRow {
    id: OrderStepId,
    status: OrderStatus,
    by_user: Option<UserId>,
    by_key: Option<ApiKeyId>,
    at: OffsetDateTime,
}

impl From<StepRow> for OrderStep {
    fn from(row: StepRow) -> Self {
        Self { id: row.id, status: row.status, by: authn::id_in(row.by_user, row.by_key), at: row.at }
    }
}

impl Listed for OrderStep {
    type Row = StepRow;
    const LISTING: &'static Listing = &Listing {
        columns: "id, status, by_user, by_key, at",
        from: "order_history where org_id = $1",
        sorts: &[Sort { name: "at", column: "at", cast: "timestamptz" }],
        filters: &[Filter {
            name: "id",
            predicate: "order_id =",
            kind: Kind::WithinId(|text| text.parse().ok().map(OrderId::uuid)),
            about: "The order that the path names.",
        }],
    };
}

/// List what an order has been through
///
/// Each place that it came to, when, and by whom; the last first.
#[utoipa::path(get, path = "/orders/{id}/history", tag = "orders",
    params(("id" = OrderId, Path), ListParams<OrderStep>),
    responses((status = 200, description = "A page of its history.", body = Page<OrderStep>)))]
pub async fn list_order_history(
    db: TenantDb,
    Path(id): Path<OrderId>,
    list: List<OrderStep>,
) -> Result<Response> {
    let mut tx = db.read().await?;
    store::exists(&mut tx, id).await?.then_some(()).or_not_found()?;
    let page = list.page(&mut tx).await?;
    Ok(list.answer(page))
}
