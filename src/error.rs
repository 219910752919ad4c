//! What can go wrong, by what the client can do about it, and how that looks as RFC 9457 problem+json.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One variant per client action; the cause of the last one is for the log alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: the request could not be read.
    #[error("{detail}")]
    Malformed { code: &'static str, detail: String },
    /// 401: sign in (again).
    #[error("{detail}")]
    Unauthenticated { code: &'static str, detail: &'static str },
    /// 401: give the code of a second factor too, for this challenge.
    #[error("a second factor is needed")]
    SecondFactor { challenge: SecretString, expires_in: i64 },
    /// 403: ask for access, with what the refusal explains.
    #[error("{0:?}")]
    Forbidden(Box<Problem>),
    /// 404: another org's, deleted, never there or malformed; all look the same.
    #[error("not found")]
    NotFound,
    /// 409: the state of things is against it.
    #[error("{detail}")]
    Conflict { code: &'static str, detail: String },
    /// 409: something that is named stands in the way.
    #[error("{0:?}")]
    Blocked(Box<Problem>),
    /// 409: an earlier request has made it, and its answer can't be repeated: fetch what it made.
    #[error("{id} was created before")]
    AlreadyCreated { id: String },
    /// 412: fetch it again, somebody was faster.
    #[error("the version named by If-Match is gone")]
    Stale,
    /// 413, 415, 426: send it differently.
    #[error("{0:?}")]
    Unacceptable(Box<Problem>),
    /// 422: mend the named places of the body.
    #[error("invalid: {0:?}")]
    Invalid(Vec<Flaw>),
    /// 428: say which version is meant.
    #[error("If-Match is missing")]
    MissingPrecondition,
    /// 429: wait.
    #[error("{0:?}")]
    Limited(Box<Problem>),
    /// 503: try again in a moment.
    #[error("{0}")]
    Unavailable(&'static str),
    /// 503: send fewer at a time.
    #[error("too many requests of one organisation at a time")]
    Crowded,
    /// 500: call us.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// A place in the body and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Flaw {
    /// JSON Pointer (RFC 6901) into the body.
    #[schema(example = "/price/amount", max_length = 500)]
    pub pointer: String,
    #[schema(example = "invalid", max_length = 60)]
    pub code: &'static str,
    #[schema(example = "lower than 0", max_length = 500)]
    pub detail: String,
}

impl Flaw {
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

/// The body of every answer from 400 up: RFC 9457 problem details.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:insula:problem:not_found", max_length = 200)]
    pub kind: String,
    #[schema(example = "Not Found", max_length = 100)]
    pub title: String,
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16, example = 404, minimum = 400, maximum = 599)]
    pub status: StatusCode,
    /// For the person who must act on it.
    #[schema(example = "there is nothing at this address", max_length = 1000)]
    pub detail: String,
    /// For the program that must act on it; stable.
    #[schema(example = "not_found", max_length = 60)]
    pub code: &'static str,
    /// What this kind of problem says besides: `errors`, `permission`, `limits` and the like.
    #[serde(flatten)]
    #[schema(ignore)]
    pub extra: Map<String, Value>,
    #[serde(skip)]
    #[schema(ignore)]
    pub headers: HeaderMap,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:insula:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status,
            detail: detail.into(),
            code,
            extra: Map::new(),
            headers: HeaderMap::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(member.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// The problem of a bare status: what the framework refused before any of our code ran.
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::BAD_REQUEST => ("bad_request", "the request could not be read"),
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this address has other methods: see the Allow header")
            }
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "the request took too long to arrive"),
            StatusCode::PAYLOAD_TOO_LARGE => {
                ("payload_too_large", "the body is larger than is accepted here")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("unsupported_media_type", "send the body as application/json")
            }
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "try again in a moment"),
            status if status.is_client_error() => ("refused", "the request was refused"),
            _ => ("internal", "something broke on our side; it is logged under this request_id"),
        };
        Self::new(status, code, detail)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Error {
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Malformed { code, detail: detail.into() }
    }

    /// What the session, or the person whose it was, comes to: also where that is seen before it is heard of.
    pub fn session_ended() -> Self {
        Self::Unauthenticated { code: "session_ended", detail: "this session has ended: sign in again" }
    }

    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    pub fn invalid(pointer: &str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Flaw::new(pointer, code, detail)])
    }

    /// As it is told; what the log alone may know is written there.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Malformed { code, detail } => Problem::new(StatusCode::BAD_REQUEST, code, detail),
            Self::Unauthenticated { code, detail } => Problem::new(StatusCode::UNAUTHORIZED, code, detail)
                .header(header::WWW_AUTHENTICATE, challenge(code)),
            Self::SecondFactor { challenge: token, expires_in } => Problem::new(
                StatusCode::UNAUTHORIZED,
                "mfa_required",
                "send this challenge with a code of your authenticator app to POST /api/v1/auth/login/totp",
            )
            .with("challenge", token.expose_secret())
            .with("expires_in", expires_in)
            .header(header::WWW_AUTHENTICATE, challenge("mfa_required")),
            Self::NotFound => Problem::of_status(StatusCode::NOT_FOUND),
            Self::Conflict { code, detail } => Problem::new(StatusCode::CONFLICT, code, detail),
            Self::AlreadyCreated { id } => Problem::new(
                StatusCode::CONFLICT,
                "already_created",
                format!("a request with this Idempotency-Key has made {id}; its secret was shown then, and is never again"),
            )
            .with("id", id),
            Self::Stale => Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "stale",
                "it has changed since you fetched it: fetch it again, and send its ETag as If-Match",
            ),
            Self::Invalid(flaws) => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "some values can't be accepted: see errors",
            )
            .with("errors", serde_json::to_value(flaws).unwrap_or_default()),
            Self::MissingPrecondition => Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if_match_required",
                "send the ETag you last saw as If-Match, or * to overwrite whatever is there",
            ),
            Self::Forbidden(problem)
            | Self::Blocked(problem)
            | Self::Unacceptable(problem)
            | Self::Limited(problem) => *problem,
            Self::Unavailable(detail) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            Self::Crowded => Problem {
                kind: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity".to_owned(),
                ..Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "temporary_reduced_capacity",
                    "too many requests of your organisation are being worked on: send fewer at a time, and try again in a moment",
                )
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
            },
            Self::Internal(cause) => {
                tracing::error!(error = format!("{cause:#}"), "internal error");
                Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// RFC 6750: a request without credentials is told the scheme only, a bad token its error.
fn challenge(code: &str) -> HeaderValue {
    HeaderValue::from_static(match code {
        "unauthenticated" => r#"Bearer realm="insula""#,
        "mfa_required" => r#"Bearer realm="insula", error="insufficient_user_authentication""#,
        // RFC 9470
        "step_up_required" => {
            r#"Bearer realm="insula", error="insufficient_user_authentication", max_age="300""#
        }
        _ => r#"Bearer realm="insula", error="invalid_token""#,
    })
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.into_problem().into_response()
    }
}

/// Travels as a response extension until `middleware::problem` writes it down with the request's id.
impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let mut response = self.status.into_response();
        *response.headers_mut() = std::mem::take(&mut self.headers);
        response.extensions_mut().insert(Box::new(self));
        response
    }
}

impl From<sqlx::Error> for Error {
    /// Never guesses a 404, and never lets the driver's text out.
    fn from(error: sqlx::Error) -> Self {
        if transient(&error) {
            tracing::warn!(%error, "the database is out of reach");
            return Self::Unavailable("the database is out of reach; try again in a moment");
        }
        Self::Internal(error.into())
    }
}

/// True for what passes by itself: a full pool, a lost or refused connection, a restart, a lost race.
pub fn transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => true,
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| {
            // Classes: connection, out of resources, operator intervention, rollback (deadlock, serialization).
            ["08", "53", "57P", "57014", "40", "55P03"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

pub trait SqlExt<T> {
    /// Turns the violation of one named constraint into the answer it deserves.
    fn on_constraint(self, name: &str, answer: impl FnOnce() -> Error) -> Result<T>;
}

impl<T, E: Into<Error>> SqlExt<T> for Result<T, E> {
    fn on_constraint(self, name: &str, answer: impl FnOnce() -> Error) -> Result<T> {
        self.map_err(|error| match error.into() {
            Error::Internal(cause) if violates(&cause, name) => answer(),
            error => error,
        })
    }
}

fn violates(cause: &anyhow::Error, name: &str) -> bool {
    cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .is_some_and(|refusal| refusal.constraint() == Some(name))
}

pub trait OptionExt<T> {
    fn or_not_found(self) -> Result<T>;
}

impl<T> OptionExt<T> for Option<T> {
    fn or_not_found(self) -> Result<T> {
        self.ok_or(Error::NotFound)
    }
}
