//! The second factor: one-time codes of an authenticator app (TOTP, RFC 6238), and codes for when it is lost.
//!
//! SHA-1, six digits and 30 seconds: what every app understands. Codes of the step before and after are taken too, for
//! clocks that differ. That none is taken twice is for the database to say.

use super::opaque;
use crate::error::{Error, Result};
use anyhow::anyhow;
use totp_rs::{Builder, Secret, Totp};

/// How many recovery codes a person gets at a time.
pub const RECOVERY_CODES: usize = 10;
/// Crockford's base32, which has no look-alikes.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A secret shared with somebody's authenticator app: 160 random bits.
pub struct Authenticator(Secret);

impl Authenticator {
    #[expect(clippy::new_without_default, reason = "two calls never agree")]
    pub fn new() -> Self {
        Self(Secret::generate())
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// To be sealed.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// For typing into an app that can't read codes from a screen.
    pub fn base32(&self) -> String {
        self.0.to_base32()
    }

    /// What an app reads: `otpauth://totp/Insula:ada@example.com?secret=..`.
    pub fn uri(&self, issuer: &str, email: &str) -> Result<String> {
        // A colon parts the two; one within a quoted address would be refused.
        let named = self.builder().with_issuer(Some(issuer)).with_account_name(email.replace(':', "_"));
        let totp = named.build().map_err(|error| Error::Internal(anyhow!("totp: {error}")))?;
        totp.to_url().map_err(|error| Error::Internal(anyhow!("totp: {error}")))
    }

    /// The step whose code this is, of the one that `unix_seconds` is in and its neighbours.
    pub fn step_of(&self, code: &str, unix_seconds: i64) -> Result<Option<i64>> {
        let totp: Totp = self.builder().build().map_err(|error| Error::Internal(anyhow!("totp: {error}")))?;
        let step = totp.check(code, u64::try_from(unix_seconds).unwrap_or_default());
        Ok(step.and_then(|step| i64::try_from(step).ok()))
    }

    fn builder(&self) -> Builder {
        Builder::new().with_secret(self.0.clone())
    }
}

/// A code for whoever has lost their app: 80 random bits, like `k3vm-8q2x-7tzc-p4ha`.
pub fn recovery_code() -> String {
    let letters = rand::random::<[u8; 16]>().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-")
}

/// What the database knows a recovery code by, however it was typed. Plain SHA-256: 80 random bits are not guessed.
pub fn recovery_hash(code: &str) -> Vec<u8> {
    let typed = code.chars().filter(char::is_ascii_alphanumeric);
    opaque::hash(&typed.map(|letter| letter.to_ascii_lowercase()).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, cut to six digits.
    #[test]
    fn the_codes_are_those_of_the_standard() {
        let app = Authenticator::from_bytes(b"12345678901234567890");
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(app.step_of(code, at).unwrap(), Some(at / 30));
            assert_eq!(app.step_of(code, at + 30).unwrap(), Some(at / 30), "a clock that is ahead");
            assert_eq!(app.step_of(code, at - 30).unwrap(), Some(at / 30), "a clock that is behind");
            assert_eq!(app.step_of(code, at + 90).unwrap(), None);
        }
        for nonsense in ["", "28708", "2870820", "abcdef", "２８７０８２"] {
            assert_eq!(app.step_of(nonsense, 59).unwrap(), None, "{nonsense}");
        }
    }

    #[test]
    fn an_app_is_told_whose_account_it_is_for() {
        let app = Authenticator::from_bytes(b"12345678901234567890");
        let uri = app.uri("Insula", "ada@example.com").unwrap();
        assert!(uri.starts_with("otpauth://totp/Insula:ada%40example.com?"), "{uri}");
        assert!(uri.contains(&format!("secret={}", app.base32())), "{uri}");
        app.uri("Insula", "\"a:b\"@example.com").unwrap();
    }

    #[test]
    fn a_recovery_code_is_the_same_however_it_is_typed() {
        let code = recovery_code();
        assert_eq!(code.len(), 19, "{code}");
        assert_eq!(recovery_hash(&code), recovery_hash(&code.to_uppercase().replace('-', " ")));
        assert_ne!(recovery_hash(&code), recovery_hash(&recovery_code()));
    }
}
