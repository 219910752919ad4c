//! API keys: how programs of an organisation come in.

mod store;

use super::given;
use crate::{
    authn::api_key::{KeyMode, NewKey},
    authz::{
        Action::{Create, Delete, Read, Update},
        Permission,
        Resource::ApiKeys,
    },
    caller::Caller,
    error::{Error, Flaw, OptionExt as _, Result},
    events::{self, Entry},
    extract::{FreshlySignedIn, Json, List, ListParams, Listed, Path, SignedIn, TenantDb},
    idempotency::{Done, IdempotencyKey, once_shown},
    ids::{ApiKeyId, UserId},
    middleware::TenantRoutes,
    networks::{Networks, network},
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{extract::State, http::StatusCode, response::Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(ApiKeys)
        .allow(Read, routes!(list_api_keys))
        .allow(Create, routes!(create_api_key))
        .allow(Read, routes!(get_api_key))
        .allow(Update, routes!(update_api_key))
        .allow(Delete, routes!(revoke_api_key))
        .allow(Create, routes!(rotate_api_key))
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct ApiKey {
    pub id: ApiKeyId,
    #[schema(example = "shop frontend", max_length = 100)]
    pub name: String,
    pub mode: KeyMode,
    /// The first letters of the key, to recognise it by.
    #[schema(example = "insula_live_k7qm", max_length = 20)]
    pub prefix: String,
    #[schema(example = json!(["products:read"]), max_items = 100)]
    pub scopes: Vec<String>,
    /// The networks that it may be used from; any where empty.
    #[sqlx(try_from = "Vec<String>")]
    #[schema(value_type = Vec<String>, example = json!(["203.0.113.0/24"]), max_items = 100)]
    pub allowed_ips: Networks,
    pub created_by: UserId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// The key whose place this one took.
    pub rotated_from: Option<ApiKeyId>,
    /// The key that takes the place of this one, which works until `expires_at`.
    pub rotated_to: Option<ApiKeyId>,
    /// Some seconds behind.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// Where from.
    #[schema(example = "203.0.113.9", max_length = 39)]
    pub last_used_ip: Option<String>,
}

#[derive(Deserialize, Serialize, Validate, ToSchema)]
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
    /// The networks that it may be used from, as CIDR or single addresses; any where empty.
    #[garde(length(max = 100), inner(custom(network)))]
    #[serde(default)]
    #[schema(example = json!(["203.0.113.0/24", "2001:db8::7"]), max_items = 100)]
    pub allowed_ips: Vec<String>,
    /// 90 days from now where absent.
    #[garde(skip)]
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyPatch {
    #[garde(inner(length(chars, min = 1, max = 100)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "shop frontend", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The networks that it may be used from, as CIDR or single addresses; any where empty.
    #[garde(inner(length(max = 100), inner(custom(network))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["203.0.113.0/24", "2001:db8::7"]), max_items = 100)]
    pub allowed_ips: Option<Vec<String>>,
}

#[derive(Deserialize, Serialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how long both keys work; a week at most.
    #[garde(range(max = 604_800))]
    #[serde(default = "a_day")]
    #[schema(example = 86_400, default = 86_400, maximum = 604_800)]
    pub overlap_seconds: u32,
    /// Of the new key: 90 days from now where absent.
    #[garde(skip)]
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

const fn a_day() -> u32 {
    86_400
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
        columns: "id, name, mode, prefix, scopes, allowed_ips::text[] as allowed_ips, created_by, created_at, \
                  expires_at, revoked_at, rotated_from, rotated_to, last_used_at, host(last_used_ip) as last_used_ip",
        from: "api_keys where org_id = $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "name", column: r#"name collate "C""#, cast: "text" },
            Sort { name: "expires_at", column: "expires_at", cast: "timestamptz" },
        ],
        filters: &[
            Filter {
                name: "mode",
                predicate: "mode =",
                kind: Kind::OneOf(&["live", "test"]),
                about: "Of this mode.",
            },
            Filter {
                name: "expires_after",
                predicate: "expires_at >=",
                kind: Kind::Time,
                about: "That expire then or later.",
            },
            Filter {
                name: "expires_before",
                predicate: "expires_at <",
                kind: Kind::Time,
                about: "That expire before then.",
            },
        ],
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
///
/// Asks for a sign-in at most five minutes old. An organisation has at most 1,000 keys that work.
#[utoipa::path(post, path = "/api-keys", tag = "api keys", request_body = NewApiKey,
    params(IdempotencyKey),
    responses((status = 201, description = "The key, this once.", body = CreatedApiKey),
              (status = 409, description = "There are too many keys, or a request with the same Idempotency-Key has made \
                                            one: the answer names it (`too_many_api_keys`, `already_created`).")))]
async fn create_api_key(
    db: TenantDb,
    caller: Caller,
    FreshlySignedIn(person): FreshlySignedIn,
    trail: Trail,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewApiKey>,
) -> Result<Response> {
    let expires_at = new.expires_at.unwrap_or(trail.at + DEFAULT_LIFE);
    let mut flaws = not_held(&caller, &new.scopes);
    flaws.extend(in_the_past(expires_at, &trail));
    no_flaws(flaws)?;
    let tx = db.begin().await?;
    once_shown(tx, &caller, key, ("create_api_key", &new), async |tx| {
        store::make_room(tx, trail.at).await?;
        let draft = Draft {
            name: &new.name,
            mode: new.mode,
            scopes: &new.scopes,
            allowed_ips: &new.allowed_ips.clone().into(),
            created_by: person.user,
            created_at: trail.at,
            expires_at,
            rotated_from: None,
        };
        Ok(create(tx, &caller, &trail, &draft).await?.done())
    })
    .await
}

/// Fetch one API key
#[utoipa::path(get, path = "/api-keys/{id}", tag = "api keys", params(("id" = ApiKeyId, Path)),
    responses((status = 200, description = "The key, its secret left out.", body = ApiKey)))]
async fn get_api_key(db: TenantDb, Path(id): Path<ApiKeyId>) -> Result<Json<ApiKey>> {
    Ok(Json(store::select(&mut db.read().await?, id).await?.or_not_found()?))
}

/// Rename an API key, or change where it may be used from
///
/// On every replica within a second.
#[utoipa::path(patch, path = "/api-keys/{id}", tag = "api keys", params(("id" = ApiKeyId, Path)),
    request_body = ApiKeyPatch,
    responses((status = 200, description = "The changed key, its secret left out.", body = ApiKey)))]
async fn update_api_key(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    _: SignedIn,
    trail: Trail,
    Path(id): Path<ApiKeyId>,
    Json(patch): Json<ApiKeyPatch>,
) -> Result<Json<ApiKey>> {
    let mut tx = db.begin().await?;
    let before = store::lock(&mut tx, id).await?.or_not_found()?;
    let name = patch.name.as_ref().unwrap_or(&before.name);
    let allowed_ips = patch.allowed_ips.map_or_else(|| before.allowed_ips.clone(), Networks::from);
    let after = store::update(&mut tx, id, name, &allowed_ips).await?;
    let [was, is] = [&before, &after].map(|key| json!({"name": key.name, "allowed_ips": key.allowed_ips}));
    if was != is {
        let entry = Entry::new("api_key.updated", "api_key", id.uuid().to_string()).before(was).after(is);
        events::record(&mut tx, caller.actor(), &trail, entry).await?;
        store::tell(&mut tx, id).await?;
    }
    tx.commit().await?;
    state.api_keys.forget(id);
    Ok(Json(after))
}

/// Revoke an API key
///
/// On every replica within a second.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "api keys", params(("id" = ApiKeyId, Path)),
    responses((status = 204, description = "It is revoked.")))]
async fn revoke_api_key(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let key = store::lock(&mut tx, id).await?.or_not_found()?;
    if key.revoked_at.is_none() {
        store::revoke(&mut tx, id, trail.at).await?;
        let entry = Entry::new("api_key.revoked", "api_key", id.uuid().to_string())
            .before(json!({"name": key.name, "prefix": key.prefix, "scopes": key.scopes}));
        events::record(&mut tx, caller.actor(), &trail, entry).await?;
        store::tell(&mut tx, id).await?;
    }
    tx.commit().await?;
    state.api_keys.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Rotate an API key
///
/// Makes a key like it that takes its place. Both work during the overlap; then the old one is no good any more, on
/// every replica within a second. One that has expired is renewed. Asks for a sign-in at most five minutes old.
#[utoipa::path(post, path = "/api-keys/{id}/rotate", tag = "api keys", request_body = Rotation,
    params(("id" = ApiKeyId, Path), IdempotencyKey),
    responses((status = 201, description = "The new key, this once.", body = CreatedApiKey),
              (status = 409, description = "It is revoked or was rotated before, there are too many keys, or a request \
                                            with the same Idempotency-Key has made one: the answer names it \
                                            (`key_revoked`, `key_rotated`, `too_many_api_keys`, `already_created`).")))]
async fn rotate_api_key(
    State(state): State<AppState>,
    db: TenantDb,
    by: (Caller, FreshlySignedIn),
    trail: Trail,
    Path(id): Path<ApiKeyId>,
    key: Option<IdempotencyKey>,
    Json(rotation): Json<Rotation>,
) -> Result<Response> {
    let (caller, FreshlySignedIn(person)) = by;
    let expires_at = rotation.expires_at.unwrap_or(trail.at + DEFAULT_LIFE);
    no_flaws(in_the_past(expires_at, &trail).into_iter().collect())?;
    let tx = db.begin().await?;
    let answer = once_shown(tx, &caller, key, ("rotate_api_key", &(id, &rotation)), async |tx| {
        let old = store::lock(tx, id).await?.or_not_found()?;
        may_rotate(&caller, &old)?;
        let overlap = Duration::seconds(rotation.overlap_seconds.into());
        let draft = Draft {
            name: &old.name,
            mode: old.mode,
            scopes: &old.scopes,
            allowed_ips: &old.allowed_ips,
            created_by: person.user,
            created_at: trail.at,
            expires_at,
            rotated_from: Some(id),
        };
        let ends_at = old.expires_at.min(trail.at + overlap);
        store::end(tx, id, ends_at).await?;
        store::make_room(tx, trail.at).await?;
        let created = create(tx, &caller, &trail, &draft).await?;
        store::succeed(tx, id, created.api_key.id).await?;
        let entry = Entry::new("api_key.rotated", "api_key", id.uuid().to_string())
            .before(json!({"expires_at": told(old.expires_at)}))
            .after(json!({"expires_at": told(ends_at), "rotated_to": created.api_key.id}));
        events::record(tx, caller.actor(), &trail, entry).await?;
        store::tell(tx, id).await?;
        Ok(created.done())
    })
    .await?;
    state.api_keys.forget(id);
    Ok(answer)
}

/// A key to be made.
struct Draft<'a> {
    name: &'a str,
    mode: KeyMode,
    scopes: &'a [String],
    allowed_ips: &'a Networks,
    created_by: UserId,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    rotated_from: Option<ApiKeyId>,
}

impl CreatedApiKey {
    /// With its id, for whoever asks again.
    fn done(self) -> (String, Done<Self, 0>) {
        let id = self.api_key.id.to_string();
        let location = Some(format!("/api/v1/api-keys/{id}"));
        (id, Done { status: StatusCode::CREATED, location, tag: [], body: self })
    }
}

async fn create(
    tx: &mut TenantTx,
    caller: &Caller,
    trail: &Trail,
    draft: &Draft<'_>,
) -> Result<CreatedApiKey> {
    let key = NewKey::new(draft.mode);
    let api_key = store::insert(tx, draft, &key).await?;
    let entry = Entry::new("api_key.created", "api_key", api_key.id.uuid().to_string()).after(json!({
        "name": api_key.name,
        "mode": api_key.mode,
        "prefix": api_key.prefix,
        "scopes": api_key.scopes,
        "allowed_ips": api_key.allowed_ips,
        "expires_at": told(api_key.expires_at),
        "rotated_from": api_key.rotated_from,
    }));
    events::record(tx, caller.actor(), trail, entry).await?;
    Ok(CreatedApiKey { api_key, key: key.text })
}

/// Nobody passes on what they do not hold.
fn not_held(caller: &Caller, scopes: &[String]) -> Vec<Flaw> {
    let flaw = |(at, scope): (usize, &String)| {
        let detail = match scope.parse::<Permission>() {
            Err(()) => "there is no such permission",
            Ok(permission) if !caller.may(permission) => "you do not hold this permission yourself",
            Ok(_) => return None,
        };
        Some(Flaw::new(format!("/scopes/{at}"), "invalid", detail))
    };
    scopes.iter().enumerate().filter_map(flaw).collect()
}

fn in_the_past(expires_at: OffsetDateTime, trail: &Trail) -> Option<Flaw> {
    (expires_at <= trail.at).then(|| Flaw::new("/expires_at", "invalid", "is in the past"))
}

fn no_flaws(flaws: Vec<Flaw>) -> Result<()> {
    if flaws.is_empty() { Ok(()) } else { Err(Error::Invalid(flaws)) }
}

fn may_rotate(caller: &Caller, old: &ApiKey) -> Result<()> {
    if old.revoked_at.is_some() {
        return Err(Error::conflict("key_revoked", "this key is revoked: make another"));
    }
    if let Some(next) = old.rotated_to {
        return Err(Error::conflict(
            "key_rotated",
            format!("this key was rotated to {next}: rotate that one"),
        ));
    }
    let not_held = not_held(caller, &old.scopes);
    no_flaws(
        not_held
            .iter()
            .map(|flaw| {
                // The body has no scopes: they are the old key's.
                let at = flaw.pointer.rsplit('/').next().and_then(|at| at.parse().ok()).unwrap_or(0_usize);
                let scope = old.scopes.get(at).map_or("", String::as_str);
                Flaw::new("", "scope_not_held", format!("it may do {scope}: {}", flaw.detail))
            })
            .collect(),
    )
}

fn told(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}
