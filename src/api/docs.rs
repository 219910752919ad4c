//! The API's documentation, served from the binary: Swagger UI, ReDoc and the document behind both.

use crate::{error::Result, openapi, state::AppState};
use anyhow::Context as _;
use axum::{
    Extension, Router,
    body::Bytes,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use std::sync::{Arc, OnceLock};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// No other origin is ever asked for anything; the pages style themselves inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub fn router(document: OpenApi) -> Router<AppState> {
    Router::new()
        .merge(SwaggerUi::new("/docs").config(Config::new(["/openapi.json"])))
        .route("/openapi.json", get(served))
        .route("/redoc", get(redoc))
        .route("/redoc/redoc.standalone.js", get(redoc_script))
        .route_layer(SetResponseHeaderLayer::overriding(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ))
        .layer(Extension(Arc::new(Document { described: document, finished: OnceLock::new() })))
}

/// Finished when it is asked for first: a replica need not wait for it to be up.
struct Document {
    described: OpenApi,
    finished: OnceLock<Bytes>,
}

async fn served(Extension(document): Extension<Arc<Document>>) -> Result<Response> {
    let bytes = if let Some(bytes) = document.finished.get() {
        bytes.clone()
    } else {
        let finished = openapi::finish(&document.described).context("the document is no JSON")?;
        let bytes = Bytes::from(serde_json::to_vec(&finished).context("the document is no JSON")?);
        document.finished.get_or_init(|| bytes).clone()
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn redoc() -> Html<&'static str> {
    Html(include_str!("docs/redoc.html"))
}

/// ReDoc 2.5.4, kept packed: every browser unpacks it, and 3.x phones home.
async fn redoc_script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CONTENT_ENCODING, "gzip"),
        (header::CACHE_CONTROL, "public, max-age=86400"),
    ];
    (headers, include_bytes!("docs/redoc.standalone.js.gz")).into_response()
}
