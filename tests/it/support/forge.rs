//! Tokens that this platform never issued: signed with a stranger's key, or with its own, which was taken by force.

use super::{Persona, TestApp};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use insula::ids::OrgId;
use serde_json::{Value, json};
use sqlx::Row as _;

pub struct Forge {
    pair: Ed25519KeyPair,
    pub seed: [u8; 32],
    /// As the tokens that it makes name their key.
    pub kid: String,
}

impl Forge {
    /// With the key that `app` signs with.
    pub async fn of(app: &TestApp) -> Self {
        let mut platform = app.database.connect("insula_platform").await;
        let row = sqlx::query("select kid, seed from signing_keys where state = 'current'");
        let row = row.fetch_one(&mut platform).await.unwrap();
        let (kid, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
        let seed = app.state.vault.open(&format!("signing key {kid}"), &sealed).unwrap();
        Self::with(seed.try_into().unwrap(), &kid)
    }

    /// With a key that nobody has heard of, called `kid`.
    pub fn stranger(kid: &str) -> Self {
        Self::with([7; 32], kid)
    }

    fn with(seed: [u8; 32], kid: &str) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        Self { pair, seed, kid: kid.to_owned() }
    }

    /// The public half.
    pub fn x(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "EdDSA", "kid": self.kid})
    }

    /// A token that says this, well signed.
    pub fn token(&self, claims: &Value) -> String {
        self.token_under(&self.header(), claims)
    }

    /// The same under a header that may say anything.
    pub fn token_under(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes())))
    }
}

impl Persona {
    /// What their token says.
    pub fn claims(&self) -> Value {
        let part = self.token.as_deref().unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }
}

/// A part of a token.
pub fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// What a key could be called, and none is.
pub fn nobodys_kid() -> String {
    URL_SAFE_NO_PAD.encode(format!("{:032}", OrgId::new().uuid().as_u128() % 10_u128.pow(32)))
}
