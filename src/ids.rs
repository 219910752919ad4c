//! Typed ids: a prefix and 26 letters of Crockford base32 on the wire, a uuid v7 inside.
//!
//! Holding an id proves that it is well formed: the only ways in are `new`, `parse` and the database.

use sha2::Digest as _;
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// The text was not an id of the expected kind. Paths answer 404, bodies 422, queries 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an id like {example}")]
pub struct MalformedId {
    example: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {
        /// Those of all ids.
        const PREFIXES: &[&str] = &[$($prefix),+];

        $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &str = $prefix;

            /// A fresh id that sorts after those made before it.
            #[expect(clippy::new_without_default, reason = "two calls never agree")]
            pub fn new() -> Self {
                Self(fresh())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str("_")?;
                f.write_str(str::from_utf8(&encode(self.0)).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(MalformedId { example: concat!($prefix, "_01jd8yq3c5f4x7t9k2m6n8p0rs") })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                schema($prefix)
            }
        }

        impl utoipa::ToSchema for $name {}
        )+
    };
}

ids! {
    /// An organisation: the customer, and the border that row-level security holds.
    OrgId = "org";
    /// A person, known across organisations.
    UserId = "usr";
    /// An API key of an organisation.
    ApiKeyId = "key";
    /// A signed-in session: one refresh-token family.
    SessionId = "ses";
    /// One access token.
    TokenId = "tok";
    /// A product of an organisation's catalogue.
    ProductId = "prd";
    /// A category of an organisation's catalogue.
    CategoryId = "cat";
    /// An order placed in an organisation.
    OrderId = "ord";
    /// A place that an order came to.
    OrderStepId = "ost";
    /// A role that an organisation has made for itself.
    RoleId = "rol";
    /// An invitation to an organisation.
    InvitationId = "inv";
    /// A line of an organisation's audit.
    AuditEventId = "aud";
    /// Something that happened in an organisation: the letters after the prefix are those of the audit's line of it.
    EventId = "evt";
    /// A simulation of a tier.
    SimulationId = "sim";
    /// A job of an organisation.
    JobId = "job";
    /// Jobs of an organisation that recur.
    ScheduleId = "sch";
    /// A place that an organisation has events sent to.
    WebhookId = "whk";
    /// A secret that requests to such a place are signed with.
    WebhookSecretId = "whs";
    /// An event that is to be sent to such a place.
    DeliveryId = "dlv";
    /// A request that was made to deliver an event.
    AttemptId = "att";
    /// A file that an organisation keeps.
    FileId = "fil";
    /// A picture of a product.
    ImageId = "img";
    /// What was wrong with a row of an import.
    ImportErrorId = "ier";
    /// A mail to be sent.
    MailId = "eml";
    /// An exception from a tier's limits.
    OverrideId = "ovr";
    /// A running process, among the others that serve.
    ReplicaId = "rep";
    /// One request, as named in `X-Request-Id`, logs and problems.
    RequestId = "req";
    /// A file in which a process keeps what was asked of it until that is counted.
    JournalId = "jrn";
}

impl RoleId {
    /// That of a built-in role, the same in every organisation: RFC 9562, version 8, of its name.
    pub fn of_built_in(name: &str) -> Self {
        let digest = sha2::Sha256::digest(format!("insula built-in role {name}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one home of fresh uuids")]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

fn encode(uuid: Uuid) -> [u8; LENGTH] {
    let mut bits = uuid.as_u128();
    let mut text = [b'0'; LENGTH];
    for letter in text.iter_mut().rev() {
        *letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    text
}

/// One spelling per id: lower case, no look-alikes, nothing above 128 bits.
fn decode(text: &str) -> Option<Uuid> {
    let letters = text.as_bytes();
    if letters.len() != LENGTH || letters[0] > b'7' {
        return None;
    }
    let mut bits = 0_u128;
    for letter in letters {
        let digit = ALPHABET.iter().position(|known| known == letter)?;
        bits = bits << 5 | digit as u128;
    }
    Some(Uuid::from_u128(bits))
}

/// The ids that `reads` reads, for a document.
pub fn schema_of(reads: impl Fn(&str) -> bool) -> utoipa::openapi::ObjectBuilder {
    let read = PREFIXES.iter().filter(|prefix| reads(&format!("{prefix}{EXAMPLE}"))).copied();
    described(&read.collect::<Vec<_>>())
}

fn schema(prefix: &str) -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
    described(&[prefix]).into()
}

const EXAMPLE: &str = "_01jd8yq3c5f4x7t9k2m6n8p0rs";

fn described(prefixes: &[&str]) -> utoipa::openapi::ObjectBuilder {
    let (one, example) = (prefixes.join("|"), prefixes.first().copied().unwrap_or_default());
    let one = if prefixes.len() == 1 { one } else { format!("({one})") };
    let length = example.len() + 1 + LENGTH;
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .pattern(Some(format!("^{one}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")))
        .examples([serde_json::json!(format!("{example}{EXAMPLE}"))])
        .min_length(Some(length))
        .max_length(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_the_wire(bits: u128) {
            let id = OrgId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn text_that_parses_is_the_only_spelling_of_its_id(text in "org_[0-9a-zA-Z]{26}") {
            if let Ok(id) = text.parse::<OrgId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn an_id_of_another_kind_is_malformed() {
        assert!(ProductId::new().to_string().parse::<OrgId>().is_err());
    }

    #[test]
    fn later_ids_sort_later_on_the_wire() {
        let ids: Vec<String> = (0..100).map(|_| OrderId::new().to_string()).collect();
        assert!(ids.is_sorted());
    }
}
