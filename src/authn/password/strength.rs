//! What is too easy to guess to be a password.

use crate::error::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::LazyLock;

/// In the order of their bytes. What is shorter than a password may be is not in it.
static COMMON: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("common.txt").lines().collect());

/// Behind these words a 422 has the code `common_password`.
pub const TOO_COMMON: &str = "this is among the first passwords that anybody would try: choose another";

/// A unit that is this short makes nothing long by being repeated.
const LONGEST_UNIT: usize = 6;

/// For `#[garde(custom(..))]`: 12 to 256 characters, that don't just repeat themselves, and that are not known to be
/// common. [`not_of_the_person`] asks the rest.
pub fn long_enough(password: &SecretString, (): &()) -> garde::Result {
    let password = password.expose_secret();
    if !(12..=256).contains(&password.chars().count()) {
        return Err(garde::Error::new("a password is 12 to 256 characters long"));
    }
    let lower = password.to_lowercase();
    if repeats_itself(&lower) || COMMON.binary_search(&lower.as_str()).is_ok() {
        return Err(garde::Error::new(TOO_COMMON));
    }
    Ok(())
}

/// # Errors
/// 422 `common_password` at `pointer` where the password is its owner's e-mail address or name, in whatever case.
pub fn not_of_the_person(password: &SecretString, pointer: &str, email: &str, name: &str) -> Result<()> {
    let plain = |text: &str| text.trim().to_lowercase();
    let password = plain(password.expose_secret());
    if password == plain(email) || password == plain(name) {
        return Err(Error::invalid(pointer, "common_password", TOO_COMMON));
    }
    Ok(())
}

/// Hashing costs by the byte as well.
pub fn not_endless(password: &SecretString, (): &()) -> garde::Result {
    match password.expose_secret().len() {
        0..=1_024 => Ok(()),
        _ => Err(garde::Error::new("no password is that long")),
    }
}

fn repeats_itself(password: &str) -> bool {
    let letters: Vec<char> = password.chars().collect();
    (1..=LONGEST_UNIT).any(|unit| letters.iter().zip(letters.iter().skip(unit)).all(|(a, b)| a == b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(password: &str) -> Option<String> {
        long_enough(&password.to_owned().into(), &()).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn the_list_is_one_that_can_be_searched() {
        assert!(COMMON.is_sorted());
        assert!(COMMON.len() > 10_000);
        for common in COMMON.iter() {
            assert_eq!(*common, common.to_lowercase());
            assert!(common.len() >= 12, "{common} is too short to be chosen");
        }
    }

    #[test]
    fn what_everybody_would_try_is_refused_in_whatever_case() {
        for common in ["password1234", "PassWord1234", "1q2w3e4r5t6y", COMMON[0], COMMON[COMMON.len() - 1]] {
            assert_eq!(refusal(common).as_deref(), Some(TOO_COMMON), "{common}");
        }
        for repeated in
            ["aaaaaaaaaaaa", "AaAaAaAaAaAaAa", "abcabcabcabc", "abcdeabcdeabcd", "秘密秘密秘密秘密秘密秘密"]
        {
            assert_eq!(refusal(repeated).as_deref(), Some(TOO_COMMON), "{repeated}");
        }
        for good in ["correct horse battery", "zwölf Zeichen", "password1234 and more", "abcdefgabcdefgx"] {
            assert_eq!(refusal(good), None, "{good}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(refusal("ein kurzes.").unwrap().contains("12 to 256"));
        assert_eq!(refusal("äöüÄÖÜß€ñéèê"), None);
        assert_eq!(refusal(&"0123456789abcdef".repeat(16)), None);
        assert!(refusal(&format!("{}x", "0123456789abcdef".repeat(16))).is_some());
    }

    #[test]
    fn nobody_is_their_own_password() {
        let refused = |password: &str| {
            not_of_the_person(&password.to_owned().into(), "/password", "ada@example.com", "Ada Lovelace")
                .is_err()
        };
        assert!(refused("ADA@example.com"));
        assert!(refused("ada lovelace "));
        assert!(!refused("ada lovelace was here"));
    }
}
