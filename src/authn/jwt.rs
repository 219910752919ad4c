//! Access tokens: short-lived EdDSA JWTs (RFC 8037), issued and verified as RFC 8725 advises.

use super::{
    Actor, Principal,
    key_set::{KeySet, Kid},
    keyring::Keyring,
};
use crate::{
    clock::Clock,
    error::{Error, Result},
    ids::{OrgId, SessionId, TokenId, UserId},
};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub const AUDIENCE: &str = "insula-api";
/// Ours are about 400 bytes; what is longer is not decoded.
const LONGEST: usize = 4096;
/// Verified tokens remembered, each by its digest; never beyond its expiry or its key's removal.
const REMEMBERED: u64 = 50_000;

/// No roles and no permissions: those are looked up, so that a change is live.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    org: OrgId,
    sid: SessionId,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// When the person last proved who they are (`OpenID` Connect Core, section 2).
    auth_time: i64,
    /// How (RFC 8176): `pwd`, and `otp` for a second factor.
    amr: Vec<String>,
    /// Of the person's address (`OpenID` Connect Core, section 5.1); one that is confirmed later is so from the next
    /// refresh on.
    #[serde(default)]
    email_verified: bool,
    jti: TokenId,
}

/// All that a header of ours says. One that names a key of its own, wherever that is to be found, or anything else
/// besides, is not ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    kid: String,
    #[serde(default)]
    #[expect(dead_code, reason = "may be there")]
    typ: Option<String>,
}

/// Of a token that nobody has verified yet.
#[derive(Deserialize)]
struct Claimed {
    exp: i64,
}

/// Whom a token speaks for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bearer {
    pub user: UserId,
    pub org: OrgId,
    pub session: SessionId,
    /// When the person last proved who they are, in seconds since 1970.
    pub signed_in_at: i64,
    /// With a second factor.
    pub mfa: bool,
    /// Their e-mail address is confirmed.
    pub email_verified: bool,
}

/// Issues and verifies access tokens.
pub struct Tokens {
    keyring: Keyring,
    issuer: String,
    lifetime: i64,
    validation: Validation,
    clock: Clock,
    verified: moka::sync::Cache<[u8; 32], Vouched>,
}

/// What a token of ours says: good for as long as it is, without being one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Vouched {
    bearer: Bearer,
    kid: Kid,
    starts: Option<i64>,
    expires: i64,
}

impl Vouched {
    pub fn session(&self) -> SessionId {
        self.bearer.session
    }
}

impl Tokens {
    /// `lifetime` is in seconds.
    pub fn new(keyring: Keyring, issuer: &str, lifetime: i64, clock: Clock) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By our clock, in `verify`.
        validation.validate_exp = false;
        let verified = moka::sync::Cache::new(REMEMBERED);
        Self { keyring, issuer: issuer.to_owned(), lifetime, validation, clock, verified }
    }

    /// Seconds that a fresh token lives.
    pub fn lifetime(&self) -> i64 {
        self.lifetime
    }

    pub fn issue(&self, bearer: &Bearer) -> Result<String> {
        let now = self.clock.now().unix_timestamp();
        let keys = self.keyring.keys();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(keys.current.clone());
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: bearer.user,
            org: bearer.org,
            sid: bearer.session,
            iat: now,
            exp: now + self.lifetime,
            nbf: None,
            auth_time: bearer.signed_in_at,
            amr: ["pwd", "otp"][..=usize::from(bearer.mfa)].iter().map(ToString::to_string).collect(),
            email_verified: bearer.email_verified,
            jti: TokenId::new(),
        };
        jsonwebtoken::encode(&header, &claims, &keys.signing).map_err(|error| Error::Internal(error.into()))
    }

    /// # Errors
    /// 401 `token_expired` or `invalid_token`; which check failed is nobody's business. 503 where the token may be
    /// signed with a new key, which can't be asked for.
    pub async fn verify(&self, token: &str) -> Result<(Principal, Vouched)> {
        if token.len() > LONGEST {
            return Err(invalid());
        }
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().map_err(|_| invalid())?;
        // A token outlives its key neither here nor anywhere else.
        let remembered = self.verified.get(&digest).filter(|known| self.keyring.keys().holds(known.kid));
        let known = if let Some(known) = remembered {
            known
        } else {
            let fresh = self.check(token).await?;
            self.verified.insert(digest, fresh);
            fresh
        };
        let principal = self.ask_again(&known).inspect_err(|_| self.verified.invalidate(&digest))?;
        Ok((principal, known))
    }

    /// Whom a token that was verified speaks for, if it still does.
    ///
    /// # Errors
    /// 401 as above, also where the key that it is signed with is not good any more.
    pub fn ask_again(&self, known: &Vouched) -> Result<Principal> {
        let now = self.clock.now().unix_timestamp();
        if !self.keyring.keys().holds(known.kid) || known.starts.is_some_and(|starts| now < starts) {
            return Err(invalid());
        }
        if now >= known.expires {
            return Err(expired());
        }
        let Bearer { user, org, session, signed_in_at, mfa, email_verified } = known.bearer;
        Ok(Principal { org, actor: Actor::User { user, session, signed_in_at, mfa, email_verified } })
    }

    async fn check(&self, token: &str) -> Result<Vouched> {
        let mut parts = token.split('.');
        let head: Head = parts.next().and_then(part).ok_or_else(invalid)?;
        let kid = Kid::parse(&head.kid).filter(|_| head.alg == "EdDSA").ok_or_else(invalid)?;
        let known = self.keyring.keys();
        if known.holds(kid) {
            return self.check_with(&known, kid, token);
        }
        // Before anybody is asked about its key: what claims to have expired is no good, whoever signed it.
        let claimed: Claimed = parts.next().and_then(part).ok_or_else(invalid)?;
        if self.clock.now().unix_timestamp() >= claimed.exp {
            return Err(expired());
        }
        let keys = self.keyring.keys_with(kid).await?.ok_or_else(invalid)?;
        self.check_with(&keys, kid, token)
    }

    fn check_with(&self, keys: &KeySet, kid: Kid, token: &str) -> Result<Vouched> {
        let key = keys.verifying(kid).ok_or_else(invalid)?;
        let claims =
            jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|_| invalid())?.claims;
        let bearer = Bearer {
            user: claims.sub,
            org: claims.org,
            session: claims.sid,
            signed_in_at: claims.auth_time,
            mfa: claims.amr.iter().any(|method| method == "otp"),
            email_verified: claims.email_verified,
        };
        Ok(Vouched { bearer, kid, starts: claims.nbf, expires: claims.exp })
    }
}

/// One of the parts between a token's dots, as it claims to be.
fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn invalid() -> Error {
    Error::Unauthenticated {
        code: "invalid_token",
        detail: "this is no access token of this platform: sign in again",
    }
}

fn expired() -> Error {
    Error::Unauthenticated {
        code: "token_expired",
        detail: "the access token has expired: trade the refresh token at POST /api/v1/auth/refresh",
    }
}
