//! Signing up, signing in, and staying signed in.

use crate::{
    account::{Org, User},
    authn::refresh_token::{self, RefreshToken},
    caller::refused,
    error::{Error, Result},
    extract::{Action, Json, SignedIn},
    ids::{OrgId, SessionId, UserId},
    middleware::{PublicRoutes, TenantRoutes},
    state::AppState,
    tenancy::gate::{self, Membership, NewToken, Person, Refreshed, Registration},
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::Duration;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn public_routes() -> PublicRoutes {
    PublicRoutes::default().open(routes!(register)).open(routes!(login)).open(routes!(refresh))
}

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_members().allow_members(routes!(switch_org)).allow_members(routes!(logout))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    #[garde(email, length(max = 254))]
    #[schema(example = "ada@example.com", format = Email, max_length = 254)]
    pub email: String,
    #[garde(custom(long_enough))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", min_length = 12, max_length = 256)]
    pub password: SecretString,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 200)]
    pub name: String,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Acme", min_length = 1, max_length = 200)]
    pub org_name: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct Login {
    #[garde(length(max = 254))]
    #[schema(example = "ada@example.com", max_length = 254)]
    pub email: String,
    #[garde(custom(not_endless))]
    #[schema(value_type = String, format = Password, example = "correct horse battery", max_length = 256)]
    pub password: SecretString,
    /// The id or slug of the organisation to sign in to; the first one joined where absent.
    #[garde(length(max = 64))]
    #[schema(example = "acme", max_length = 64)]
    pub org: Option<String>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    #[garde(length(max = 200))]
    #[schema(max_length = 200)]
    pub refresh_token: String,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The id or slug of an organisation you are a member of.
    #[garde(length(max = 64))]
    #[schema(example = "acme", max_length = 64)]
    pub org: String,
}

/// What it takes to call the API for a while, and to go on after it.
#[derive(Serialize, ToSchema)]
pub struct Session {
    /// Send it as `Authorization: Bearer`.
    #[schema(max_length = 4_096)]
    pub access_token: String,
    #[schema(example = "Bearer", max_length = 6)]
    pub token_type: &'static str,
    /// Seconds.
    #[schema(example = 900)]
    pub expires_in: i64,
    /// Good for one refresh.
    #[schema(max_length = 200)]
    pub refresh_token: String,
    pub user: User,
    /// The organisation that the access token speaks for.
    pub org: Org,
    /// Every organisation the user may switch to.
    #[schema(max_items = 1_000)]
    pub orgs: Vec<Org>,
}

/// Sign up
///
/// Makes a user, their organisation on the sign-up tier, and its sandbox.
#[utoipa::path(post, path = "/auth/register", tag = "auth", request_body = NewAccount,
    responses((status = 201, description = "Signed up, and signed in.", body = Session),
              (status = 409, description = "The e-mail address is registered.")))]
async fn register(State(state): State<AppState>, Json(new): Json<NewAccount>) -> Result<Response> {
    let email = new.email.trim().to_lowercase();
    let password_hash = state.hasher.hash(new.password).await?;
    let user = UserId::new();
    let wanted = slug(&new.org_name);
    let mut slug = wanted.clone();
    loop {
        let registration = Registration {
            user,
            email: &email,
            name: &new.name,
            password_hash: &password_hash,
            org: OrgId::new(),
            sandbox: OrgId::new(),
            slug: &slug,
            org_name: &new.org_name,
        };
        match gate::register(&state.pools, &registration).await {
            Ok(()) => break,
            Err(Error::Conflict { code: "slug_taken", .. }) => {
                slug = format!("{wanted}-{:04x}", rand::random::<u16>());
            }
            Err(error) => return Err(error),
        }
    }
    let session = open_session(&state, Person { id: user, email, name: new.name }, None).await?;
    Ok((StatusCode::CREATED, Json(session)).into_response())
}

/// Sign in
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login,
    responses((status = 200, description = "Signed in.", body = Session),
              (status = 401, description = "The address or the password is wrong."),
              (status = 403, description = "The user is no member of that organisation.")))]
async fn login(State(state): State<AppState>, Json(login): Json<Login>) -> Result<Json<Session>> {
    let account = gate::user_by_email(&state.pools, login.email.trim()).await?;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let right = state.hasher.verify(login.password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        return Err(Error::Unauthenticated {
            code: "invalid_credentials",
            detail: "no account has this e-mail address and password",
        });
    };
    let person = Person { id: account.id, email: account.email, name: account.name };
    open_session(&state, person, login.org.as_deref()).await.map(Json)
}

/// Stay signed in
///
/// Trades a refresh token for a new pair. Using an old one again ends the session: it may be stolen.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, description = "A new pair of tokens.", body = Session),
              (status = 401, description = "The token is unknown, used, expired or revoked.")))]
async fn refresh(
    State(state): State<AppState>,
    Json(Refresh { refresh_token }): Json<Refresh>,
) -> Result<Json<Session>> {
    let token = RefreshToken::new();
    let old = refresh_token::hash(&refresh_token);
    let (session, user, org) = match gate::refresh(&state.pools, &old, &new_token(&state, &token)).await? {
        Refreshed::Rotated { session, user, org } => (session, user, org),
        Refreshed::Reused { session } => {
            tracing::warn!(%session, "a used refresh token came back; the session was ended");
            state.revoked.add(session);
            return Err(signed_out());
        }
        Refreshed::Refused => return Err(signed_out()),
    };
    let person = gate::user(&state.pools, user).await?.ok_or_else(signed_out)?;
    let orgs = gate::orgs_of(&state.pools, user).await?;
    let org = orgs.iter().find(|known| known.id == org).cloned().ok_or_else(no_member)?;
    answer(&state, session, person, org, orgs, token).map(Json)
}

/// Work in another organisation
#[utoipa::path(post, path = "/auth/switch", tag = "auth", request_body = Switch,
    responses((status = 200, description = "Tokens that speak for the other organisation.", body = Session)))]
async fn switch_org(
    State(state): State<AppState>,
    SignedIn { user, session }: SignedIn,
    Json(Switch { org }): Json<Switch>,
) -> Result<Json<Session>> {
    let orgs = gate::orgs_of(&state.pools, user).await?;
    let org = choose(&orgs, Some(&org))?;
    let token = RefreshToken::new();
    if !gate::switch(&state.pools, session, org.id, &new_token(&state, &token)).await? {
        return Err(signed_out());
    }
    let person = gate::user(&state.pools, user).await?.ok_or_else(signed_out)?;
    answer(&state, session, person, org, orgs, token).map(Json)
}

/// Sign out
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 204, description = "The session has ended, on every replica within a second.")))]
async fn logout(
    State(state): State<AppState>,
    SignedIn { session, .. }: SignedIn,
    _: Action,
) -> Result<StatusCode> {
    gate::end_session(&state.pools, session, state.clock.now(), "logout").await?;
    state.revoked.add(session);
    Ok(StatusCode::NO_CONTENT)
}

async fn open_session(state: &AppState, person: Person, org: Option<&str>) -> Result<Session> {
    let orgs = gate::orgs_of(&state.pools, person.id).await?;
    let org = choose(&orgs, org)?;
    let (session, token) = (SessionId::new(), RefreshToken::new());
    let ends = state.clock.now() + Duration::days(state.config.auth.session_days.into());
    gate::open_session(&state.pools, session, person.id, org.id, ends, &new_token(state, &token)).await?;
    answer(state, session, person, org, orgs, token)
}

fn answer(
    state: &AppState,
    session: SessionId,
    person: Person,
    org: Membership,
    orgs: Vec<Membership>,
    token: RefreshToken,
) -> Result<Session> {
    Ok(Session {
        access_token: state.tokens.issue(person.id, org.id, session)?,
        token_type: "Bearer",
        expires_in: state.tokens.lifetime(),
        refresh_token: token.text,
        user: person.into(),
        org: org.into(),
        orgs: orgs.into_iter().map(Into::into).collect(),
    })
}

/// The org asked for by id or slug, or the first; only of those the person is an active member of.
fn choose(orgs: &[Membership], wanted: Option<&str>) -> Result<Membership> {
    let mut active = orgs.iter().filter(|org| org.member_status == "active");
    let found = match wanted {
        Some(wanted) => active.find(|org| org.slug == wanted || wanted.parse() == Ok(org.id)),
        None => active.next(),
    };
    found.cloned().ok_or_else(no_member)
}

fn new_token<'a>(state: &AppState, token: &'a RefreshToken) -> NewToken<'a> {
    let at = state.clock.now();
    NewToken {
        hash: &token.hash,
        at,
        expires_at: at + Duration::days(state.config.auth.refresh_idle_days.into()),
    }
}

fn signed_out() -> Error {
    Error::Unauthenticated {
        code: "invalid_refresh_token",
        detail: "this refresh token is no good (any more): sign in again",
    }
}

fn no_member() -> Error {
    refused("not_a_member", "you are no active member of that organisation")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that garde calls")]
fn long_enough(password: &SecretString, (): &()) -> garde::Result {
    match password.expose_secret().chars().count() {
        12..=256 => Ok(()),
        _ => Err(garde::Error::new("a password is 12 to 256 characters long")),
    }
}

/// Hashing costs by the byte as well.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that garde calls")]
fn not_endless(password: &SecretString, (): &()) -> garde::Result {
    match password.expose_secret().len() {
        0..=1_024 => Ok(()),
        _ => Err(garde::Error::new("no password is that long")),
    }
}

const LONGEST_SLUG: usize = 40;

/// `Acme & Söhne GmbH` becomes `acme-s-hne-gmbh`.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(LONGEST_SLUG);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "org".to_owned() } else { slug.to_owned() }
}
