//! Who did something: a caller, whoever asked for a job, an operator, or the platform by itself.

use crate::authn::Actor;
use uuid::Uuid;

/// Who did something, as it is written down.
#[derive(Clone, Copy, Debug)]
pub struct Doer {
    pub(super) kind: &'static str,
    pub(super) id: Option<Uuid>,
}

impl Doer {
    /// The platform by itself.
    pub const SYSTEM: Self = Self { kind: "system", id: None };

    /// An operator, or the platform by itself where there is none.
    pub(super) fn operator(actor: Option<&Actor>) -> Self {
        actor.map_or(Self::SYSTEM, |actor| Self { kind: "operator", id: Some(actor.uuid()) })
    }

    /// Whoever two columns name of which one is set at most: a user and a key.
    pub fn in_columns(user: Option<Uuid>, key: Option<Uuid>) -> Self {
        match (user, key) {
            (Some(user), _) => Self { kind: "user", id: Some(user) },
            (None, Some(key)) => Self { kind: "api_key", id: Some(key) },
            (None, None) => Self::SYSTEM,
        }
    }
}

impl From<&Actor> for Doer {
    fn from(actor: &Actor) -> Self {
        Self { kind: actor.kind(), id: Some(actor.uuid()) }
    }
}
