//! A set of signing keys as it was at one moment: one signs, all of them verify, and what they are is published.

use crate::{
    error::{Error, Result},
    tenancy::gate::{SigningKey, SigningKeyState},
    vault::Vault,
};
use anyhow::anyhow;
use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, json};
use std::fmt;
use time::OffsetDateTime;

/// What a key is called: the thumbprint of its public half (RFC 7638). Holding one proves that it is well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kid([u8; 32]);

impl Kid {
    fn of(public_key: &[u8]) -> Result<Self> {
        let x = URL_SAFE_NO_PAD.encode(public_key);
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let digest = digest::digest(&digest::SHA256, thumbprint.as_bytes());
        Ok(Self(digest.as_ref().try_into().map_err(anyhow::Error::from)?))
    }

    /// None where no key could ever be called so.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for Kid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("no key is called so"))
    }
}

pub struct KeySet {
    /// As tokens name it.
    pub current: String,
    pub signing: EncodingKey,
    verifying: Vec<(Kid, DecodingKey)>,
    /// Were here once, and never come back.
    lost: Vec<Kid>,
    /// RFC 7517.
    pub jwks: Value,
}

impl KeySet {
    /// Opens `rows`, which take the place of `before`.
    ///
    /// # Errors
    /// Where one can't be opened, or none of them is to sign.
    pub fn open(rows: &[SigningKey], vault: &Vault, before: Option<&Self>) -> Result<Self> {
        let (mut current, mut verifying, mut published) = (None, Vec::new(), Vec::new());
        for row in rows {
            let (kid, x) = (Kid::of(&row.public_key)?, URL_SAFE_NO_PAD.encode(&row.public_key));
            let seed = row.seed.as_ref().map(|_| unseal(row, vault)).transpose()?;
            if let (SigningKeyState::Current, Some(seed)) = (row.state, seed) {
                current = Some((kid.to_string(), EncodingKey::from_ed_der(&pkcs8(&seed))));
            }
            verifying.push((kid, DecodingKey::from_ed_components(&x).map_err(anyhow::Error::from)?));
            published.push(json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid.to_string(), "x": x
            }));
        }
        let (current, signing) = current.ok_or_else(|| anyhow!("no signing key is current"))?;
        let mut set =
            Self { current, signing, verifying, lost: Vec::new(), jwks: json!({"keys": published}) };
        if let Some(before) = before {
            let known = before.verifying.iter().map(|(kid, _)| kid).chain(&before.lost);
            set.lost = known.filter(|kid| !set.holds(**kid)).copied().collect();
        }
        Ok(set)
    }

    /// What verifies the tokens that name this key.
    pub fn verifying(&self, kid: Kid) -> Option<&DecodingKey> {
        self.verifying.iter().find(|(known, _)| *known == kid).map(|(_, key)| key)
    }

    pub fn holds(&self, kid: Kid) -> bool {
        self.verifying(kid).is_some()
    }

    /// Whether this key was good once and is not any more.
    pub fn lost(&self, kid: Kid) -> bool {
        self.lost.contains(&kid)
    }
}

/// A new key pair, its private half sealed.
pub fn make(state: SigningKeyState, vault: &Vault, at: OffsetDateTime) -> Result<SigningKey> {
    let seed: [u8; 32] = rand::random();
    let pair = pair(&seed)?;
    let public_key = pair.public_key().as_ref().to_vec();
    let kid = Kid::of(&public_key)?.to_string();
    Ok(SigningKey {
        seed: Some(vault.seal(&sealed_as(&kid), &seed)?),
        kid,
        public_key,
        state,
        created_at: at,
        activated_at: (state == SigningKeyState::Current).then_some(at),
        retired_at: None,
    })
}

/// The private half of a stored key.
///
/// # Errors
/// Internal where it was sealed under another master key, is another key's, or is no more.
pub fn unseal(row: &SigningKey, vault: &Vault) -> Result<[u8; 32]> {
    let about = sealed_as(&row.kid);
    let sealed = row.seed.as_deref().ok_or_else(|| anyhow!("{about} is retired"))?;
    let seed = vault.open(&about, sealed)?.try_into().map_err(|_| anyhow!("{about} has no 32 bytes"))?;
    if pair(&seed)?.public_key().as_ref() != row.public_key {
        return Err(Error::Internal(anyhow!("{about} is not the private half of its public key")));
    }
    Ok(seed)
}

fn sealed_as(kid: &str) -> String {
    format!("signing key {kid}")
}

fn pair(seed: &[u8; 32]) -> Result<Ed25519KeyPair> {
    Ok(Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| anyhow!("signing key: {error}"))?)
}

/// RFC 8410: the fixed head of an Ed25519 private key, then its seed.
pub fn pkcs8(seed: &[u8; 32]) -> Vec<u8> {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    [HEAD.as_slice(), seed].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn pair_of_keys(vault: &Vault) -> Vec<SigningKey> {
        let at = Clock::frozen().now();
        [SigningKeyState::Current, SigningKeyState::Standby]
            .map(|state| make(state, vault, at).unwrap())
            .into()
    }

    #[test]
    fn the_standby_is_published_and_verifies_before_it_signs() {
        let vault = Vault::new(&[1; 32]).unwrap();
        let keys = pair_of_keys(&vault);
        let set = KeySet::open(&keys, &vault, None).unwrap();
        assert_eq!(set.current, keys[0].kid);
        for (key, published) in keys.iter().zip(set.jwks["keys"].as_array().unwrap()) {
            assert_eq!(published["kid"], key.kid);
            assert!(set.holds(Kid::parse(&key.kid).unwrap()));
        }
    }

    #[test]
    fn keys_that_are_gone_are_known_to_be_lost_however_long_ago() {
        let vault = Vault::new(&[1; 32]).unwrap();
        let [first, second, third] = [(); 3].map(|()| pair_of_keys(&vault));
        let set = KeySet::open(&first, &vault, None).unwrap();
        let set = KeySet::open(&second, &vault, Some(&set)).unwrap();
        let set = KeySet::open(&third, &vault, Some(&set)).unwrap();
        for key in first.iter().chain(&second) {
            assert!(set.lost(Kid::parse(&key.kid).unwrap()));
        }
        for key in &third {
            assert!(!set.lost(Kid::parse(&key.kid).unwrap()));
        }
        assert!(!set.lost(Kid([7; 32])), "never seen");
    }

    #[test]
    fn a_key_opens_under_its_own_name_and_master_key_and_for_its_own_public_half() {
        let vault = Vault::new(&[1; 32]).unwrap();
        let keys = pair_of_keys(&vault);
        assert!(KeySet::open(&keys, &Vault::new(&[2; 32]).unwrap(), None).is_err(), "another master key");

        let [mut one, mut other] = [keys[0].clone(), keys[1].clone()];
        (one.seed, other.seed) = (other.seed, one.seed);
        assert!(unseal(&one, &vault).is_err(), "another key's");

        let forged = SigningKey { public_key: other.public_key, ..keys[0].clone() };
        assert!(unseal(&forged, &vault).is_err(), "another public half");
        assert!(KeySet::open(&keys[1..], &vault, None).is_err(), "none signs");
    }

    #[test]
    fn no_key_is_called_by_a_path_a_query_or_a_thumbprint_with_letters_to_spare() {
        let kid = Kid([7; 32]).to_string();
        assert!(Kid::parse(&kid) == Some(Kid([7; 32])));
        for text in ["", "../../etc/passwd", "' or 1=1 --", &kid[1..], &format!("{kid}A"), &format!("{kid}=")]
        {
            assert!(Kid::parse(text).is_none(), "{text}");
        }
    }
}
