//! The organisation itself, and what it asks of whoever comes in.

mod delete;
mod reset;

use super::given;
use crate::{
    access::{self, Demand},
    account::Org,
    authn::Actor,
    authz::{
        Action::{Delete, Read, Update},
        Resource::Org as Organisation,
    },
    caller::{Caller, refused},
    error::{Error, Flaw, OptionExt as _, Result},
    events::{self, Entry},
    extract::{Json, TenantDb},
    ids::OrgId,
    middleware::TenantRoutes,
    networks::network,
    state::AppState,
    tenancy::{Access, Status, TenantTx, gate},
    trail::Trail,
};
use anyhow::anyhow;
use axum::extract::State;
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Organisation)
        .allow(Read, routes!(get_org))
        .allow(Update, routes!(update_org))
        .allow(Delete, routes!(delete::delete_org))
        .allow(Delete, routes!(reset::reset_sandbox))
}

/// The organisation that the caller works in.
#[derive(Serialize, ToSchema)]
pub struct OwnOrg {
    #[serde(flatten)]
    pub org: Org,
    #[serde(flatten)]
    pub access: Access,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgPatch {
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "Acme Ltd", min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// Members must sign in with a second factor. Whoever sets it must have done so.
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = false)]
    pub require_mfa: Option<bool>,
    /// Members must have confirmed their e-mail address. Whoever sets it must have done so.
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = false)]
    pub require_verified_email: Option<bool>,
    /// The networks that members and API keys must come from, as CIDR or single addresses, your own among them; any
    /// where empty.
    #[garde(inner(length(max = 100), inner(custom(network))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!([]), max_items = 100)]
    pub allowed_ips: Option<Vec<String>>,
}

/// Fetch the organisation
#[utoipa::path(get, path = "/org", tag = "org",
    responses((status = 200, description = "The organisation you work in.", body = OwnOrg)))]
async fn get_org(db: TenantDb) -> Result<Json<OwnOrg>> {
    Ok(Json(select(&mut db.read().await?).await?.or_not_found()?))
}

/// Rename the organisation, or change what it asks of whoever comes in
///
/// What it asks is in force on every replica within a second, for its test keys too. One's own matters (`/me` and what
/// is below it, switching, signing out) stay open to every member.
#[utoipa::path(patch, path = "/org", tag = "org", request_body = OrgPatch,
    responses((status = 200, description = "The changed organisation.", body = OwnOrg)))]
async fn update_org(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Json(patch): Json<OrgPatch>,
) -> Result<Json<OwnOrg>> {
    let asked =
        patch.require_mfa.is_some() || patch.require_verified_email.is_some() || patch.allowed_ips.is_some();
    if asked && matches!(caller.actor(), Actor::ApiKey { .. }) {
        return Err(refused("user_required", "an API key can't say who may come in: sign in as a person"));
    }
    let mut tx = db.begin().await?;
    lock(&mut tx).await?;
    let before = select(&mut tx).await?.or_not_found()?;
    let access = Access {
        require_mfa: patch.require_mfa.unwrap_or(before.access.require_mfa),
        require_verified_email: patch.require_verified_email.unwrap_or(before.access.require_verified_email),
        allowed_ips: patch.allowed_ips.map_or_else(|| before.access.allowed_ips.clone(), Into::into),
    };
    let mut changed = Vec::new();
    if access != before.access {
        not_locked_out(&access, caller.actor(), &trail)?;
        changed = gate::change_access(&mut tx, &access).await?;
    }
    if let Some(name) = &patch.name {
        rename(&mut tx, name).await?;
    }
    let org = select(&mut tx).await?.or_not_found()?;
    record(&mut tx, &caller, &trail, [&before, &org]).await?;
    for org in &changed {
        tell(&mut tx, *org).await?;
    }
    tx.commit().await?;
    for org in changed {
        state.directory.forget(org);
    }
    Ok(Json(org))
}

/// Nobody asks of others what they do not have themselves: there would be no way back.
fn not_locked_out(access: &Access, actor: &Actor, trail: &Trail) -> Result<()> {
    let ip = trail.ip.ok_or_else(|| Error::Internal(anyhow!("a request from nowhere")))?;
    let flaw = |demand| {
        let (pointer, detail) = match demand {
            Demand::KnownAddress => ("/allowed_ips", format!("your own address, {ip}, is not among them")),
            Demand::SecondFactor => {
                ("/require_mfa", "you have not signed in with a second factor".to_owned())
            }
            Demand::VerifiedEmail => {
                ("/require_verified_email", "your own e-mail address is not confirmed".to_owned())
            }
        };
        Flaw::new(pointer, "would_lock_you_out", detail)
    };
    let flaws: Vec<Flaw> = access::unmet(access, actor, ip).into_iter().map(flaw).collect();
    if flaws.is_empty() { Ok(()) } else { Err(Error::Invalid(flaws)) }
}

async fn record(tx: &mut TenantTx, caller: &Caller, trail: &Trail, orgs: [&OwnOrg; 2]) -> Result<()> {
    let [before, after] = orgs.map(|OwnOrg { org, access }| {
        json!({
            "name": org.name,
            "require_mfa": access.require_mfa,
            "require_verified_email": access.require_verified_email,
            "allowed_ips": access.allowed_ips,
        })
    });
    if before == after {
        return Ok(());
    }
    let entry = Entry::new("org.updated", "org", tx.org().uuid().to_string()).before(before).after(after);
    events::record(tx, caller.actor(), trail, entry).await
}

/// Changes of one org take turns.
async fn lock(tx: &mut TenantTx) -> Result<()> {
    sqlx::query!("select from orgs where id = $1 for no key update", tx.org().uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn select(tx: &mut TenantTx) -> Result<Option<OwnOrg>> {
    let row = sqlx::query!(
        r#"select o.id as "id: OrgId", o.slug, o.name, c.tier, c.status as "status: Status", o.created_at,
                  c.require_mfa, c.require_verified_email, c.allowed_ips::text[] as "allowed_ips!: Vec<String>"
           from orgs o join org_control c on c.org_id = o.id
           where o.id = $1"#,
        tx.org().uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| OwnOrg {
        org: Org {
            id: row.id,
            slug: row.slug,
            name: row.name,
            tier: row.tier,
            status: row.status,
            created_at: row.created_at,
        },
        access: Access {
            require_mfa: row.require_mfa,
            require_verified_email: row.require_verified_email,
            allowed_ips: row.allowed_ips.into(),
        },
    }))
}

async fn rename(tx: &mut TenantTx, name: &str) -> Result<()> {
    sqlx::query!("update orgs set name = $2 where id = $1", tx.org().uuid(), name).execute(&mut **tx).await?;
    Ok(())
}

/// Every replica forgets what it remembers of the org. Last in a transaction: the bus is locked until it ends.
async fn tell(tx: &mut TenantTx, org: OrgId) -> Result<()> {
    sqlx::query!("select control_change('org', $1, null)", org.uuid()).execute(&mut **tx).await?;
    Ok(())
}
