//! Users: the members of an organisation, as its other members see them.

mod store;

use super::given;
use crate::{
    authz::{
        Action::{Delete, Read, Update},
        Resource::Users,
        RoleGraph, guard,
    },
    error::{Error, Flaw, OptionExt as _, Result},
    events::{self, Entry},
    extract::{ETag, IfMatch, Json, List, ListParams, Listed, Path, SignedIn, TenantDb, Turn},
    ids::UserId,
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    trail::Trail,
};
use axum::{
    extract::State,
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
    TenantRoutes::of(Users)
        .allow(Read, routes!(list_users))
        .allow(Read, routes!(get_user))
        .allow(Update, routes!(update_user))
        .allow(Delete, routes!(remove_user))
}

/// A person, as the organisation knows them.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct Member {
    pub id: UserId,
    #[schema(example = "ada@example.com", max_length = 254)]
    pub email: String,
    #[schema(example = "Ada Lovelace", max_length = 200)]
    pub name: String,
    #[schema(example = json!(["member"]), max_items = 100)]
    pub roles: Vec<String>,
    /// The tier whose limits on users hold for them in place of the organisation's.
    #[schema(example = "pro", max_length = 40)]
    pub tier: Option<String>,
    pub status: MemberStatus,
    #[schema(example = 1)]
    pub version: i64,
    /// Since when they are a member.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum MemberStatus {
    Active,
    /// Refused everywhere in the organisation.
    Suspended,
}

impl MemberStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberPatch {
    /// All of them: what is not named is taken away.
    #[garde(inner(length(min = 1, max = 100)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["member"]), min_items = 1, max_items = 100)]
    pub roles: Option<Vec<String>>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub status: Option<MemberStatus>,
    /// A public tier; null for the limits of the organisation's own.
    #[garde(inner(inner(length(max = 40))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(example = "pro", max_length = 40)]
    pub tier: Option<Option<String>>,
}

impl Listed for Member {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, email, name, roles, tier, status, version, created_at",
        from: "members where org_id = $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "name", column: r#"name collate "C""#, cast: "text" },
            Sort { name: "email", column: r#"email collate "C""#, cast: "text" },
        ],
        filters: &[
            Filter {
                name: "q",
                // A prefix as a range, which an index finds for any value: what begins so sorts before what
                // begins so and goes on with the last character there is.
                predicate: r#"email collate "C" >= {} and email collate "C" < {} || chr(1114111)
                    or name collate "C" >= {} and name collate "C" < {} || chr(1114111)"#,
                kind: Kind::Text,
                about: "Whose e-mail address or name begins so.",
            },
            Filter {
                name: "status",
                predicate: "status =",
                kind: Kind::OneOf(&["active", "suspended"]),
                about: "In this standing.",
            },
            Filter {
                name: "role",
                predicate: "roles @> array[{}]",
                kind: Kind::Text,
                about: "Who hold this role.",
            },
        ],
    };
}

/// List members
#[utoipa::path(get, path = "/users", tag = "users", params(ListParams<Member>),
    responses((status = 200, description = "A page of members.", body = Page<Member>)))]
async fn list_users(db: TenantDb, list: List<Member>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Fetch one member
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = UserId, Path)),
    responses((status = 200, description = "The member.", body = Member)))]
async fn get_user(db: TenantDb, Path(id): Path<UserId>) -> Result<Response> {
    let member = store::select(&mut db.read().await?, id).await?.or_not_found()?;
    Ok(tagged(member).into_response())
}

/// Change a member's roles, standing or limits
///
/// In force on every replica within a second. Nobody gives or takes roles that hold more than they do themselves, nor
/// changes who holds such a role; to give a role that can change members takes a sign-in at most five minutes old.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", request_body = MemberPatch,
    params(("id" = UserId, Path)),
    responses((status = 200, description = "The changed member.", body = Member),
              (status = 409, description = "Nobody would be left to answer for the organisation (`last_owner`)."),
              (status = 412, description = "They have changed since the version that If-Match names.")))]
async fn update_user(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    Path(id): Path<UserId>,
    expected: Option<IfMatch>,
    Json(patch): Json<MemberPatch>,
) -> Result<Response> {
    let mut turn = db.in_turn().await?;
    let before = store::select(&mut turn.tx, id).await?.or_not_found()?;
    if let Some(expected) = expected {
        expected.check(before.version)?;
    }
    let own = turn.caller.own(&turn.graph);
    guard::reaches(&turn.graph, own, &before.roles)?;
    let wanted = wanted(&before, patch, &turn.graph)?;
    guard::assign(&turn.graph, own, &before.roles, &wanted.roles)?;
    let mut given = wanted.roles.iter().filter(|role| !before.roles.contains(role));
    if given.any(|role| guard::gives_power(&turn.graph, None, &turn.graph, role)) {
        SignedIn::of(&turn.caller)?.check_fresh(&state.clock)?;
    }
    if !wanted.answers_for_the_org(&turn.graph) {
        refuse_last_owner(&mut turn, id).await?;
    }
    if wanted.tier != before.tier
        && let Some(tier) = &wanted.tier
        && !store::is_public_tier(&mut turn.tx, tier).await?
    {
        return Err(Error::invalid("/tier", "not_found", "there is no such public tier"));
    }
    let changes = changes(&before, &wanted);
    if changes.is_empty() {
        return Ok(tagged(before).into_response());
    }
    let member = store::update(&mut turn.tx, id, &wanted).await?;
    for change in changes {
        events::record(&mut turn.tx, turn.caller.actor(), &trail, change).await?;
    }
    turn.commit(&state).await?;
    Ok(tagged(member).into_response())
}

/// Remove a member
///
/// Refused on every replica within a second; what they made stays, their API keys too.
#[utoipa::path(delete, path = "/users/{id}", tag = "users", params(("id" = UserId, Path)),
    responses((status = 204, description = "They are no member any more."),
              (status = 409, description = "Nobody would be left to answer for the organisation (`last_owner`).")))]
async fn remove_user(
    State(state): State<AppState>,
    db: TenantDb,
    trail: Trail,
    Path(id): Path<UserId>,
) -> Result<StatusCode> {
    let mut turn = db.in_turn().await?;
    let member = store::select(&mut turn.tx, id).await?.or_not_found()?;
    guard::reaches(&turn.graph, turn.caller.own(&turn.graph), &member.roles)?;
    refuse_last_owner(&mut turn, id).await?;
    store::delete(&mut turn.tx, id).await?;
    let removed = entry("member.removed", id)
        .before(json!({"email": member.email, "roles": member.roles, "status": member.status}));
    events::record(&mut turn.tx, turn.caller.actor(), &trail, removed).await?;
    turn.commit(&state).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tagged(member: Member) -> impl IntoResponse {
    (<[_; 1]>::from(ETag(member.version)), Json(member))
}

/// What a member is to be.
struct Wanted {
    roles: Vec<String>,
    status: MemberStatus,
    tier: Option<String>,
}

impl Wanted {
    /// As an owner who is active, and to whom no other role denies what owners may do.
    fn answers_for_the_org(&self, graph: &RoleGraph) -> bool {
        self.status == MemberStatus::Active
            && self.roles.iter().any(|role| role == "owner")
            && graph.effective(&["owner"]).is_subset(&graph.effective(&self.roles))
    }
}

fn wanted(before: &Member, patch: MemberPatch, graph: &RoleGraph) -> Result<Wanted> {
    let mut roles = patch.roles.unwrap_or_else(|| before.roles.clone());
    let unknown: Vec<Flaw> = roles
        .iter()
        .enumerate()
        .filter(|(_, role)| graph.get(role).is_none() && !before.roles.contains(role))
        .map(|(at, _)| Flaw::new(format!("/roles/{at}"), "not_found", "there is no such role"))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Invalid(unknown));
    }
    // One order, so that equal sets of roles are decided about once.
    roles.sort();
    roles.dedup();
    Ok(Wanted {
        roles,
        status: patch.status.unwrap_or(before.status),
        tier: patch.tier.unwrap_or_else(|| before.tier.clone()),
    })
}

async fn refuse_last_owner(turn: &mut Turn, id: UserId) -> Result<()> {
    if store::is_last_owner(&mut turn.tx, id).await? {
        return Err(Error::conflict(
            "last_owner",
            "nobody else owns this organisation: make another member its owner first",
        ));
    }
    Ok(())
}

fn changes(before: &Member, after: &Wanted) -> Vec<Entry> {
    let id = before.id;
    let mut changes = Vec::new();
    if after.roles != before.roles {
        let change = entry("member.roles_changed", id).before(json!({"roles": before.roles}));
        changes.push(change.after(json!({"roles": after.roles})));
    }
    if after.status != before.status {
        let action = match after.status {
            MemberStatus::Active => "member.restored",
            MemberStatus::Suspended => "member.suspended",
        };
        let change = entry(action, id).before(json!({"status": before.status}));
        changes.push(change.after(json!({"status": after.status})));
    }
    if after.tier != before.tier {
        let change = entry("member.tier_changed", id).before(json!({"tier": before.tier}));
        changes.push(change.after(json!({"tier": after.tier})));
    }
    changes
}

fn entry(action: &'static str, id: UserId) -> Entry {
    Entry::new(action, "user", id.uuid().to_string())
}
