//! Answers a read as it was answered a moment ago to whoever may see the same, where nothing was written since; and lets
//! clients keep an answer, and ask whether it is still so.

use super::{Door, Refusable};
use crate::{
    cache::{Answer, Question},
    caller::{Caller, Sight},
    entity_tag,
    error::Error,
    prefer::Prefer,
    state::AppState,
};
use anyhow::anyhow;
use axum::{
    body::{Body, to_bytes},
    extract::{OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A client may keep an answer, and has to ask before it uses it again (RFC 9111, section 5.2.2.4): it is true for no time
/// that could be promised. Nobody in between may.
const KEPT: HeaderValue = HeaderValue::from_static("private, no-cache");
/// What else an answer depends on.
const VARY: HeaderValue = HeaderValue::from_static("Authorization, Prefer");

/// Who is refused must hear of it within a second: behind a bus that is silent for longer, whoever asks asks the database.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// Stands behind `guard`: whoever comes here has been admitted and charged, now and for this.
pub async fn remembered(
    State((state, door, sight)): State<(AppState, Door, Sight)>,
    mut request: Request,
    next: Next,
) -> Refusable {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Err(Error::Internal(anyhow!("remembered stands below guard")));
    };
    // Compared here, so that what the handler answers is whole.
    let known = request.headers_mut().remove(header::IF_NONE_MATCH);
    let asked = Instant::now();
    let question = Question {
        org: caller.org(),
        writes: state.pools.writes.so_far(caller.org()),
        sight: (sight.of)(&caller),
        count: Prefer::of(request.headers()).count,
        target: target(&request),
    };
    let hears = state.freshness.age() <= LONGEST_SILENCE;
    let found = state.cache.find(&question).filter(|_| hears);
    state.reads.answered(door.route, found.is_some());
    if let Some(answer) = found {
        (sight.used)(&caller);
        return Ok(tell(&answer, known.as_ref()));
    }
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| Error::Internal(error.into()))?;
    let mut headers = parts.headers;
    headers.entry(header::ETAG).or_insert_with(|| entity_tag::of_bytes(&body));
    headers.insert(header::CACHE_CONTROL, KEPT);
    headers.insert(header::VARY, VARY);
    let answer = Arc::new(Answer { asked, headers, body });
    // Otherwise it is what somebody with another sight sees.
    if !caller.is_outdated() {
        state.cache.keep(question, Arc::clone(&answer));
    }
    Ok(tell(&answer, known.as_ref()))
}

fn target(request: &Request) -> Box<str> {
    // Nested routers see their own part of the path.
    let uri = request.extensions().get::<OriginalUri>().map_or(request.uri(), |OriginalUri(uri)| uri);
    uri.path_and_query().map_or(uri.path(), |target| target.as_str()).into()
}

/// 304 where the client has it (RFC 9110, section 15.4.5).
fn tell(answer: &Answer, known: Option<&HeaderValue>) -> Response {
    let tag = answer.headers.get(header::ETAG);
    if known.zip(tag).is_some_and(|(known, tag)| entity_tag::knows(known, tag)) {
        let told = [header::ETAG, header::CACHE_CONTROL, header::VARY].into_iter();
        let headers: HeaderMap =
            told.filter_map(|name| Some((name.clone(), answer.headers.get(&name)?.clone()))).collect();
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (answer.headers.clone(), Body::from(answer.body.clone())).into_response()
}
