//! Events: what happened in the organisation, for whoever did not listen when it did.

mod catalogue;
mod follow;
mod places;
mod resume;
mod socket;
mod stream;
mod ticket;

use crate::{
    authz::{Action::Read, Resource::Events},
    caller::Caller,
    error::{OptionExt as _, Result},
    events::{self, Event, EventRow},
    extract::{Json, List, ListParams, Listed, Path, TenantDb},
    ids::EventId,
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    refs,
    tenancy::TenantTx,
};
use axum::response::Response;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Events)
        .allow(Read, routes!(catalogue::list_event_types))
        .allow(Read, routes!(list_events))
        .allow(Read, routes!(stream::follow_events))
        .by_ticket()
        .allow(Read, routes!(socket::follow_events_by_socket))
        .by_ticket()
        .allow(Read, routes!(ticket::issue_ticket))
        .costing(1)
        .allow(Read, routes!(get_event))
}

impl Listed for Event {
    type Row = EventRow;
    const LISTING: &'static Listing = &Listing {
        columns: "org_id, id, type, at, actor_type, actor_id, target_type, target, object, previous, seq",
        from: "events where org_id = $1 and seq is not null",
        sorts: &[
            Sort { name: "seq", column: "seq", cast: "bigint" },
            Sort { name: "timestamp", column: "at", cast: "timestamptz" },
        ],
        filters: &[
            Filter {
                name: "type",
                predicate: "type =",
                kind: Kind::Text,
                about: "Of this type, like `product.created`.",
            },
            Filter {
                name: "object_id",
                predicate: "target =",
                kind: Kind::Name(refs::stored),
                about: "That happened to this, as `data.object.id` names it.",
            },
            Filter {
                name: "seq_gte",
                predicate: "seq >=",
                kind: Kind::Int,
                about: "With this number or a later one.",
            },
            Filter { name: "created_after", predicate: "at >", kind: Kind::Time, about: "Since." },
            Filter { name: "created_before", predicate: "at <", kind: Kind::Time, about: "Until." },
        ],
    };
}

/// List what happened
///
/// The last first; for 30 days. Of what the caller may read: whoever may not see orders does not see what happened to
/// them. To miss nothing, go by `sort=seq` from the last number that was seen: numbers are given in the order in which
/// things come to be seen, about a quarter of a second after they happened, and have no gaps.
#[utoipa::path(get, path = "/events/history", tag = "events", params(ListParams<Event>),
    responses((status = 200, description = "A page of events.", body = Page<Event>)))]
async fn list_events(db: TenantDb, list: List<Event>) -> Result<Response> {
    let (mut tx, caller) = db.read_as().await?;
    let list = list.only("type", readable(&caller));
    let page = list.page(&mut tx).await?;
    drop(tx);
    Ok(list.answer(page))
}

/// Fetch one event
#[utoipa::path(get, path = "/events/history/{id}", tag = "events", params(("id" = EventId, Path)),
    responses((status = 200, description = "The event.", body = Event)))]
async fn get_event(db: TenantDb, Path(id): Path<EventId>) -> Result<Json<Event>> {
    let (mut tx, caller) = db.read_as().await?;
    let event = select(&mut tx, id, &readable(&caller)).await?.or_not_found()?;
    Ok(Json(event.into()))
}

/// The types of what the caller may read.
fn readable(caller: &Caller) -> Vec<String> {
    events::readable(|permission| caller.may(permission))
}

async fn select(tx: &mut TenantTx, id: EventId, types: &[String]) -> Result<Option<EventRow>> {
    let event = sqlx::query_as!(
        EventRow,
        r#"select org_id as "org_id: _", id as "id: _", type as kind, at, actor_type, actor_id, target_type, target, object,
                  previous, seq as "seq!"
           from events where org_id = $1 and id = $2 and seq is not null and type = any($3)"#,
        tx.org().uuid(),
        id.uuid(),
        types
    );
    Ok(event.fetch_optional(&mut **tx).await?)
}
