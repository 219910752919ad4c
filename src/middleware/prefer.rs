//! What a client would like of a write: that nothing of it is kept, or that it is answered without a body.

use super::{Door, Refusable};
use crate::{
    error::Error,
    prefer::{Prefer, applied},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};

/// # Errors
/// 400 where something is to be tried out that can't be: who asks for a trial must not get the real thing.
pub async fn prefer(State(door): State<Door>, request: Request, next: Next) -> Refusable {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    let prefer = Prefer::of(request.headers());
    if prefer.dry_run && !door.has_trials {
        return Err(no_trials());
    }
    let mut response = next.run(request).await;
    if response.status().is_success() && door.has_trials {
        if prefer.dry_run {
            // What they name is not there.
            for name in [header::LOCATION, header::ETAG] {
                response.headers_mut().remove(name);
            }
            applied(response.headers_mut(), "dry-run");
        }
        if prefer.minimal && response.status() != StatusCode::NO_CONTENT {
            response = without_body(response);
        }
    }
    Ok(response)
}

/// The same where nobody is asked who they are.
pub async fn refuse_trials(request: Request, next: Next) -> Refusable {
    if !request.method().is_safe() && Prefer::of(request.headers()).dry_run {
        return Err(no_trials());
    }
    Ok(next.run(request).await)
}

fn no_trials() -> Error {
    Error::malformed("no_dry_run", "this can't be tried out: without `Prefer: dry-run` it is done")
}

fn without_body(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    if parts.status == StatusCode::OK {
        parts.status = StatusCode::NO_CONTENT;
    }
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    applied(&mut parts.headers, "return=minimal");
    Response::from_parts(parts, Body::empty())
}
