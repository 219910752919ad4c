//! Addresses that open one file, for whoever has them, until they expire.

use crate::ids::{FileId, OrgId};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use time::{Duration, OffsetDateTime};

/// At least so long a link lives, in seconds; at most [`STEP`] longer.
const LIFETIME: i64 = 60 * 60;
/// Within so many seconds a file has the same address, so that browsers need not fetch a picture twice.
const STEP: i64 = 15 * 60;

/// What browsers show when they open one, since it can do nothing but be looked at. Whatever else there is they save.
pub const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

pub struct FileLinks {
    key: [u8; 32],
    /// Where clients reach the API, without a slash at its end.
    base: String,
}

/// An address, and until when it opens.
pub struct FileLink {
    pub url: String,
    pub expires_at: OffsetDateTime,
}

impl FileLinks {
    /// `key` signs nothing else.
    pub fn new(key: [u8; 32], public_url: &str) -> Self {
        Self { key, base: public_url.trim_end_matches('/').to_owned() }
    }

    pub fn make(&self, org: OrgId, file: FileId, now: OffsetDateTime) -> FileLink {
        let into_step = now.unix_timestamp().rem_euclid(STEP);
        let expires_at = now.truncate_to_second() + Duration::seconds(STEP - into_step + LIFETIME);
        let text = expires_at.unix_timestamp().to_string();
        let tag = self.mac(org, file, &text).finalize().into_bytes();
        let signature = URL_SAFE_NO_PAD.encode(tag);
        let base = &self.base;
        let url =
            format!("{base}/api/v1/files/{file}/content?org={org}&expires={text}&signature={signature}");
        FileLink { url, expires_at }
    }

    /// How many seconds it opens for from `now` on; none where it is not ours, not of this file of this org, or over.
    pub fn opens(
        &self,
        (org, file): (OrgId, FileId),
        expires: &str,
        signature: &str,
        now: OffsetDateTime,
    ) -> Option<i64> {
        let tag = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(org, file, expires).verify_slice(&tag).ok()?;
        let left = expires.parse::<i64>().ok()? - now.unix_timestamp();
        (left > 0).then_some(left)
    }

    fn mac(&self, org: OrgId, file: FileId, expires: &str) -> Hmac<sha2::Sha256> {
        // HMAC pads a key to its block.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.key);
        let mac = <Hmac<sha2::Sha256>>::new(&block.into());
        mac.chain_update(org.uuid().as_bytes()).chain_update(file.uuid().as_bytes()).chain_update(expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn parts(url: &str) -> (String, String) {
        let find =
            |name: &str| url.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).unwrap().to_owned();
        (find("expires="), find("signature="))
    }

    #[test]
    fn a_link_opens_the_file_it_was_made_for_and_no_other_for_an_hour_or_a_little_more() {
        let links = FileLinks::new([7; 32], "https://api.example.com/");
        let (org, file) = (OrgId::new(), FileId::new());
        let now = 1_800_000_123;
        let link = links.make(org, file, at(now));
        assert!(
            link.url.starts_with(&format!("https://api.example.com/api/v1/files/{file}/content?org={org}&"))
        );
        let (expires, signature) = parts(&link.url);
        let life = link.expires_at.unix_timestamp() - now;
        assert!((LIFETIME..=LIFETIME + STEP).contains(&life), "{life}");
        assert_eq!(links.opens((org, file), &expires, &signature, at(now)), Some(life));
        assert_eq!(links.opens((org, file), &expires, &signature, at(now + life - 1)), Some(1));
        assert_eq!(links.opens((org, file), &expires, &signature, at(now + life)), None);

        assert_eq!(links.opens((OrgId::new(), file), &expires, &signature, at(now)), None);
        assert_eq!(links.opens((org, FileId::new()), &expires, &signature, at(now)), None);
        let later = (now + 10 * life).to_string();
        assert_eq!(links.opens((org, file), &later, &signature, at(now)), None);
        assert_eq!(links.opens((org, file), &format!("+{expires}"), &signature, at(now)), None);
        let others = FileLinks::new([8; 32], "https://api.example.com");
        assert_eq!(others.opens((org, file), &expires, &signature, at(now)), None);
        for at_byte in 0..signature.len() {
            for letter in ['A', 'B', '_', '=', '%'] {
                let mut edited: Vec<char> = signature.chars().collect();
                if edited[at_byte] == letter {
                    continue;
                }
                edited[at_byte] = letter;
                let edited: String = edited.into_iter().collect();
                assert_eq!(links.opens((org, file), &expires, &edited, at(now)), None, "{edited}");
            }
        }
        for cut in ["", &signature[1..], &signature[..signature.len() - 1]] {
            assert_eq!(links.opens((org, file), &expires, cut, at(now)), None);
        }
    }

    #[test]
    fn a_file_has_one_address_for_a_quarter_of_an_hour() {
        let links = FileLinks::new([7; 32], "https://api.example.com");
        let (org, file) = (OrgId::new(), FileId::new());
        let begin = 1_800_000_000;
        let url = |seconds| links.make(org, file, at(seconds)).url;
        assert_eq!(url(begin), url(begin + STEP - 1));
        assert_ne!(url(begin), url(begin + STEP));
    }
}
