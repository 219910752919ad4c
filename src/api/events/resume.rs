//! Where a listener was, as a header or a parameter says it.

use crate::error::{Error, Result};
use axum::http::HeaderMap;
use serde::{Deserialize, de::IgnoredAny};
use utoipa::IntoParams;

const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Resume {
    /// The `seq` of the last event that was seen, for whoever can't send `Last-Event-ID`, which counts where both are there.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// The door's.
    #[param(ignore)]
    #[serde(rename = "ticket")]
    _ticket: Option<IgnoredAny>,
}

impl Resume {
    /// The number of the last event that the listener knows.
    ///
    /// # Errors
    /// 400 where it can't be one.
    pub fn after(&self, headers: &HeaderMap) -> Result<Option<i64>> {
        if let Some(last) = headers.get(LAST_EVENT_ID) {
            let last = last.to_str().ok().and_then(|last| last.parse().ok()).filter(|last| *last >= 0);
            return last.map(Some).ok_or_else(|| {
                Error::malformed("bad_header", "Last-Event-ID is the id of an event of this stream: a number")
            });
        }
        match self.after {
            Some(after) if after < 0 => {
                Err(Error::malformed("bad_parameter", "`after` is the seq of an event: not below 0"))
            }
            after => Ok(after),
        }
    }
}
