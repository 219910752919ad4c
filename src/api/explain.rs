//! Explain: whether somebody may do something, and which rule says so.

use crate::{
    authn::Actor,
    authz::{self, Action, Permission, Resource, Ruling},
    caller::{Caller, refused},
    decisions::Outcome,
    error::{Error, Result},
    extract::{Json, TenantDb},
    ids::{OrderId, UserId},
    middleware::TenantRoutes,
    state::AppState,
};
use axum::extract::State;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Resource::Decisions).allow_members(routes!(explain_decision)).further(Action::Read)
}

const OF_OTHERS: Permission = Permission { resource: Resource::Decisions, action: Action::Read };
const READ_ORDERS: Permission = Permission { resource: Resource::Orders, action: Action::Read };
const ANY_ORDER: Permission = Permission { resource: Resource::Orders, action: Action::Cancel };
const OWN_ORDER: Permission = Permission { resource: Resource::Orders, action: Action::CancelOwn };

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// A member of the organisation; yourself where absent.
    #[garde(skip)]
    pub user: Option<UserId>,
    #[garde(length(chars, min = 1, max = 80))]
    #[schema(example = "products:read", min_length = 1, max_length = 80)]
    pub permission: String,
    /// An order, where it is asked about this one: who may cancel their own alone may cancel what they placed.
    #[garde(skip)]
    pub resource: Option<OrderId>,
}

#[derive(Serialize, ToSchema)]
pub struct Explanation {
    pub user: UserId,
    #[schema(example = "products:read", max_length = 80)]
    pub permission: String,
    pub outcome: Outcome,
    /// What the member holds.
    #[schema(max_items = 100)]
    pub roles: Vec<String>,
    /// The rule that decided, as the policy files write rules; none where no rule applies, which denies.
    #[schema(example = "p, viewer, products, read, allow", max_length = 200)]
    pub rule: Option<String>,
    /// From the member over the roles to the rule; empty where no rule applies.
    #[schema(example = json!(["usr_01jd8yq3c5f4x7t9k2m6n8p0rs", "clerk", "viewer", "p, viewer, products, read, allow"]),
        max_items = 20)]
    pub path: Vec<String>,
    /// The roles that hold the permission.
    #[schema(max_items = 200)]
    pub granted_by: Vec<String>,
    /// The same in a sentence.
    #[schema(example = "allowed: clerk inherits viewer, which holds products:read", max_length = 1000)]
    pub text: String,
}

/// Explain what somebody may do
///
/// For yourself always, for other members with the permission `decisions:read`. Costs nothing.
#[utoipa::path(post, path = "/roles/explain", tag = "decisions", request_body = Question,
    responses((status = 200, description = "What would be decided now, and by what.", body = Explanation)))]
async fn explain_decision(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    Json(question): Json<Question>,
) -> Result<Json<Explanation>> {
    let own = match caller.actor() {
        Actor::User { user, .. } => Some(*user),
        Actor::ApiKey { .. } => None,
    };
    let user = question.user.or(own).ok_or_else(|| {
        refused("user_required", "an API key has scopes and no roles: name the user whose roles are meant")
    })?;
    if own != Some(user) && !caller.may(OF_OTHERS) {
        return Err(authz::refusal(&*state.authz.policy(caller.org()).await?, OF_OTHERS, caller.roles()));
    }
    let permission: Permission = question.permission.parse().map_err(|()| {
        Error::invalid("/permission", "unknown", "there is no such permission; they read like products:read")
    })?;
    let standing = state.authz.standing(caller.org(), user).await?;
    let standing = standing.ok_or_else(|| Error::invalid("/user", "not_found", "there is no such member"))?;
    let placed_by = match question.resource {
        Some(order) => Some(placed_by(&db, &caller, order).await?),
        None => None,
    };
    let explain = |permission| standing.policy().explain(&standing.roles, permission);
    let any = explain(ANY_ORDER);
    // Of one order it is the same to ask for either: whose it is decides which of them counts.
    let (permission, ruling) = match placed_by {
        Some(_) if [ANY_ORDER, OWN_ORDER].contains(&permission) && any.allowed => (ANY_ORDER, any),
        Some(_) if permission == ANY_ORDER => (OWN_ORDER, explain(OWN_ORDER)),
        _ => (permission, explain(permission)),
    };
    let not_theirs = permission == OWN_ORDER
        && ruling.allowed
        && placed_by.is_some_and(|placed_by| placed_by != Some(user));
    let granted_by = standing.policy().granted_by(permission).into_iter().map(ToOwned::to_owned).collect();
    let (outcome, text) = if not_theirs && !standing.suspended {
        let text = "denied: they may cancel the orders they have placed themselves, and somebody else placed this one";
        (Outcome::Deny, text.to_owned())
    } else {
        told(&ruling, permission, standing.suspended)
    };
    let path = ruling.rule.iter().flat_map(|rule| {
        [user.to_string()].into_iter().chain(ruling.path.iter().cloned()).chain([rule.clone()])
    });
    Ok(Json(Explanation {
        user,
        permission: permission.to_string(),
        outcome,
        roles: standing.roles.to_vec(),
        path: path.collect(),
        rule: ruling.rule.clone(),
        granted_by,
        text,
    }))
}

/// Who placed an order, where it was a person.
async fn placed_by(db: &TenantDb, caller: &Caller, order: OrderId) -> Result<Option<UserId>> {
    if !caller.may(READ_ORDERS) {
        return Err(caller.refusal(READ_ORDERS));
    }
    let mut tx = db.read().await?;
    let found = sqlx::query_scalar!(
        r#"select placed_by_user as "placed_by: UserId" from orders where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        order.uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    found.ok_or_else(|| Error::invalid("/resource", "not_found", "there is no such order"))
}

fn told(ruling: &Ruling, permission: Permission, suspended: bool) -> (Outcome, String) {
    let way = ruling.path.join(", which inherits ");
    match ruling {
        _ if suspended => {
            (Outcome::Deny, "denied: the member is suspended, whatever the roles say".to_owned())
        }
        Ruling { allowed: true, .. } => {
            (Outcome::Allow, format!("allowed: by {way}, which holds {permission}"))
        }
        Ruling { rule: Some(_), .. } => (
            Outcome::Deny,
            format!("denied: by {way}, which is denied {permission}, whatever other roles hold"),
        ),
        Ruling { rule: None, .. } => (Outcome::Deny, format!("denied: no role of theirs holds {permission}")),
    }
}
