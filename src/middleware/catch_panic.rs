//! A panic is a clean 500, and a line in the log.

use crate::error::Error;
use anyhow::anyhow;
use axum::response::{IntoResponse as _, Response};
use std::any::Any;

#[expect(clippy::needless_pass_by_value, reason = "the shape that tower-http calls")]
pub fn answer(panic: Box<dyn Any + Send>) -> Response {
    let message =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::Internal(anyhow!("panicked: {}", message.unwrap_or("without a message"))).into_response()
}
