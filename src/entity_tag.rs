//! Entity tags: by which a client knows what it has already (RFC 9110, section 8.8.3).

use axum::http::HeaderValue;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// Of an answer that has no version of its own. A weak one: it is good for `If-None-Match`, and names nothing that could
/// be changed.
pub fn of_bytes(body: &[u8]) -> HeaderValue {
    let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..16]);
    HeaderValue::try_from(format!("W/\"{hash}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// Whether an `If-None-Match` names a tag. Compares weakly, as it is meant to be: a cache on the way may have weakened it.
pub fn knows(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|known| strong(known) == strong(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_is_named_by_its_tag_weak_or_strong_alone_or_among_others() {
        for tag in ["\"7\"", "W/\"7\""] {
            let tag = HeaderValue::from_static(tag);
            for known in ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "*"] {
                assert!(knows(&HeaderValue::from_static(known), &tag), "{known}");
            }
            for known in ["\"6\"", "7", "", "\"77\""] {
                assert!(!knows(&HeaderValue::from_static(known), &tag), "{known}");
            }
        }
    }

    #[test]
    fn other_bytes_have_another_tag() {
        assert_eq!(of_bytes(b"a"), of_bytes(b"a"));
        assert_ne!(of_bytes(b"a"), of_bytes(b"b"));
        assert!(knows(&of_bytes(b"a"), &of_bytes(b"a")));
    }
}
