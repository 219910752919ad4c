//! Query parameters of operations that are no lists.

use crate::error::{Error, Result};
use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use serde::de::DeserializeOwned;

/// All of a query, to be looked through.
///
/// # Errors
/// 400 where it can't be read.
pub fn pairs(uri: &Uri) -> Result<Vec<(String, String)>> {
    serde_urlencoded::from_str(uri.query().unwrap_or_default())
        .map_err(|_| Error::malformed("malformed_query", "the query string can't be read"))
}

/// # Errors
/// 400 for what is unknown or can't be read.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map(Self)
            .map_err(|error| Error::malformed("bad_parameter", format!("the query string: {error}")))
    }
}
