//! Access tokens: short-lived EdDSA JWTs (RFC 8037), the key set that proves them, and their verification.

use super::{Actor, Principal};
use crate::{
    clock::Clock,
    error::{Error, Result},
    ids::{OrgId, SessionId, TokenId, UserId},
};
use anyhow::anyhow;
use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const AUDIENCE: &str = "insula-api";
/// Ours are about 400 bytes; what is longer is not decoded.
const LONGEST: usize = 4096;
/// Verified tokens remembered, each by its digest and never beyond its expiry.
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

/// Whom a token speaks for.
#[derive(Clone, Copy, Debug)]
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
    issuer: String,
    lifetime: i64,
    kid: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    jwks: Value,
    clock: Clock,
    verified: moka::sync::Cache<[u8; 32], Verified>,
}

#[derive(Clone)]
struct Verified {
    bearer: Bearer,
    starts: Option<i64>,
    expires: i64,
}

impl Tokens {
    /// `seed` is the Ed25519 private key; every replica derives the same one from the master key.
    pub fn new(seed: &[u8; 32], issuer: &str, lifetime: i64, clock: Clock) -> anyhow::Result<Self> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| anyhow!("signing key: {error}"))?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        // RFC 7638: the thumbprint names the key.
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, thumbprint.as_bytes()));
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By our clock, in `verify`.
        validation.validate_exp = false;
        Ok(Self {
            issuer: issuer.to_owned(),
            lifetime,
            signing: EncodingKey::from_ed_der(&pkcs8(seed)),
            verifying: DecodingKey::from_ed_components(&x)?,
            jwks: json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x}]}),
            kid,
            validation,
            clock,
            verified: moka::sync::Cache::new(REMEMBERED),
        })
    }

    /// RFC 7517, for `/.well-known/jwks.json`.
    pub fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// Seconds that a fresh token lives.
    pub fn lifetime(&self) -> i64 {
        self.lifetime
    }

    pub fn issue(&self, bearer: &Bearer) -> Result<String> {
        let now = self.clock.now().unix_timestamp();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
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
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|error| Error::Internal(error.into()))
    }

    /// # Errors
    /// 401 `token_expired` or `invalid_token`; which check failed is nobody's business.
    pub fn verify(&self, token: &str) -> Result<Principal> {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let digest: [u8; 32] = digest.as_ref().try_into().map_err(|_| invalid())?;
        let known = if let Some(known) = self.verified.get(&digest) {
            known
        } else {
            let fresh = self.check(token)?;
            self.verified.insert(digest, fresh.clone());
            fresh
        };
        let now = self.clock.now().unix_timestamp();
        if known.starts.is_some_and(|starts| now < starts) {
            return Err(invalid());
        }
        if now >= known.expires {
            self.verified.invalidate(&digest);
            return Err(Error::Unauthenticated {
                code: "token_expired",
                detail: "the access token has expired: trade the refresh token at POST /api/v1/auth/refresh",
            });
        }
        let Bearer { user, org, session, signed_in_at, mfa, email_verified } = known.bearer;
        Ok(Principal { org, actor: Actor::User { user, session, signed_in_at, mfa, email_verified } })
    }

    fn check(&self, token: &str) -> Result<Verified> {
        if token.len() > LONGEST {
            return Err(invalid());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        if header.kid.as_deref() != Some(self.kid.as_str()) {
            return Err(invalid());
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation)
            .map_err(|_| invalid())?
            .claims;
        let bearer = Bearer {
            user: claims.sub,
            org: claims.org,
            session: claims.sid,
            signed_in_at: claims.auth_time,
            mfa: claims.amr.iter().any(|method| method == "otp"),
            email_verified: claims.email_verified,
        };
        Ok(Verified { bearer, starts: claims.nbf, expires: claims.exp })
    }
}

fn invalid() -> Error {
    Error::Unauthenticated {
        code: "invalid_token",
        detail: "this is no access token of this platform: sign in again",
    }
}

/// RFC 8410: the fixed head of an Ed25519 private key, then its seed.
fn pkcs8(seed: &[u8; 32]) -> Vec<u8> {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    [HEAD.as_slice(), seed].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ISSUER: &str = "https://api.example.com";

    fn tokens(seed: u8, issuer: &str, clock: &Clock) -> Tokens {
        Tokens::new(&[seed; 32], issuer, 900, clock.clone()).unwrap()
    }

    fn bearer() -> Bearer {
        let (user, org, session) = (UserId::new(), OrgId::new(), SessionId::new());
        Bearer { user, org, session, signed_in_at: 0, mfa: false, email_verified: false }
    }

    fn issue(tokens: &Tokens) -> String {
        tokens.issue(&bearer()).unwrap()
    }

    fn resign(token: &str, header: &Value) -> String {
        let parts: Vec<&str> = token.split('.').collect();
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[1], parts[2])
    }

    #[test]
    fn a_token_names_who_it_was_issued_to() {
        let tokens = tokens(1, ISSUER, &Clock::frozen());
        let bearer = bearer();
        let principal = tokens.verify(&tokens.issue(&bearer).unwrap()).unwrap();
        assert_eq!((principal.org, principal.actor.uuid()), (bearer.org, bearer.user.uuid()));
    }

    #[test]
    fn a_token_ends_on_its_last_second_even_when_remembered() {
        let clock = Clock::frozen();
        let tokens = tokens(1, ISSUER, &clock);
        let token = issue(&tokens);
        clock.advance(Duration::from_secs(899));
        tokens.verify(&token).unwrap();
        clock.advance(Duration::from_secs(1));
        assert!(matches!(tokens.verify(&token), Err(Error::Unauthenticated { code: "token_expired", .. })));
    }

    #[test]
    fn tokens_of_others_and_forged_tokens_are_refused() {
        let clock = Clock::frozen();
        let ours = tokens(1, ISSUER, &clock);
        let good = issue(&ours);
        let kid = ours.kid.clone();
        let forged = [
            issue(&tokens(2, ISSUER, &clock)),
            issue(&tokens(1, "https://elsewhere.example.com", &clock)),
            resign(&good, &json!({"alg": "none", "kid": kid})),
            resign(&good, &json!({"alg": "HS256", "kid": kid})),
            resign(&good, &json!({"alg": "EdDSA", "kid": "../../etc/passwd"})),
            resign(&good, &json!({"alg": "EdDSA"})),
            "a".repeat(65_536),
            String::new(),
            format!("{good}x"),
        ];
        for token in forged {
            assert!(ours.verify(&token).is_err(), "{token:.80}");
        }
        ours.verify(&good).unwrap();
    }
}
