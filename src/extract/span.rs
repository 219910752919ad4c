//! Which minutes a question is about.

use crate::error::{Error, Result};
use time::{Duration, OffsetDateTime};

#[derive(Clone, Copy)]
pub struct Span {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
}

impl Span {
    /// By whole minutes, as they are counted: the one that `to` is in belongs to it where `to` is now. An hour, unless
    /// `from` is said.
    pub fn of(from: Option<OffsetDateTime>, to: Option<OffsetDateTime>, now: OffsetDateTime) -> Result<Self> {
        let to = to.unwrap_or(now);
        let from = match from {
            Some(from) => from,
            None => {
                to.checked_sub(Duration::HOUR).ok_or_else(|| unusable("to: there is no time before it"))?
            }
        };
        let minute = from.unix_timestamp().rem_euclid(60);
        let from = from
            .replace_nanosecond(0)
            .ok()
            .and_then(|from| from.checked_sub(Duration::seconds(minute)))
            .ok_or_else(|| unusable("from: out of reach"))?;
        if from >= to { Err(unusable("from: not before `to`")) } else { Ok(Self { from, to }) }
    }

    pub fn length(self) -> Duration {
        self.to - self.from
    }
}

fn unusable(detail: &str) -> Error {
    Error::malformed("bad_parameter", detail)
}
