//! API keys: how programs of an organisation come in.

use crate::{
    authn::{
        Actor,
        api_key::{KeyMode, NewKey},
    },
    authz::{
        Action::{Create, Delete, Read},
        Permission,
        Resource::ApiKeys,
    },
    caller::{Caller, refused},
    error::{Error, Flaw, OptionExt as _, Result},
    extract::{Json, List, ListParams, Listed, Path, SignedIn, TenantDb},
    ids::{ApiKeyId, UserId},
    middleware::TenantRoutes,
    page::{Listing, Page, Sort},
    state::AppState,
    tenancy::TenantTx,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(ApiKeys)
        .allow(Read, routes!(list_api_keys))
        .allow(Create, routes!(create_api_key))
        .allow(Read, routes!(get_api_key))
        .allow(Delete, routes!(revoke_api_key))
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct ApiKey {
    pub id: ApiKeyId,
    #[schema(example = "shop frontend", max_length = 100)]
    pub name: String,
    #[schema(value_type = KeyMode)]
    pub mode: String,
    /// The first letters of the key, to recognise it by.
    #[schema(example = "insula_live_k7qm", max_length = 20)]
    pub prefix: String,
    #[schema(example = json!(["products:read"]), max_items = 100)]
    pub scopes: Vec<String>,
    pub created_by: UserId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    #[garde(length(chars, min = 1, max = 100))]
    #[schema(example = "shop frontend", min_length = 1, max_length = 100)]
    pub name: String,
    /// `test` leads to the organisation's sandbox.
    #[garde(skip)]
    #[serde(default)]
    pub mode: KeyMode,
    /// What the key may do: none but what you may do yourself.
    #[garde(length(min = 1, max = 100))]
    #[schema(example = json!(["products:read"]), min_items = 1, max_items = 100)]
    pub scopes: Vec<String>,
    /// 90 days from now where absent.
    #[garde(skip)]
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

#[derive(Serialize, ToSchema)]
pub struct CreatedApiKey {
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// Shown here and never again.
    #[schema(example = "insula_live_k7qmexamplekeyexamplekeyexample", max_length = 60)]
    pub key: String,
}

impl Listed for ApiKey {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, name, mode, prefix, scopes, created_by, created_at, expires_at, revoked_at",
        from: "api_keys where org_id = $1",
        sorts: &[Sort { name: "created_at", column: "created_at", cast: "timestamptz" }],
        filters: &[],
    };
}

const DEFAULT_LIFE: Duration = Duration::days(90);

/// List API keys
#[utoipa::path(get, path = "/api-keys", tag = "api keys", params(ListParams<ApiKey>),
    responses((status = 200, description = "A page of keys, the secrets left out.", body = Page<ApiKey>)))]
async fn list_api_keys(db: TenantDb, list: List<ApiKey>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Create an API key
#[utoipa::path(post, path = "/api-keys", tag = "api keys", request_body = NewApiKey,
    responses((status = 201, description = "The key, this once.", body = CreatedApiKey)))]
async fn create_api_key(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    SignedIn { user, .. }: SignedIn,
    Json(new): Json<NewApiKey>,
) -> Result<Response> {
    let now = state.clock.now();
    let expires_at = new.expires_at.unwrap_or(now + DEFAULT_LIFE);
    check(&caller, &new.scopes, expires_at, now)?;
    let key = NewKey::new(new.mode);
    let mut tx = db.begin().await?;
    let api_key = insert(&mut tx, &new, user, expires_at, &key).await?;
    tx.commit().await?;
    let location = [(header::LOCATION, format!("/api/v1/api-keys/{}", api_key.id))];
    Ok((StatusCode::CREATED, location, Json(CreatedApiKey { api_key, key: key.text })).into_response())
}

/// Fetch one API key
#[utoipa::path(get, path = "/api-keys/{id}", tag = "api keys", params(("id" = ApiKeyId, Path)),
    responses((status = 200, description = "The key, its secret left out.", body = ApiKey)))]
async fn get_api_key(db: TenantDb, Path(id): Path<ApiKeyId>) -> Result<Json<ApiKey>> {
    Ok(Json(select(&mut db.read().await?, id).await?.or_not_found()?))
}

/// Revoke an API key
///
/// On every replica within a second.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "api keys", params(("id" = ApiKeyId, Path)),
    responses((status = 204, description = "It is revoked.")))]
async fn revoke_api_key(
    State(state): State<AppState>,
    db: TenantDb,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    revoke(&mut tx, id, state.clock.now()).await?.or_not_found()?;
    tx.commit().await?;
    state.api_keys.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Nobody passes on what they do not hold.
fn check(caller: &Caller, scopes: &[String], expires_at: OffsetDateTime, now: OffsetDateTime) -> Result<()> {
    if matches!(caller.actor(), Actor::ApiKey { .. }) {
        return Err(refused("user_required", "an API key can't make keys: sign in as a person"));
    }
    let mut flaws: Vec<Flaw> = scopes
        .iter()
        .enumerate()
        .filter_map(|(at, scope)| {
            let detail = match scope.parse::<Permission>() {
                Err(()) => "there is no such permission",
                Ok(permission) if !caller.may(permission) => "you do not hold this permission yourself",
                Ok(_) => return None,
            };
            Some(Flaw::new(format!("/scopes/{at}"), "invalid", detail))
        })
        .collect();
    if expires_at <= now {
        flaws.push(Flaw::new("/expires_at", "invalid", "is in the past"));
    }
    if flaws.is_empty() { Ok(()) } else { Err(Error::Invalid(flaws)) }
}

async fn insert(
    tx: &mut TenantTx,
    new: &NewApiKey,
    creator: UserId,
    expires_at: OffsetDateTime,
    key: &NewKey,
) -> Result<ApiKey> {
    let api_key = sqlx::query_as!(
        ApiKey,
        r#"insert into api_keys (org_id, id, name, mode, prefix, scopes, created_by, expires_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
           returning id as "id: _", name, mode, prefix, scopes, created_by as "created_by: _", created_at,
                     expires_at, revoked_at"#,
        tx.org().uuid(),
        ApiKeyId::new().uuid(),
        new.name,
        new.mode.as_str(),
        key.prefix,
        &new.scopes,
        creator.uuid(),
        expires_at
    )
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query!("select gate_add_api_key_secret($1, $2)", api_key.id.uuid(), key.hash)
        .execute(&mut **tx)
        .await?;
    Ok(api_key)
}

async fn select(tx: &mut TenantTx, id: ApiKeyId) -> Result<Option<ApiKey>> {
    let api_key = sqlx::query_as!(
        ApiKey,
        r#"select id as "id: _", name, mode, prefix, scopes, created_by as "created_by: _", created_at,
                  expires_at, revoked_at
           from api_keys where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(api_key.fetch_optional(&mut **tx).await?)
}

async fn revoke(tx: &mut TenantTx, id: ApiKeyId, at: OffsetDateTime) -> Result<Option<()>> {
    let revoked = sqlx::query!(
        "update api_keys set revoked_at = coalesce(revoked_at, $3) where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid(),
        at
    )
    .execute(&mut **tx)
    .await?;
    if revoked.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!("select control_change('api_key', $1, $2)", tx.org().uuid(), id.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(Some(()))
}
