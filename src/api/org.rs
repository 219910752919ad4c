//! The organisation itself.

mod delete;

use super::given;
use crate::{
    account::Org,
    authz::{
        Action::{Delete, Read, Update},
        Resource::Org as Organisation,
    },
    error::{OptionExt as _, Result},
    extract::{Json, TenantDb},
    middleware::TenantRoutes,
    tenancy::TenantTx,
};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Organisation)
        .allow(Read, routes!(get_org))
        .allow(Update, routes!(update_org))
        .allow(Delete, routes!(delete::delete_org))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgPatch {
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(example = "Acme Ltd", min_length = 1, max_length = 200)]
    pub name: Option<String>,
}

/// Fetch the organisation
#[utoipa::path(get, path = "/org", tag = "org",
    responses((status = 200, description = "The organisation you work in.", body = Org)))]
async fn get_org(db: TenantDb) -> Result<Json<Org>> {
    Ok(Json(select(&mut db.read().await?).await?.or_not_found()?))
}

/// Rename the organisation
#[utoipa::path(patch, path = "/org", tag = "org", request_body = OrgPatch,
    responses((status = 200, description = "The changed organisation.", body = Org)))]
async fn update_org(db: TenantDb, Json(patch): Json<OrgPatch>) -> Result<Json<Org>> {
    let mut tx = db.begin().await?;
    update(&mut tx, &patch).await?;
    let org = select(&mut tx).await?.or_not_found()?;
    tx.commit().await?;
    Ok(Json(org))
}

async fn select(tx: &mut TenantTx) -> Result<Option<Org>> {
    let org = sqlx::query_as!(
        Org,
        r#"select o.id as "id: _", o.slug, o.name, c.tier, c.status as "status: _", o.created_at
           from orgs o join org_control c on c.org_id = o.id
           where o.id = $1"#,
        tx.org().uuid()
    );
    Ok(org.fetch_optional(&mut **tx).await?)
}

async fn update(tx: &mut TenantTx, patch: &OrgPatch) -> Result<()> {
    sqlx::query!("update orgs set name = coalesce($2, name) where id = $1", tx.org().uuid(), patch.name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
