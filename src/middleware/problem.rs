//! Every error leaves as problem+json with the request's id: ours, and the framework's own.

use crate::{error::Problem, ids::RequestId};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use serde_json::Value;

pub async fn problem(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().copied();
    let mut response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = response.extensions_mut().remove::<Box<Problem>>();
    let written =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == "application/problem+json");
    if problem.is_none() && written {
        return response;
    }
    let mut problem = problem.unwrap_or_else(|| Box::new(Problem::of_status(status)));
    if let Some(id) = id {
        problem.extra.insert("request_id".to_owned(), Value::String(id.to_string()));
        problem.extra.insert("instance".to_owned(), Value::String(format!("urn:insula:request:{id}")));
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    *response.body_mut() = Body::from(body);
    response
}
