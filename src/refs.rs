//! Who did something and what it was done to, as the audit and the events name them.

use crate::ids::{
    ApiKeyId, CategoryId, FileId, ImageId, InvitationId, JobId, OrderId, OrgId, OverrideId, ProductId,
    RoleId, ScheduleId, SessionId, SimulationId, UserId, WebhookId,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActorRef {
    /// `user`, `api_key`, `operator` of the platform, or `system` for what it did by itself.
    #[serde(rename = "type")]
    #[schema(example = "user", max_length = 20)]
    pub kind: String,
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TargetRef {
    #[serde(rename = "type")]
    #[schema(example = "api_key", max_length = 40)]
    pub kind: String,
    /// Its id, or what it is called where it has none: a tier's slug.
    #[schema(example = "key_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 200)]
    pub id: Option<String>,
}

impl ActorRef {
    pub fn of(kind: String, id: Option<Uuid>) -> Self {
        Self { id: id.map(|id| on_the_wire(&kind, id)), kind }
    }
}

impl TargetRef {
    pub fn of(kind: String, target: Option<String>) -> Self {
        Self { id: target.map(|target| named(&kind, target)), kind }
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
        "product_image" => ImageId::from_uuid(id).to_string(),
        "job" => JobId::from_uuid(id).to_string(),
        "schedule" => ScheduleId::from_uuid(id).to_string(),
        "simulation" => SimulationId::from_uuid(id).to_string(),
        "order" => OrderId::from_uuid(id).to_string(),
        "override" => OverrideId::from_uuid(id).to_string(),
        "webhook" => WebhookId::from_uuid(id).to_string(),
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
        name.parse().map(ImageId::uuid),
        name.parse().map(OrderId::uuid),
        name.parse().map(FileId::uuid),
        name.parse().map(RoleId::uuid),
        name.parse().map(OverrideId::uuid),
        name.parse().map(JobId::uuid),
        name.parse().map(SimulationId::uuid),
        name.parse().map(ScheduleId::uuid),
        name.parse().map(WebhookId::uuid),
    ];
    ids.into_iter().flatten().next().map_or(name.to_owned(), |id| id.to_string())
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
            ("product_image", "img_"),
            ("order", "ord_"),
            ("webhook", "whk_"),
            ("anything else", "00000000-"),
        ] {
            assert!(named(kind, id.to_string()).starts_with(prefix), "{kind}");
        }
    }
}
