//! An event as the org it happened in is told of it.

use super::VERSION;
use crate::{
    ids::{EventId, FileId, OrgId, RoleId},
    refs::{ActorRef, named},
};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that happened. Each is told at least once and in the order of `seq`; whoever may be told of one twice knows
/// it by its `id`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Event {
    pub id: EventId,
    /// What happened: `GET /event-types` has them all.
    #[serde(rename = "type")]
    #[schema(example = "product.created", max_length = 100)]
    pub kind: String,
    /// Of the form of `data`, for this type. Fields may be added without another version.
    #[schema(example = 1, minimum = 1)]
    pub version: u32,
    /// Its place among the organisation's events, from 1 on without a gap, in the order in which they came to be seen.
    #[schema(example = 1, minimum = 1)]
    pub seq: i64,
    /// When it happened.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
    pub org: OrgId,
    pub actor: ActorRef,
    pub data: EventData,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventData {
    /// What it happened to, as it was right after: its `id`, and what is told of it.
    #[schema(value_type = Object)]
    pub object: Value,
    /// Where something changed, what was different before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub previous: Option<Value>,
}

/// The same as it is stored, once it has its number.
#[derive(sqlx::FromRow)]
pub struct EventRow {
    pub org_id: OrgId,
    pub id: EventId,
    #[sqlx(rename = "type")]
    pub kind: String,
    pub at: OffsetDateTime,
    pub actor_type: String,
    pub actor_id: Option<Uuid>,
    pub target_type: String,
    pub target: Option<String>,
    pub object: Option<Value>,
    pub previous: Option<Value>,
    pub seq: i64,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        let mut object = Map::new();
        if let Some(target) = row.target {
            object.insert("id".to_owned(), told(&row.target_type, target).into());
        }
        if let Some(Value::Object(told)) = row.object {
            object.extend(told);
        }
        Self {
            id: row.id,
            kind: row.kind,
            version: VERSION,
            seq: row.seq,
            timestamp: row.at,
            org: row.org_id,
            actor: ActorRef::of(row.actor_type, row.actor_id),
            data: EventData { object: object.into(), previous: row.previous },
        }
    }
}

/// As the API names it; the audit calls some by their bare uuid for ever.
fn told(kind: &str, target: String) -> String {
    match (kind, target.parse()) {
        ("file", Ok(id)) => FileId::from_uuid(id).to_string(),
        ("role", Ok(id)) => RoleId::from_uuid(id).to_string(),
        _ => named(kind, target),
    }
}
