//! Reading one resource: in the shape that was asked for, and not at all where the client has it already.

use super::{ETag, Json, Listed, Shape};
use crate::{
    caller::Caller,
    entity_tag::knows,
    error::{Error, Result},
    openapi,
    state::AppState,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use sqlx::PgConnection;
use std::marker::PhantomData;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

/// A request for one `T`.
pub struct View<T: 'static> {
    shape: Shape<T>,
    /// `If-None-Match`.
    known: Option<HeaderValue>,
}

impl<T: Listed + serde::Serialize> View<T> {
    /// Fetches what is wanted along with it, for the caller as the transaction knows them.
    pub async fn expand(
        &self,
        connection: &mut PgConnection,
        caller: &Caller,
        resource: &mut T,
    ) -> Result<()> {
        self.shape.expand(connection, caller, std::slice::from_mut(resource)).await
    }

    /// Answers `resource` of this version: 304 where the client has it (RFC 9110, section 13.1.2). What is expanded
    /// changes with more than the version, and has no tag.
    pub fn answer(&self, version: i64, resource: &T) -> Result<Response> {
        if !self.shape.expand.is_empty() {
            return self.body(resource);
        }
        let tag: [(HeaderName, HeaderValue); 1] = ETag(version).into();
        if self.known.as_ref().is_some_and(|known| knows(known, &tag[0].1)) {
            return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
        }
        Ok((tag, self.body(resource)?).into_response())
    }

    fn body(&self, resource: &T) -> Result<Response> {
        Ok(Json(self.shape.show(resource)?).into_response())
    }
}

impl<T: Listed> FromRequestParts<AppState> for View<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let known = parts.headers.get(header::IF_NONE_MATCH).cloned();
        Ok(Self { shape: Shape::from_request_parts(parts, state).await?, known })
    }
}

/// The parameters of a view, for its OpenAPI operation.
pub struct ViewParams<T>(PhantomData<T>);

impl<T: Listed> IntoParams for ViewParams<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        super::list::shape_params::<T>().into_iter().chain([openapi::if_none_match()]).collect()
    }
}
