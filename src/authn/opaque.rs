//! Opaque tokens: 256 random bits for the client, known to the database by their hash alone.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A secret of one purpose: a refresh token, a link in a mail, a challenge.
pub struct OpaqueToken {
    /// For the client, once: `insula_<purpose>_<43 letters>`.
    pub text: String,
    /// For the database.
    pub hash: Vec<u8>,
}

impl OpaqueToken {
    pub fn new(purpose: &str) -> Self {
        let text = format!("insula_{purpose}_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        Self { hash: hash(&text), text }
    }
}

/// Whether `text` could be such a secret of this purpose.
pub fn well_formed(purpose: &str, text: &str) -> bool {
    let secret = text.strip_prefix("insula_").and_then(|rest| rest.strip_prefix(purpose)?.strip_prefix('_'));
    secret.is_some_and(|secret| URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| bytes.len() == 32))
}

/// Plain SHA-256: what is hashed is random, so there is nothing to guess.
pub fn hash(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}
