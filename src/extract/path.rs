//! Path parameters: a malformed one answers like an absent one.

use crate::error::{Error, Result};
use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    #[expect(clippy::disallowed_types, reason = "its rejections are answered here")]
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        // Decoded, it is a character that no text in Postgres can hold.
        if parts.uri.path().contains("%00") {
            return Err(Error::NotFound);
        }
        let found = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        found.map(|axum::extract::Path(id)| Self(id)).map_err(|_| Error::NotFound)
    }
}
