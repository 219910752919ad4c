//! Secrets that must be read again are encrypted at rest, under keys derived from the platform's master key.

use crate::error::{Error, Result};
use anyhow::anyhow;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hmac::{Hmac, KeyInit as _, Mac as _};

/// A key for one purpose, from the platform's master key: HMAC-SHA-256 as a key derivation (NIST SP 800-108r1).
pub fn derive(master: &[u8; 32], purpose: &str) -> [u8; 32] {
    // HMAC pads a key to its block.
    let mut block = [0; 64];
    block[..32].copy_from_slice(master);
    <Hmac<sha2::Sha256>>::new(&block.into()).chain_update(purpose).finalize().into_bytes().into()
}

/// Seals with AES-256-GCM (NIST SP 800-38D): a random nonce, the ciphertext, its tag.
pub struct Vault(RandomizedNonceKey);

impl Vault {
    pub fn new(master: &[u8; 32]) -> anyhow::Result<Self> {
        let key = derive(master, "insula vault");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|error| anyhow!("vault: {error}"))?;
        Ok(Self(key))
    }

    /// `about` names what is sealed and whose it is; the same words open it, so that one sealed secret can't be put in
    /// the place of another.
    pub fn seal(&self, about: &str, secret: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(about), &mut sealed)
            .map_err(|error| Error::Internal(anyhow!("sealing {about}: {error}")))?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// # Errors
    /// Internal where it was sealed under another master key, for another place, or was tampered with.
    pub fn open(&self, about: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let unreadable =
            || Error::Internal(anyhow!("{about} can't be opened: sealed under another master key?"));
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or_else(unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable())?;
        let mut secret = ciphertext.to_vec();
        let length =
            self.0.open_in_place(nonce, Aad::from(about), &mut secret).map_err(|_| unreadable())?.len();
        secret.truncate(length);
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_the_same_words_open_what_was_sealed() {
        let vault = Vault::new(&[1; 32]).unwrap();
        let sealed = vault.seal("totp of ada", b"secret").unwrap();
        assert_eq!(vault.open("totp of ada", &sealed).unwrap(), b"secret");
        assert_ne!(sealed, vault.seal("totp of ada", b"secret").unwrap(), "a nonce of its own each time");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));

        assert!(vault.open("totp of bob", &sealed).is_err());
        assert!(Vault::new(&[2; 32]).unwrap().open("totp of ada", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut edited = sealed.clone();
            edited[at] ^= 1;
            assert!(vault.open("totp of ada", &edited).is_err(), "byte {at}");
        }
        assert!(vault.open("totp of ada", &sealed[..NONCE_LEN - 1]).is_err());
    }
}
