//! A session as the client gets it, and how one is opened.

use crate::{
    account::{Org, User},
    authn::{jwt::Bearer, opaque::OpaqueToken},
    caller::refused,
    error::{Error, Result},
    ids::SessionId,
    state::AppState,
    tenancy::{
        Status,
        gate::{self, Membership, NewSession, NewToken, Person, Proof},
    },
    trail::Trail,
};
use serde::Serialize;
use time::Duration;
use utoipa::ToSchema;

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

/// Opens a session for somebody who has just proven who they are.
pub async fn open_session(
    state: &AppState,
    person: Person,
    mfa: bool,
    org: Option<&str>,
    trail: &Trail,
) -> Result<Session> {
    let orgs = gate::orgs_of(&state.pools, person.id).await?;
    let org = choose(&orgs, org)?;
    let token = OpaqueToken::new("refresh");
    let ends = trail.at + Duration::days(state.config.auth.session_days.into());
    let session = NewSession { id: SessionId::new(), user: person.id, org: org.id, mfa, ends };
    gate::open_session(&state.pools, &session, &new_token(state, &token, trail), trail).await?;
    let proof = Proof { at: trail.at, mfa };
    Answer { session: session.id, person, proof, org, orgs, token }.session(state).await
}

/// What a session's answer is made of.
pub struct Answer {
    pub session: SessionId,
    pub person: Person,
    pub proof: Proof,
    pub org: Membership,
    pub orgs: Vec<Membership>,
    pub token: OpaqueToken,
}

impl Answer {
    pub async fn session(self, state: &AppState) -> Result<Session> {
        let Self { session, person, proof, org, orgs, token } = self;
        let bearer = Bearer {
            user: person.id,
            org: org.id,
            session,
            signed_in_at: proof.at.unix_timestamp(),
            mfa: proof.mfa,
            email_verified: gate::email_verified(&state.pools, person.id).await?,
        };
        Ok(Session {
            access_token: state.tokens.issue(&bearer)?,
            token_type: "Bearer",
            expires_in: state.tokens.lifetime(),
            refresh_token: token.text,
            user: person.into(),
            org: org.into(),
            orgs: orgs.into_iter().map(Into::into).collect(),
        })
    }
}

/// The org asked for by id or slug, or the first that is not suspended; only of those the person is an active member of.
pub fn choose(orgs: &[Membership], wanted: Option<&str>) -> Result<Membership> {
    let mut active = orgs.iter().filter(|org| org.member_status == "active");
    let found = match wanted {
        Some(wanted) => active.find(|org| org.slug == wanted || wanted.parse() == Ok(org.id)),
        None => active.clone().find(|org| org.status == Status::Active).or_else(|| active.next()),
    };
    found.cloned().ok_or_else(|| match wanted {
        Some(_) => no_member(),
        None => refused("not_a_member", "you are an active member of no organisation: ask for an invitation"),
    })
}

pub fn new_token<'a>(state: &AppState, token: &'a OpaqueToken, trail: &Trail) -> NewToken<'a> {
    let idle = Duration::days(state.config.auth.refresh_idle_days.into());
    NewToken { hash: &token.hash, expires_at: trail.at + idle }
}

pub fn signed_out() -> Error {
    Error::Unauthenticated {
        code: "invalid_refresh_token",
        detail: "this refresh token is no good (any more): sign in again",
    }
}

pub fn no_member() -> Error {
    refused("not_a_member", "you are no active member of that organisation")
}
