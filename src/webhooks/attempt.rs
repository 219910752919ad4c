//! One request to an endpoint, and what became of it.

use crate::ids::AttemptId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;
use utoipa::ToSchema;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = WebhookOutcome)]
pub enum Outcome {
    /// Answered with a status of 200 to 299.
    Succeeded,
    /// Answered with another, that is no redirection either.
    Refused,
    /// Answered with a status of 300 to 399: redirections are not followed.
    Redirected,
    /// There was no answer in time.
    TimedOut,
    /// The name is not known, or there was no connection, or it broke off.
    Unreachable,
    /// The certificate is not to be trusted, or there was no agreement on TLS.
    TlsFailed,
    /// The address is not on the open internet: nothing was sent.
    ForbiddenAddress,
}

impl Outcome {
    pub const WORDS: &'static [&'static str] = &[
        "succeeded",
        "refused",
        "redirected",
        "timed_out",
        "unreachable",
        "tls_failed",
        "forbidden_address",
    ];

    /// Of what was answered with `status`.
    pub const fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Succeeded,
            300..=399 => Self::Redirected,
            _ => Self::Refused,
        }
    }

    pub const fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

pub struct Attempt {
    pub id: AttemptId,
    /// By the platform's clock, when it began.
    pub at: OffsetDateTime,
    pub took: Duration,
    pub outcome: Outcome,
    pub status: Option<u16>,
    /// By name; of several of a name, one text.
    pub request_headers: Value,
    pub response_headers: Option<Value>,
    /// The beginning, as far as it came in time.
    pub response_body: Option<String>,
    /// What went wrong besides the status, for whoever runs the endpoint.
    pub error: Option<String>,
    /// How long the endpoint wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Attempt {
    /// That something is wrong, before there is any answer.
    pub fn failed(
        at: OffsetDateTime,
        took: Duration,
        request_headers: Value,
        (outcome, error): (Outcome, String),
    ) -> Self {
        Self {
            id: AttemptId::new(),
            at,
            took,
            outcome,
            status: None,
            request_headers,
            response_headers: None,
            response_body: None,
            error: Some(error),
            retry_after: None,
        }
    }

    /// In a few words: the status, or why there is none.
    pub fn answer(&self) -> String {
        match (self.status, &self.error) {
            (Some(status), _) => format!("status {status}"),
            (None, Some(error)) => error.clone(),
            (None, None) => self.outcome.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_the_word_that_it_is_written_as() {
        for status in [200, 299, 300, 399, 400, 199, 500] {
            let outcome = Outcome::of(status);
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for outcome in
            [Outcome::TimedOut, Outcome::Unreachable, Outcome::TlsFailed, Outcome::ForbiddenAddress]
        {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
