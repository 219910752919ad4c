//! Refresh tokens: opaque, 256 bits, known to the database by their hash alone.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

pub struct RefreshToken {
    /// For the client, once.
    pub text: String,
    /// For the database.
    pub hash: Vec<u8>,
}

impl RefreshToken {
    pub fn new() -> Self {
        let text = format!("insula_refresh_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        Self { hash: hash(&text), text }
    }
}

impl Default for RefreshToken {
    fn default() -> Self {
        Self::new()
    }
}

/// Plain SHA-256: what is hashed is random, so there is nothing to guess.
pub fn hash(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}
