//! A line of the audit as the org it belongs to reads it.

use crate::{
    ids::{AuditEventId, OrgId, RequestId},
    refs::{ActorRef, TargetRef},
};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Who did what to what. Its form is what the chain's hashes are made of: see [`super::chain`] before changing it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEvent {
    pub id: AuditEventId,
    /// The organisation whose audit it is part of.
    pub org: OrgId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub actor: ActorRef,
    #[schema(example = "api_key.created", max_length = 100)]
    pub action: String,
    pub target: TargetRef,
    /// Of what changed, how it was; never with secrets.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// And how it is since.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// Where the request came from.
    #[schema(example = "192.0.2.7", max_length = 45)]
    pub ip: Option<String>,
    pub request_id: Option<RequestId>,
    /// Its place in the organisation's chain, from 1 on without a gap; none until it is sealed, about a second later.
    #[schema(example = 1)]
    pub seq: Option<i64>,
    /// SHA-256 in lower-case hex, of the 32 bytes of the hash before (zeros before the first), followed by this event
    /// without its `hash`, as JSON in canonical form (RFC 8785) and UTF-8. None until it is sealed.
    #[schema(
        example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        min_length = 64,
        max_length = 64
    )]
    pub hash: Option<String>,
}

/// The same as it is stored.
#[derive(sqlx::FromRow)]
pub struct AuditRow {
    pub org_id: OrgId,
    pub id: AuditEventId,
    pub at: OffsetDateTime,
    pub actor_type: String,
    pub actor_id: Option<Uuid>,
    pub action: String,
    pub target_type: String,
    pub target: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub ip: Option<String>,
    pub request_id: Option<RequestId>,
    pub seq: Option<i64>,
    pub hash: Option<Vec<u8>>,
}

impl From<AuditRow> for AuditEvent {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            org: row.org_id,
            at: row.at,
            actor: ActorRef::of(row.actor_type, row.actor_id),
            action: row.action,
            target: TargetRef::of(row.target_type, row.target),
            before: row.before,
            after: row.after,
            ip: row.ip,
            request_id: row.request_id,
            seq: row.seq,
            hash: row.hash.as_deref().map(hex),
        }
    }
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn bytes_are_written_in_lower_case() {
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
    }
}
