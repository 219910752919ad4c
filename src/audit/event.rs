//! A line of the audit as the org it belongs to reads it.

use crate::ids::{
    ApiKeyId, AuditEventId, CategoryId, InvitationId, JobId, OrderId, OrgId, OverrideId, ProductId,
    RequestId, ScheduleId, SessionId, SimulationId, UserId,
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
    pub actor: AuditActor,
    #[schema(example = "api_key.created", max_length = 100)]
    pub action: String,
    pub target: AuditTarget,
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

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditActor {
    /// `user`, `api_key`, `operator` of the platform, or `system` for what it did by itself.
    #[serde(rename = "type")]
    #[schema(example = "user", max_length = 20)]
    pub kind: String,
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditTarget {
    #[serde(rename = "type")]
    #[schema(example = "api_key", max_length = 40)]
    pub kind: String,
    /// Its id, or what it is called where it has none: a tier's slug.
    #[schema(example = "key_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 200)]
    pub id: Option<String>,
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
            actor: AuditActor {
                id: row.actor_id.map(|id| on_the_wire(&row.actor_type, id)),
                kind: row.actor_type,
            },
            action: row.action,
            target: AuditTarget {
                id: row.target.map(|id| named(&row.target_type, id)),
                kind: row.target_type,
            },
            before: row.before,
            after: row.after,
            ip: row.ip,
            request_id: row.request_id,
            seq: row.seq,
            hash: row.hash.as_deref().map(hex),
        }
    }
}

/// What a target is called on the wire: a uuid gets the prefix of its kind, anything else is a name already.
pub fn named(kind: &str, target: String) -> String {
    match target.parse() {
        Ok(id) => on_the_wire(kind, id),
        Err(_) => target,
    }
}

/// Of a kind that has no prefix, the bare uuid. A kind that has been written without one has to go on without: the
/// chain of every org that holds such an event would break.
fn on_the_wire(kind: &str, id: Uuid) -> String {
    match kind {
        "user" | "operator" | "member" => UserId::from_uuid(id).to_string(),
        "api_key" => ApiKeyId::from_uuid(id).to_string(),
        "org" => OrgId::from_uuid(id).to_string(),
        "session" => SessionId::from_uuid(id).to_string(),
        "invitation" => InvitationId::from_uuid(id).to_string(),
        "category" => CategoryId::from_uuid(id).to_string(),
        "product" => ProductId::from_uuid(id).to_string(),
        "job" => JobId::from_uuid(id).to_string(),
        "schedule" => ScheduleId::from_uuid(id).to_string(),
        "simulation" => SimulationId::from_uuid(id).to_string(),
        "order" => OrderId::from_uuid(id).to_string(),
        "override" => OverrideId::from_uuid(id).to_string(),
        _ => id.to_string(),
    }
}

/// As [`named`] was given it: how the database knows what a client names.
pub fn stored(name: &str) -> String {
    let ids = [
        name.parse().map(UserId::uuid),
        name.parse().map(ApiKeyId::uuid),
        name.parse().map(OrgId::uuid),
        name.parse().map(SessionId::uuid),
        name.parse().map(InvitationId::uuid),
        name.parse().map(CategoryId::uuid),
        name.parse().map(ProductId::uuid),
        name.parse().map(OrderId::uuid),
        name.parse().map(OverrideId::uuid),
        name.parse().map(JobId::uuid),
        name.parse().map(SimulationId::uuid),
        name.parse().map(ScheduleId::uuid),
    ];
    ids.into_iter().flatten().next().map_or(name.to_owned(), |id| id.to_string())
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_is_called_leads_back_to_it() {
        let id = SessionId::new();
        for (kind, stored_as) in [
            ("session", id.uuid().to_string()),
            ("user", id.uuid().to_string()),
            ("tier", "free".to_owned()),
            ("signing_key", id.uuid().to_string()),
        ] {
            assert_eq!(stored(&named(kind, stored_as.clone())), stored_as, "{kind}");
        }
        assert_eq!(named("session", id.uuid().to_string()), id.to_string());
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
    }

    /// Were one of these to change, the chains that hold such an event would be told broken.
    #[test]
    fn each_kind_of_target_has_this_prefix_for_ever() {
        let id = Uuid::from_u128(1);
        for (kind, prefix) in [
            ("user", "usr_"),
            ("operator", "usr_"),
            ("member", "usr_"),
            ("api_key", "key_"),
            ("org", "org_"),
            ("session", "ses_"),
            ("invitation", "inv_"),
            ("category", "cat_"),
            ("product", "prd_"),
            ("order", "ord_"),
            ("anything else", "00000000-"),
        ] {
            assert!(named(kind, id.to_string()).starts_with(prefix), "{kind}");
        }
    }
}
