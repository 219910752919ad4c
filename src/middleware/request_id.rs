//! Names each request, in its answer and in every line logged about it.

use crate::ids::RequestId;
use axum::{extract::Request, http::HeaderName, middleware::Next, response::Response};

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id out is always ours; a client's own is logged beside it by `trace`.
pub async fn request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Some(value) = super::header_value(&id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}
