//! `ETag` and `If-Match` over row versions (RFC 9110, section 13).

use crate::{
    error::{Error, Result},
    openapi,
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderName, HeaderValue, header, request::Parts},
};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterIn},
    },
};

/// The strong entity tag of a row version; goes out as a header.
pub struct ETag(pub i64);

impl From<ETag> for [(HeaderName, HeaderValue); 1] {
    fn from(ETag(version): ETag) -> Self {
        let tag = HeaderValue::try_from(format!("\"{version}\""));
        [(header::ETAG, tag.unwrap_or(HeaderValue::from_static("\"\"")))]
    }
}

/// Which version the client means to change.
///
/// # Errors
/// 428 where it is missing; as an `Option`, a missing one is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    Any,
    OneOf(Vec<i64>),
}

impl IfMatch {
    /// # Errors
    /// 412 unless `version` is the one that was meant.
    pub fn check(&self, version: i64) -> Result<()> {
        match self {
            Self::Any => Ok(()),
            Self::OneOf(versions) if versions.contains(&version) => Ok(()),
            Self::OneOf(_) => Err(Error::Stale),
        }
    }

    fn read(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::Any;
        }
        // A tag that is none of ours, weak ones included, matches no version.
        let tags = text.split(',').map(str::trim);
        Self::OneOf(tags.filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()).collect())
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let given = <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        given.ok_or(Error::MissingPrecondition)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>> {
        let given = parts.headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default());
        Ok(given.map(Self::read))
    }
}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![openapi::header("If-Match", "The ETag last seen, or `*` for whatever is there.", Required::True)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_matches_its_own_strong_tag_a_list_with_it_or_a_star() {
        for text in ["\"7\"", "\"6\", \"7\"", "*"] {
            assert!(IfMatch::read(text).check(7).is_ok(), "{text}");
        }
        for text in ["\"6\"", "W/\"7\"", "7", "", "\"x\""] {
            assert!(matches!(IfMatch::read(text).check(7), Err(Error::Stale)), "{text}");
        }
    }
}
