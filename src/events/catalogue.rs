//! Every type of event there is: what it says, and who may read it.

use crate::authz::{
    Action::Read,
    Permission,
    Resource::{
        self, ApiKeys, AuditEvents, Categories, Files, Invitations, Jobs, Orders, Org, Products, Roles,
        Schedules, Usage, Users, Webhooks,
    },
};

/// Of the form of `data`, for every type so far. One whose fields change their meaning gets another.
pub const VERSION: u32 = 1;

pub struct EventType {
    /// `<noun>.<past tense>`.
    pub name: &'static str,
    pub about: &'static str,
    /// Whoever may read these may read of what happened to them.
    of: Resource,
    /// The schema of `data.object`, where it is a resource as `GET` answers it.
    pub schema: Option<&'static str>,
}

impl EventType {
    pub const fn permission(&self) -> Permission {
        Permission { resource: self.of, action: Read }
    }
}

/// The names of those that whoever `may` so much may read.
pub fn readable(may: impl Fn(Permission) -> bool) -> Vec<String> {
    let readable = EVENT_TYPES.iter().filter(|kind| may(kind.permission()));
    readable.map(|kind| kind.name.to_owned()).collect()
}

const fn whole(name: &'static str, of: Resource, schema: &'static str, about: &'static str) -> EventType {
    EventType { name, about, of, schema: Some(schema) }
}

const fn of(name: &'static str, of: Resource, about: &'static str) -> EventType {
    EventType { name, about, of, schema: None }
}

/// In the order of the alphabet. To add one is to add a line; a test fails for what happens and is not here.
pub const EVENT_TYPES: &[EventType] = &[
    of("account.deleted", AuditEvents, "A member has deleted their account."),
    of("account.locked", AuditEvents, "Somebody has tried too many passwords of a member."),
    of("api_key.created", ApiKeys, "An API key was made."),
    of("api_key.revoked", ApiKeys, "An API key opens nothing any more."),
    of("api_key.rotated", ApiKeys, "An API key was replaced by another."),
    of("api_key.updated", ApiKeys, "An API key was renamed, or may do something else."),
    whole("category.created", Categories, "Category", "A category was made."),
    whole(
        "category.deleted",
        Categories,
        "Category",
        "A category is gone; where `data.object.moved_to` is there, what was in it is in that one.",
    ),
    whole("category.updated", Categories, "Category", "A category was renamed or moved."),
    of("email.change_requested", AuditEvents, "A member wants another e-mail address."),
    of("email.changed", AuditEvents, "A member has another e-mail address."),
    of("email.verified", AuditEvents, "A member has confirmed their e-mail address."),
    of("export.requested", Jobs, "A job is to write an export."),
    of("file.created", Files, "A file was uploaded."),
    of("file.deleted", Files, "A file is gone."),
    of("import.requested", Jobs, "A job is to import a file."),
    of("invitation.accepted", Invitations, "Somebody has come by an invitation."),
    of("invitation.created", Invitations, "Somebody was invited."),
    of("invitation.resent", Invitations, "An invitation was sent again."),
    of("invitation.revoked", Invitations, "An invitation was withdrawn."),
    of("job.cancelled", Jobs, "A job is not to be done any more."),
    of("job.failed", Jobs, "A job will not come to anything, unless it is retried."),
    of("job.retried", Jobs, "A job that had failed waits for its turn again."),
    of("job.succeeded", Jobs, "A job is done."),
    of("limits.lowering_announced", Org, "A limit will be lower from a time on."),
    of("limits.lowering_withdrawn", Org, "A limit will not be lower after all."),
    of("member.joined", Users, "Somebody has become a member."),
    of("member.left", Users, "A member has left."),
    of("member.removed", Users, "A member was removed."),
    of("member.restored", Users, "A member who was suspended may come in again."),
    of("member.roles_changed", Users, "A member has other roles."),
    of("member.suspended", Users, "A member may not come in any more."),
    of("member.tier_changed", Users, "Other limits hold for a member."),
    whole("order.cancelled", Orders, "Order", "An order was cancelled, and its stock given back."),
    whole("order.fulfilled", Orders, "Order", "An order was fulfilled."),
    whole("order.paid", Orders, "Order", "An order was paid."),
    whole("order.placed", Orders, "Order", "An order was placed, and its stock taken."),
    whole("order.refunded", Orders, "Order", "An order was refunded, and its stock given back."),
    whole("order.updated", Orders, "Order", "The note or the metadata of an order was changed."),
    of("org.billing_day_changed", Org, "The organisation's months begin on another day."),
    of("org.created", Org, "The organisation is there."),
    of("org.deleted", Org, "The organisation is gone."),
    of("org.restored", Org, "The organisation is open again."),
    of("org.suspended", Org, "The organisation is shut."),
    of("org.tier_changed", Org, "The organisation is on another tier."),
    of("org.updated", Org, "The organisation, or what it asks of its members, was changed."),
    of("override.created", Org, "An exception from the tier's limits holds."),
    of("override.ended", Org, "An exception from the tier's limits has ended."),
    of("password.changed", AuditEvents, "A member has changed their password."),
    of("password.reset", AuditEvents, "A member has set a password by mail."),
    whole("product.created", Products, "Product", "A product was made."),
    whole("product.deleted", Products, "Product", "A product was deleted; it can be restored."),
    of("product.purged", Products, "A product that was deleted long ago can't be restored any more."),
    whole("product.restored", Products, "Product", "A product that was deleted is back."),
    whole("product.updated", Products, "Product", "A product was changed."),
    of("product_image.created", Products, "A product is shown by another image."),
    of("product_image.deleted", Products, "An image was taken from a product."),
    of("product_image.updated", Products, "An image of a product was described or moved."),
    of("recovery_code.used", AuditEvents, "A member has signed in with a recovery code."),
    of("recovery_codes.renewed", AuditEvents, "A member has new recovery codes."),
    of("role.created", Roles, "A role was made."),
    of("role.deleted", Roles, "A role is gone."),
    of("role.updated", Roles, "A role was changed."),
    of("sandbox.reset", Org, "All that was made in the sandbox is gone."),
    of("schedule.created", Schedules, "A schedule was made."),
    of("schedule.deleted", Schedules, "A schedule is gone."),
    of("schedule.updated", Schedules, "A schedule was changed, paused or set going again."),
    of("session.ended", AuditEvents, "A session of a member is over."),
    of("session.started", AuditEvents, "A member has signed in."),
    of("session.stepped_up", AuditEvents, "A member has proved again who they are."),
    of("session.switched", AuditEvents, "A member has come from another organisation."),
    of("session.token_reused", AuditEvents, "A refresh token of a member was used twice: it may be stolen."),
    of("totp.disabled", AuditEvents, "A member has no second factor any more."),
    of("totp.enabled", AuditEvents, "A member has a second factor."),
    of(
        "usage.threshold_reached",
        Usage,
        "A half, four fifths or all of a quota is used; told once in its window.",
    ),
    of("webhook.created", Webhooks, "A webhook was made."),
    of("webhook.deleted", Webhooks, "A webhook is gone."),
    of(
        "webhook.disabled",
        Webhooks,
        "A webhook is told nothing any more: it was gone, or had failed for days.",
    ),
    of("webhook.replayed", Webhooks, "Events are told again to a webhook."),
    of("webhook.secret_rotated", Webhooks, "What a webhook is told is signed by another secret."),
    of("webhook.tested", Webhooks, "Told to one webhook alone, to see whether it arrives."),
    of("webhook.updated", Webhooks, "A webhook was changed, or enabled or disabled by hand."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_listed_once_in_order_and_each_is_read_with_a_permission_that_there_is() {
        assert!(EVENT_TYPES.is_sorted_by(|one, next| one.name < next.name));
        for kind in EVENT_TYPES {
            assert!(kind.permission().sentence().is_some(), "{}", kind.name);
        }
    }

    #[test]
    fn whoever_reads_products_alone_reads_of_nothing_else() {
        let products = readable(|permission| permission.resource == Products);
        assert!(
            products.iter().all(|name| name.starts_with("product")) && !products.is_empty(),
            "{products:?}"
        );
        assert!(readable(|_| false).is_empty());
    }
}
