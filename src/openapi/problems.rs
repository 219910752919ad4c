//! Problems as the document shows them: the real ones, with what each kind says besides.

use crate::error::{Error, Flaw, Problem};
use axum::{http::StatusCode, response::IntoResponse as _};
use serde_json::{Map, Value, json};

/// The request of every example.
pub const REQUEST: &str = "req_01jd8yq3c5f4x7t9k2m6n8p0rs";

/// What kinds of problems say besides, written into the schema that all share.
pub fn describe(document: &mut Value) {
    let words = |about: &str| json!({"type": "array", "description": about, "maxItems": 100, "items": {"type": "string", "maxLength": 200}});
    let schema = &mut document["components"]["schemas"]["Problem"];
    let Some(properties) = schema["properties"].as_object_mut() else { return };
    let further = json!({
        "instance": {"type": "string", "format": "uri", "maxLength": 60, "description": "The request, as a URN."},
        "request_id": {"$ref": "#/components/schemas/RequestId"},
        "errors": {"type": "array", "description": "Of a 422: each place that is wrong.", "maxItems": 1000,
                   "items": {"$ref": "#/components/schemas/Flaw"}},
        "permission": {"type": "string", "description": "Of a 403: what is missing.", "maxLength": 100},
        "your_roles": words("Of a 403: the caller's roles."),
        "granted_by": words("Of a 403: the roles that hold the permission."),
        "violated_policies": words("Of a 429: the limits that are used up."),
        "limits": {"type": "array", "description": "Of a 429: how each of those stands.", "maxItems": 100,
                   "items": {"type": "object"}},
        "explain_url": {"type": "string", "description": "Of a 403 or 429: where it is explained.", "maxLength": 200},
    });
    if let Value::Object(further) = further {
        properties.extend(further);
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend([json!("instance"), json!("request_id")]);
    }
}

/// The examples of an operation's answer with a `status` from 400 up, by their codes.
pub fn examples(operation: &Value, status: &str, response: &Value) -> Vec<(String, Value)> {
    let description = response["description"].as_str().unwrap_or_default();
    let Ok(code) = StatusCode::from_bytes(status.as_bytes()) else { return Vec::new() };
    let named = codes(description);
    if !named.is_empty() {
        let detail = description.split(" (`").next().unwrap_or_default();
        return named.into_iter().map(|name| said(named_problem(code, name, detail))).collect();
    }
    usual(operation, code).into_iter().map(said).collect()
}

/// Those that an answer's description ends with: ``It is taken (`name_taken`, `sku_taken`).``
fn codes(description: &str) -> Vec<&str> {
    let end = description.trim_end_matches('.').strip_suffix("`)");
    let Some((_, codes)) = end.and_then(|text| text.rsplit_once("(`")) else { return Vec::new() };
    codes.split("`, `").collect()
}

fn named_problem(status: StatusCode, code: &str, detail: &str) -> Value {
    let mut problem = body(Problem::new(status, "named", detail));
    problem["code"] = json!(code);
    problem["type"] = json!(format!("urn:insula:problem:{code}"));
    problem
}

fn usual(operation: &Value, status: StatusCode) -> Vec<Value> {
    let public = operation["security"] == json!([]);
    let permission = operation["x-permission"].as_str();
    let of_status = || vec![body(Problem::of_status(status))];
    match status {
        StatusCode::BAD_REQUEST => unreadable(operation),
        StatusCode::UNAUTHORIZED if !public => vec![error(Error::Unauthenticated {
            code: "unauthenticated",
            detail: "send an access token or an API key as Authorization: Bearer",
        })],
        StatusCode::FORBIDDEN => vec![body(match permission {
            Some(permission) => Problem::new(
                status,
                "permission_denied",
                format!(
                    "this needs the permission {permission}: ask an admin for one of the roles owner, admin"
                ),
            )
            .with("permission", permission)
            .with("your_roles", vec!["viewer"])
            .with("granted_by", vec!["owner", "admin"])
            .with("grantors", 2)
            .with("explain_url", format!("/api/v1/decisions/{REQUEST}")),
            None => Problem::of_status(status),
        })],
        StatusCode::PRECONDITION_FAILED => vec![error(Error::Stale)],
        StatusCode::UNPROCESSABLE_ENTITY => {
            vec![error(Error::Invalid(vec![Flaw::new("/name", "missing_field", "missing field `name`")]))]
        }
        StatusCode::PRECONDITION_REQUIRED => vec![error(Error::MissingPrecondition)],
        StatusCode::TOO_MANY_REQUESTS => vec![used_up(operation, public)],
        StatusCode::SERVICE_UNAVAILABLE => {
            vec![error(Error::Unavailable("the database is out of reach; try again in a moment"))]
        }
        StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::NOT_FOUND
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => of_status(),
        _ => Vec::new(),
    }
}

fn unreadable(operation: &Value) -> Vec<Value> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let query = parameters.clone().any(|parameter| parameter["in"] == "query");
    let mut problems = Vec::new();
    if operation.get("requestBody").is_some() {
        let detail = "the body is no JSON: EOF while parsing an object at line 1 column 1";
        problems.push(error(Error::malformed("malformed_json", detail)));
    }
    if query {
        problems.push(error(Error::malformed("unknown_parameter", "there is no parameter `colour` here")));
    }
    if problems.is_empty() {
        problems.push(body(Problem::of_status(StatusCode::BAD_REQUEST)));
    }
    problems
}

fn used_up(operation: &Value, public: bool) -> Value {
    let (detail, policy) = if public {
        ("too many attempts from your address: wait 2 s", "ip")
    } else {
        ("the limit user of your tier is used up: wait 2 s", "user")
    };
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
        .with("violated_policies", vec![policy]);
    if !public {
        problem = problem.with(
            "limits",
            json!([{"policy": policy, "scope": "user", "limit": 120, "used": 120, "cost": operation[super::COST],
                    "next_at": "2026-01-31T09:30:02Z", "source": "tier"}]),
        );
        problem = problem.with("explain_url", format!("/api/v1/decisions/{REQUEST}"));
    }
    "https://iana.org/assignments/http-problem-types#quota-exceeded".clone_into(&mut problem.kind);
    body(problem)
}

fn said(problem: Value) -> (String, Value) {
    (problem["code"].as_str().unwrap_or_default().to_owned(), problem)
}

fn error(error: Error) -> Value {
    let mut response = error.into_response();
    response.extensions_mut().remove::<Box<Problem>>().map_or(Value::Null, |problem| body(*problem))
}

/// As `middleware::problem` writes it.
fn body(mut problem: Problem) -> Value {
    let further = [("request_id", REQUEST.to_owned()), ("instance", format!("urn:insula:request:{REQUEST}"))];
    problem.extra.extend(
        further.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect::<Map<_, _>>(),
    );
    serde_json::to_value(problem).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::codes;

    #[test]
    fn the_codes_of_an_answer_are_those_that_its_description_ends_with() {
        assert_eq!(codes("It is taken (`sku_taken`, `name_taken`)."), ["sku_taken", "name_taken"]);
        assert_eq!(codes("`move_to` is missing."), [] as [&str; 0]);
    }
}
