//! JSON bodies in, checked field by field, and JSON answers out.

use crate::{
    authn::password::TOO_COMMON,
    error::{Error, Flaw, Problem, Result},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use utoipa::ToSchema;

/// As an argument, a body that was read and found valid; as an answer, `application/json`.
///
/// # Errors
/// 400 for what is no JSON, 413, 415, and 422 with a pointer to each place that is wrong.
pub struct Json<T>(pub T);

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if !is_json(request.headers()) {
            let problem = Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return Err(Error::Unacceptable(Box::new(problem)));
        }
        let body =
            Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
                status @ StatusCode::PAYLOAD_TOO_LARGE => {
                    Error::Unacceptable(Box::new(Problem::of_status(status)))
                }
                _ => Error::malformed("body_incomplete", "the body did not arrive whole"),
            })?;
        read(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
            }
            Err(error) => Error::Internal(error.into()).into_response(),
        }
    }
}

/// The body of an action: `{}` or nothing at all.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct Action {}

impl<S: Send + Sync> FromRequest<S> for Action {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        if !chunked && length.is_none_or(|length| length == "0") {
            return Ok(Self {});
        }
        Ok(Json::<Self>::from_request(request, state).await?.0)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/merge-patch+json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

/// What a body says, or a line of a file that is as good as one.
///
/// # Errors
/// Malformed where it is no JSON, and Invalid with a pointer to each place that is wrong.
pub fn read<T: DeserializeOwned + Validate<Context = ()>>(body: &[u8]) -> Result<T> {
    let mut source = serde_json::Deserializer::from_slice(body);
    let value: T = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        let pointer = pointer(error.path().iter().map(|part| match part {
            serde_path_to_error::Segment::Seq { index } => index.to_string(),
            serde_path_to_error::Segment::Map { key } => key.clone(),
            serde_path_to_error::Segment::Enum { variant } => variant.clone(),
            serde_path_to_error::Segment::Unknown => String::new(),
        }));
        match error.inner().classify() {
            serde_json::error::Category::Data => {
                Error::Invalid(vec![flaw(&pointer, &error.inner().to_string())])
            }
            // What stands where one of some words is expected, like a null, serde takes for no JSON at all.
            _ if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Error::Invalid(vec![Flaw::new(
                pointer,
                "invalid",
                "is none of the values that can stand here",
            )]),
            _ => Error::malformed("malformed_json", format!("the body is no JSON: {}", error.inner())),
        }
    })?;
    source
        .end()
        .map_err(|error| Error::malformed("malformed_json", format!("the body is no JSON: {error}")))?;
    // Serde reads an array as a struct too, field by field in their order, which nobody was promised.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Error::invalid("", "invalid", "expected a JSON object"));
    }
    if holds_nul(body) {
        return Err(Error::invalid("", "nul_character", "text can't hold the character U+0000"));
    }
    value.validate().map_err(|report| {
        let flaws = report.iter().map(|(path, error)| {
            // Garde writes `lines[0].quantity`.
            let parts = path.to_string().replace(['[', ']'], ".");
            let parts =
                parts.split('.').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>();
            let code = if error.message() == TOO_COMMON { "common_password" } else { "invalid" };
            Flaw::new(pointer(parts.into_iter()), code, error.message())
        });
        Error::Invalid(flaws.collect())
    })?;
    Ok(value)
}

/// RFC 6901.
fn pointer(parts: impl Iterator<Item = String>) -> String {
    parts.flat_map(|part| ["/".to_owned(), part.replace('~', "~0").replace('/', "~1")]).collect()
}

fn flaw(pointer: &str, message: &str) -> Flaw {
    // Serde ends with the place in the text, which the pointer says better.
    let detail = without_values(message.split(" at line ").next().unwrap_or(message));
    let code = if detail.starts_with("unknown field") {
        "unknown_field"
    } else if detail.starts_with("missing field") {
        "missing_field"
    } else {
        "invalid"
    };
    // What is missing is pointed at too, not only the object it is missing from.
    let field = (code == "missing_field").then(|| detail.split('`').nth(1)).flatten();
    Flaw::new(field.map_or(pointer.to_owned(), |field| format!("{pointer}/{field}")), code, detail.as_str())
}

/// Serde repeats the value that it did not expect, which may be a password: `invalid type: integer `1234`, expected a
/// string` becomes `invalid type: integer, expected a string`.
fn without_values(message: &str) -> String {
    let tells_it = ["invalid type: ", "invalid value: ", "unknown variant "]
        .iter()
        .any(|start| message.starts_with(start));
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if tells_it => {
            let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}")
        }
        _ if tells_it => message.split(['`', '"']).next().unwrap_or_default().trim_end().to_owned(),
        _ => message.to_owned(),
    }
}

/// An escaped U+0000, which Postgres can't store in text: a `\u0000` after an even number of backslashes.
fn holds_nul(body: &[u8]) -> bool {
    const ESCAPE: &[u8] = b"\\u0000";
    body.windows(ESCAPE.len()).enumerate().any(|(at, window)| {
        window == ESCAPE && body[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Basket {
        #[garde(dive)]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[garde(range(min = 1))]
        quantity: i32,
        #[garde(skip)]
        #[expect(dead_code, reason = "read by serde")]
        note: Option<String>,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[garde(allow_unvalidated)]
    #[expect(dead_code, reason = "read by serde")]
    struct Light {
        colour: Colour,
    }

    #[derive(Debug, Deserialize)]
    enum Colour {
        Red,
    }

    #[test]
    fn what_is_none_of_some_words_is_pointed_at() {
        for body in [r#"{"colour": null}"#, r#"{"colour": 5}"#, r#"{"colour": "Blue"}"#, r#"{"colour": []}"#]
        {
            let Err(Error::Invalid(flaws)) = read::<Light>(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(flaws[0].pointer, "/colour", "{body}");
        }
        assert!(matches!(read::<Light>(br#"{"colour": nul}"#), Err(Error::Malformed { .. })));
        read::<Light>(br#"{"colour": "Red"}"#).unwrap();
    }

    fn flaws(body: &str) -> Vec<(String, &'static str)> {
        match read::<Basket>(body.as_bytes()) {
            Err(Error::Invalid(flaws)) => flaws.into_iter().map(|flaw| (flaw.pointer, flaw.code)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_flaw_points_at_its_place() {
        assert_eq!(flaws(r#"{"lines": [{"quantity": 0}]}"#), [("/lines/0/quantity".to_owned(), "invalid")]);
        assert_eq!(flaws(r#"{"lines": [{"quantity": "2"}]}"#), [("/lines/0/quantity".to_owned(), "invalid")]);
        assert_eq!(flaws(r#"{"lines": [{}]}"#), [("/lines/0/quantity".to_owned(), "missing_field")]);
        assert_eq!(flaws(r#"{"lines": [], "colour": 1}"#), [("/colour".to_owned(), "unknown_field")]);
        assert_eq!(
            flaws(r#"{"lines": [{"quantity": 1, "note": "\u0000"}]}"#),
            [(String::new(), "nul_character")]
        );
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        for (body, detail) in [
            (r#"{"lines": [{"quantity": "s3cret, expected \"x\""}]}"#, "invalid type: string, expected i32"),
            (r#"{"lines": [{"quantity": 73313373133731}]}"#, "invalid value: integer, expected i32"),
            (r#""s3cret""#, "invalid type: string, expected struct Basket"),
            (r#"{"lines": true}"#, "invalid type: boolean, expected a sequence"),
            (r#"{"lines": {}}"#, "invalid type: map, expected a sequence"),
        ] {
            let Err(Error::Invalid(flaws)) = read::<Basket>(body.as_bytes()) else {
                panic!("{body} is read")
            };
            assert_eq!(flaws[0].detail, detail, "{body}");
        }
        assert_eq!(
            without_values("unknown variant `s3cret`, expected `live` or `test`"),
            "unknown variant, expected `live` or `test`"
        );
    }

    #[test]
    fn a_body_that_is_no_json_is_malformed_and_not_invalid() {
        for body in ["", "{", "{} {}", "nonsense", "\u{feff}{}"] {
            assert!(matches!(read::<Action>(body.as_bytes()), Err(Error::Malformed { .. })), "{body:?}");
        }
        read::<Basket>(br#"{"lines": [{"quantity": 1, "note": "\\u0000"}]}"#).unwrap();
    }
}
