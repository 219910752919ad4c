//! Orders: what an organisation's customers bought, and how far each has come.

mod history;
mod store;

pub use history::OrderStep;

use super::given;
use crate::{
    authz::{
        Action::{Cancel, CancelOwn, Create, Fulfil, Pay, Read, Refund, Update},
        Permission,
        Resource::Orders,
    },
    caller::Caller,
    error::{Error, OptionExt as _, Problem, Result},
    events::{self, Entry},
    extract::{Action, ETag, IfMatch, Json, List, ListParams, Listed, Path, TenantDb, View, ViewParams},
    idempotency::{Done, IdempotencyKey, once},
    ids::{OrderId, ProductId},
    metadata::{Metadata, MetadataPatch},
    middleware::TenantRoutes,
    money::{Money, Sum},
    page::{Filter, Kind, Listing, Page, Sort},
    trail::Trail,
};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Orders)
        .allow(Read, routes!(list_orders))
        .allow(Create, routes!(place_order))
        .allow(Read, routes!(get_order))
        .allow(Update, routes!(update_order))
        .allow(Pay, routes!(pay_order))
        .allow(Fulfil, routes!(fulfil_order))
        .allow(CancelOwn, routes!(cancel_order))
        .further(Cancel)
        .allow(Refund, routes!(refund_order))
        .allow(Read, routes!(history::list_order_history))
        .with_trials()
}

#[derive(Serialize, ToSchema)]
pub struct Order {
    pub id: OrderId,
    /// 1, 2, 3.. within the organisation, without gaps.
    #[schema(example = 1)]
    pub number: i64,
    pub status: OrderStatus,
    #[schema(max_items = 100)]
    pub lines: Vec<OrderLine>,
    #[schema(value_type = Sum)]
    pub total: Money,
    /// The user or API key that placed it.
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub placed_by: String,
    #[schema(max_length = 2_000)]
    pub note: String,
    pub metadata: Metadata,
    #[schema(example = 1)]
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// One product of an order, as it was when the order was placed.
#[derive(Serialize, ToSchema)]
pub struct OrderLine {
    pub product_id: ProductId,
    #[schema(example = "COG-1", max_length = 64)]
    pub sku: String,
    #[schema(example = "Cog", max_length = 200)]
    pub name: String,
    #[schema(example = 2, minimum = 1)]
    pub quantity: i32,
    pub unit_price: Money,
    #[schema(value_type = Sum)]
    pub total: Money,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum OrderStatus {
    Placed,
    Paid,
    Fulfilled,
    Cancelled,
    Refunded,
}

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    pub lines: Vec<NewOrderLine>,
    #[garde(length(chars, max = 2_000))]
    #[serde(default)]
    #[schema(max_length = 2_000)]
    pub note: String,
    #[garde(dive)]
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrderLine {
    #[garde(skip)]
    pub product_id: ProductId,
    #[garde(range(min = 1, max = 1_000))]
    #[schema(example = 2, minimum = 1, maximum = 1_000)]
    pub quantity: i32,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderPatch {
    #[garde(inner(length(chars, max = 2_000)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "Ring twice", max_length = 2_000)]
    pub note: Option<String>,
    #[garde(dive)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

impl Listed for Order {
    type Row = store::OrderRow;
    const LISTING: &'static Listing = &Listing {
        columns: store::COLUMNS,
        from: "orders where org_id = $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "number", column: "number", cast: "bigint" },
        ],
        filters: &[
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(&["placed", "paid", "fulfilled", "cancelled", "refunded"]),
                about: "How far it has come.",
            },
            Filter {
                name: "created_after",
                predicate: "created_at >",
                kind: Kind::Time,
                about: "Placed since.",
            },
        ],
    };
}

/// List orders
#[utoipa::path(get, path = "/orders", tag = "orders", params(ListParams<Order>),
    responses((status = 200, description = "A page of orders.", body = Page<Order>)))]
async fn list_orders(db: TenantDb, list: List<Order>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Place an order
///
/// Takes the stock and captures the prices, all or nothing.
#[utoipa::path(post, path = "/orders", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = String, Header, description = "Repeat it when you retry, and one order is placed.")),
    responses((status = 201, description = "It is placed.", body = Order),
              (status = 409, description = "Out of stock, or the same key is still at work (`out_of_stock`, `in_flight`).")))]
async fn place_order(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    key: IdempotencyKey,
    Json(new): Json<NewOrder>,
) -> Result<Response> {
    let tx = db.begin().await?;
    once(tx, &caller, Some(key), ("place_order", &new), async |tx| {
        let order = store::place(tx, caller.actor(), &new).await?;
        let placed = Entry::made("order.placed", "order", order.id.uuid(), &order);
        events::record(tx, caller.actor(), &trail, placed).await?;
        Ok(Done {
            status: StatusCode::CREATED,
            location: Some(format!("/api/v1/orders/{}", order.id)),
            tag: ETag(order.version).into(),
            body: order,
        })
    })
    .await
}

/// Fetch one order
#[utoipa::path(get, path = "/orders/{id}", tag = "orders", params(("id" = OrderId, Path), ViewParams<Order>),
    responses((status = 200, description = "The order.", body = Order)))]
async fn get_order(db: TenantDb, Path(id): Path<OrderId>, view: View<Order>) -> Result<Response> {
    let order = store::select(&mut db.read().await?, id).await?.or_not_found()?;
    view.answer(order.version, &order)
}

/// Change an order's note or metadata
#[utoipa::path(patch, path = "/orders/{id}", tag = "orders", request_body = OrderPatch,
    params(("id" = OrderId, Path)),
    responses((status = 200, description = "The changed order.", body = Order),
              (status = 412, description = "It has changed since the version that If-Match names.")))]
async fn update_order(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<OrderId>,
    expected: Option<IfMatch>,
    Json(patch): Json<OrderPatch>,
) -> Result<Response> {
    let mut tx = db.begin().await?;
    let before = store::lock(&mut tx, id).await?.or_not_found()?;
    expected.map_or(Ok(()), |expected| expected.check(before.version))?;
    let was = json!({"note": before.note, "metadata": before.metadata});
    let metadata = before
        .metadata
        .0
        .patched(&patch.metadata.unwrap_or_default())
        .map_err(|error| Error::invalid("/metadata", "invalid", error.message()))?;
    store::update(&mut tx, id, &patch.note.unwrap_or(before.note), &metadata).await?;
    let order = store::select(&mut tx, id).await?.or_not_found()?;
    let is = json!({"note": order.note, "metadata": order.metadata});
    let updated = Entry::changed("order.updated", "order", id.uuid(), &was, &is).whole(&order);
    events::record(&mut tx, caller.actor(), &trail, updated).await?;
    tx.commit().await?;
    Ok(tagged(order).into_response())
}

/// Mark an order as paid
#[utoipa::path(post, path = "/orders/{id}/pay", tag = "orders",
    params(("id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "It is paid.", body = Order),
              (status = 409, description = "It can't be paid in its state; the answer names the lawful moves; or the \
                                            same key is still at work (`illegal_transition`, `in_flight`).")))]
async fn pay_order(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<OrderId>,
    key: Option<IdempotencyKey>,
    _: Action,
) -> Result<Response> {
    advance(&db, &trail, id, key, Move::Pay).await
}

/// Mark an order as fulfilled
#[utoipa::path(post, path = "/orders/{id}/fulfil", tag = "orders",
    params(("id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "It is fulfilled.", body = Order),
              (status = 409, description = "It can't be fulfilled in its state; the answer names the lawful moves; or the \
                                            same key is still at work (`illegal_transition`, `in_flight`).")))]
async fn fulfil_order(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<OrderId>,
    key: Option<IdempotencyKey>,
    _: Action,
) -> Result<Response> {
    advance(&db, &trail, id, key, Move::Fulfil).await
}

/// Cancel an order
///
/// Its stock is given back. Who may cancel their own orders only is told so of another's: 403 `not_yours`.
#[utoipa::path(post, path = "/orders/{id}/cancel", tag = "orders",
    params(("id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "It is cancelled.", body = Order),
              (status = 403, description = "It is another's order, or no order is yours to cancel; the answer names the \
               permission."),
              (status = 409, description = "It can't be cancelled in its state; the answer names the lawful moves; or the \
                                            same key is still at work (`illegal_transition`, `in_flight`).")))]
async fn cancel_order(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<OrderId>,
    key: Option<IdempotencyKey>,
    _: Action,
) -> Result<Response> {
    advance(&db, &trail, id, key, Move::Cancel).await
}

/// Refund an order
///
/// Its stock is given back.
#[utoipa::path(post, path = "/orders/{id}/refund", tag = "orders",
    params(("id" = OrderId, Path), IdempotencyKey),
    responses((status = 200, description = "It is refunded.", body = Order),
              (status = 409, description = "It can't be refunded in its state; the answer names the lawful moves; or the \
                                            same key is still at work (`illegal_transition`, `in_flight`).")))]
async fn refund_order(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<OrderId>,
    key: Option<IdempotencyKey>,
    _: Action,
) -> Result<Response> {
    advance(&db, &trail, id, key, Move::Refund).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Move {
    Pay,
    Fulfil,
    Cancel,
    Refund,
}

impl Move {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Pay, "pay"), (Self::Fulfil, "fulfil"), (Self::Cancel, "cancel"), (Self::Refund, "refund")];

    const fn operation(self) -> &'static str {
        match self {
            Self::Pay => "pay_order",
            Self::Fulfil => "fulfil_order",
            Self::Cancel => "cancel_order",
            Self::Refund => "refund_order",
        }
    }

    const fn event(self) -> &'static str {
        match self {
            Self::Pay => "order.paid",
            Self::Fulfil => "order.fulfilled",
            Self::Cancel => "order.cancelled",
            Self::Refund => "order.refunded",
        }
    }

    /// Where it leads, where it is lawful.
    fn from(self, status: OrderStatus) -> Option<OrderStatus> {
        use OrderStatus::{Cancelled, Fulfilled, Paid, Placed, Refunded};
        match (status, self) {
            (Placed, Self::Pay) => Some(Paid),
            (Paid, Self::Fulfil) => Some(Fulfilled),
            (Placed | Paid, Self::Cancel) => Some(Cancelled),
            (Paid | Fulfilled, Self::Refund) => Some(Refunded),
            _ => None,
        }
    }
}

async fn advance(
    db: &TenantDb,
    trail: &Trail,
    id: OrderId,
    key: Option<IdempotencyKey>,
    step: Move,
) -> Result<Response> {
    let (tx, caller) = db.begin_as().await?;
    once(tx, &caller, key, (step.operation(), &id), async |tx| {
        let before = store::lock(tx, id).await?.or_not_found()?;
        if step == Move::Cancel {
            check_own(&caller, &before)?;
        }
        let Some(next) = step.from(before.status) else { return Err(unlawful(before.status)) };
        store::set_status(tx, caller.actor(), id, next).await?;
        if matches!(next, OrderStatus::Cancelled | OrderStatus::Refunded) {
            store::give_back_stock(tx, id).await?;
        }
        let order = store::select(tx, id).await?.or_not_found()?;
        let (was, is) = (json!({"status": before.status}), json!({"status": next}));
        let moved = Entry::changed(step.event(), "order", id.uuid(), &was, &is).whole(&order);
        events::record(tx, caller.actor(), trail, moved).await?;
        Ok(Done { status: StatusCode::OK, location: None, tag: ETag(order.version).into(), body: order })
    })
    .await
}

/// Whoever may not cancel any order may cancel those that they have placed.
fn check_own(caller: &Caller, order: &store::Locked) -> Result<()> {
    const ANY: Permission = Permission { resource: Orders, action: Cancel };
    if order.placed_by == caller.actor().columns() || caller.exercise(ANY) {
        return Ok(());
    }
    let detail = format!("somebody else placed this order: to cancel it needs the permission {ANY}");
    Err(Error::Forbidden(Box::new(
        Problem::new(StatusCode::FORBIDDEN, "not_yours", detail)
            .with("permission", ANY.to_string())
            .with("your_roles", caller.roles()),
    )))
}

fn unlawful(status: OrderStatus) -> Error {
    let lawful: Vec<&str> =
        Move::ALL.iter().filter(|(step, _)| step.from(status).is_some()).map(|(_, name)| *name).collect();
    let lawful = if lawful.is_empty() { "nothing more".to_owned() } else { lawful.join(" or ") };
    Error::conflict(
        "illegal_transition",
        format!("this order is {}: what can be done is {lawful}", status.as_str()),
    )
}

impl OrderStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }
}

fn tagged(order: Order) -> impl IntoResponse {
    (<[_; 1]>::from(ETag(order.version)), Json(order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use OrderStatus::{Cancelled, Fulfilled, Paid, Placed, Refunded};

    #[test]
    fn an_order_moves_only_along_the_published_arrows() {
        let lawful = [
            (Placed, Move::Pay, Paid),
            (Paid, Move::Fulfil, Fulfilled),
            (Placed, Move::Cancel, Cancelled),
            (Paid, Move::Cancel, Cancelled),
            (Paid, Move::Refund, Refunded),
            (Fulfilled, Move::Refund, Refunded),
        ];
        for status in [Placed, Paid, Fulfilled, Cancelled, Refunded] {
            for (step, _) in Move::ALL {
                let arrow =
                    lawful.iter().find(|(from, by, _)| *from == status && *by == step).map(|(.., to)| *to);
                assert_eq!(step.from(status), arrow, "{status:?}");
            }
        }
    }
}
