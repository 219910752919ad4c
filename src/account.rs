//! A person and their organisations, as the API shows them to that person.

use crate::{
    ids::{OrgId, UserId},
    tenancy::{
        Status,
        gate::{Membership, Person},
    },
};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct User {
    pub id: UserId,
    #[schema(example = "ada@example.com", max_length = 254)]
    pub email: String,
    #[schema(example = "Ada Lovelace", max_length = 200)]
    pub name: String,
}

/// An organisation, as one of its members sees it.
#[derive(Clone, Serialize, ToSchema)]
pub struct Org {
    pub id: OrgId,
    #[schema(example = "acme", max_length = 63)]
    pub slug: String,
    #[schema(example = "Acme", max_length = 200)]
    pub name: String,
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    pub status: Status,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<Membership> for Org {
    fn from(org: Membership) -> Self {
        let Membership { id, slug, name, tier, status, created_at, .. } = org;
        Self { id, slug, name, tier, status, created_at }
    }
}

impl From<Person> for User {
    fn from(Person { id, email, name }: Person) -> Self {
        Self { id, email, name }
    }
}

const LONGEST_SLUG: usize = 40;

/// `Acme & Söhne GmbH` becomes `acme-s-hne-gmbh`.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(LONGEST_SLUG);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "org".to_owned() } else { slug.to_owned() }
}
