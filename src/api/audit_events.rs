//! The audit: who did what in the organisation, kept for good.

use crate::{
    audit::{AuditEvent, AuditRow},
    authz::{Action::Read, Resource::AuditEvents},
    error::{OptionExt as _, Result},
    extract::{Json, List, ListParams, Listed, Path, TenantDb},
    ids::{ApiKeyId, AuditEventId, UserId},
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    refs,
    tenancy::TenantTx,
};
use axum::response::Response;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(AuditEvents)
        .allow(Read, routes!(list_audit_events))
        .allow(Read, routes!(get_audit_event))
}

impl Listed for AuditEvent {
    type Row = AuditRow;
    const LISTING: &'static Listing = &Listing {
        columns: "org_id, id, at, actor_type, actor_id, action, target_type, target, before, after, host(ip) as ip, \
                  request_id, seq, hash",
        from: "audit_events where org_id = $1",
        sorts: &[Sort { name: "at", column: "at", cast: "timestamptz" }],
        filters: &[
            Filter {
                name: "action",
                predicate: "action =",
                kind: Kind::Text,
                about: "What was done, like `api_key.created`.",
            },
            Filter {
                name: "actor_id",
                predicate: "actor_id =",
                kind: Kind::Id(|text| {
                    let user = text.parse().ok().map(UserId::uuid);
                    user.or_else(|| text.parse().ok().map(ApiKeyId::uuid))
                }),
                about: "By this user or API key.",
            },
            Filter {
                name: "target_id",
                predicate: "target =",
                kind: Kind::Name(refs::stored),
                about: "Done to this, as `target.id` names it.",
            },
            Filter { name: "created_after", predicate: "at >", kind: Kind::Time, about: "Since." },
            Filter { name: "created_before", predicate: "at <", kind: Kind::Time, about: "Until." },
        ],
    };
}

/// List what was done
///
/// Newest first. An event is sealed into the organisation's hash chain about a second after it happened: see `hash`.
#[utoipa::path(get, path = "/audit-events", tag = "audit", params(ListParams<AuditEvent>),
    responses((status = 200, description = "A page of the audit.", body = Page<AuditEvent>)))]
async fn list_audit_events(db: TenantDb, list: List<AuditEvent>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Fetch one event of the audit
#[utoipa::path(get, path = "/audit-events/{id}", tag = "audit", params(("id" = AuditEventId, Path)),
    responses((status = 200, description = "What was done.", body = AuditEvent)))]
async fn get_audit_event(db: TenantDb, Path(id): Path<AuditEventId>) -> Result<Json<AuditEvent>> {
    Ok(Json(select(&mut db.read().await?, id).await?.or_not_found()?.into()))
}

async fn select(tx: &mut TenantTx, id: AuditEventId) -> Result<Option<AuditRow>> {
    let event = sqlx::query_as!(
        AuditRow,
        r#"select org_id as "org_id: _", id as "id: _", at, actor_type, actor_id, action, target_type, target, before,
                  after, host(ip) as ip, request_id as "request_id: _", seq, hash
           from audit_events where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(event.fetch_optional(&mut **tx).await?)
}
