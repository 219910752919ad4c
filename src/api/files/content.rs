//! Giving a file out, to whoever holds a link to it.

use super::{
    name,
    range::{Asked, asked},
    store,
};
use crate::{
    entity_tag::knows,
    error::{Error, OptionExt as _, Problem, Result},
    extract::{Path, Query},
    file_links::PICTURES,
    ids::{FileId, OrgId},
    openapi,
    state::AppState,
    storage::Key,
    tenancy::{Mode, Status, TenantTx},
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Required,
        path::{Parameter, ParameterIn},
    },
};

/// What a link says besides the file.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Link {
    /// Whose file it is.
    org: OrgId,
    /// In seconds since 1970.
    #[param(example = "1767225600", max_length = 20, pattern = "^[0-9]+$")]
    expires: String,
    /// Our word for it.
    #[param(
        example = "h2bX6yCxWwqkC1m4o0yq9Yy3hC0b6Q0iRrQnE9m8b5k",
        max_length = 43,
        pattern = "^[A-Za-z0-9_-]{43}$"
    )]
    signature: String,
}

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary, max_length = 1_073_741_824)]
#[expect(dead_code, reason = "streamed; this is how it looks")]
pub struct Content(Vec<u8>);

/// What browsers and players send to be sent less.
pub struct Conditions;

impl IntoParams for Conditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        [
            ("If-None-Match", "The ETag that one has: 304 where it is still the one."),
            ("Range", "One part of it, like `bytes=0-1023`."),
            ("If-Range", "The ETag of what one has a part of: all of it where it is another by now."),
        ]
        .map(|(name, about)| openapi::header(name, about, Required::False))
        .into()
    }
}

/// Fetch a file's content
///
/// By its `url`, as it is: without credentials, and until it expires. Whatever is not right about it, it is a 404.
#[utoipa::path(get, path = "/files/{id}/content", tag = "files",
    params(("id" = FileId, Path), Link, Conditions),
    responses(
        (status = 200, description = "All of it.", body = Content, content_type = "*/*",
         headers(("ETag" = String, description = "Of its bytes."),
                 ("Content-Disposition" = String, description = "How browsers treat it, and what it is called."))),
        (status = 206, description = "The part that was asked for.", body = Content, content_type = "*/*",
         headers(("ETag" = String, description = "Of all its bytes."),
                 ("Content-Disposition" = String, description = "How browsers treat it, and what it is called."),
                 ("Content-Range" = String, description = "Which part of how much it is."))),
        (status = 416, description = "It is shorter than that (`range_not_satisfiable`).",
         headers(("Content-Range" = String, description = "How long it is.")))))]
pub async fn get_file_content(
    State(state): State<AppState>,
    method: Method,
    Path(id): Path<FileId>,
    link: Result<Query<Link>>,
    headers: HeaderMap,
) -> Result<Response> {
    let Ok(Query(Link { org, expires, signature })) = link else { return Err(Error::NotFound) };
    let left = state.file_links.opens((org, id), &expires, &signature, state.clock.now()).or_not_found()?;
    // Somebody who may read the file was given the link: that is what lets its holder into this org, for this file.
    let (mut tx, opening) = TenantTx::begin(&state.pools, org, Mode::Read).await?;
    if opening.status != Status::Active {
        return Err(Error::NotFound);
    }
    let file = store::select(&mut tx, id).await?.or_not_found()?;
    drop(tx);

    let tag = value(format!("\"{}\"", file.sha256));
    let kept = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, value(format!("private, max-age={left}, immutable"))),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| knows(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let size = u64::try_from(file.size).unwrap_or_default();
    let is_same = headers.get(header::IF_RANGE).is_none_or(|known| *known == tag);
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).filter(|_| is_same);
    let (status, range) = match asked(range, size) {
        Asked::All => (StatusCode::OK, 0..size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Beyond => return Err(beyond(size)),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let told = response.headers_mut();
    told.extend(kept);
    told.insert(header::CONTENT_TYPE, value(file.content_type.clone()));
    told.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    told.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        told.insert(header::CONTENT_RANGE, value(format!("bytes {}-{}/{size}", range.start, range.end - 1)));
    }
    let shown = if PICTURES.contains(&file.content_type.as_str()) { "inline" } else { "attachment" };
    told.insert(header::CONTENT_DISPOSITION, name::disposition(shown, &file.name));
    // Opened by itself, whatever it is, it may run nothing and is of no origin; shown in a page, it may be anybody's page.
    told.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'"),
    );
    told.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("cross-origin"),
    );
    if method != Method::HEAD {
        let bytes = state.storage.read_part(&Key::of(org, id), range).await?;
        *response.body_mut() = Body::from_stream(bytes);
    }
    Ok(response)
}

fn beyond(size: u64) -> Error {
    let detail = format!("it has {size} bytes");
    let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail);
    Error::Unacceptable(Box::new(problem.header(header::CONTENT_RANGE, value(format!("bytes */{size}")))))
}

/// What is written here is always sendable.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
