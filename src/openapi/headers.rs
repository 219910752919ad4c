//! The headers of answers: which there are, and which answer may have which.

use serde_json::{Map, Value, json};

const EVERY_ANSWER: [&str; 3] = ["X-Request-Id", "Cache-Control", "Access-Control-Allow-Origin"];
const LIMITED: [&str; 3] = ["RateLimit-Policy", "RateLimit", "RateLimit-Notice"];

pub fn declare(document: &mut Value) {
    document["components"]["headers"] = all();
    let read = document.clone();
    for (_, _, operation) in super::each(document) {
        let limited = operation["security"] != json!([]);
        let takes = |operation: &Value, name: &str| {
            let parameters = operation["parameters"].as_array();
            parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name))
        };
        let (replays, prefers) = (takes(operation, "Idempotency-Key"), takes(operation, "Prefer"));
        let tagged = takes(operation, "If-None-Match");
        for (status, response) in super::entries(operation, "/responses") {
            let mut names = EVERY_ANSWER.to_vec();
            if limited {
                names.extend(LIMITED);
            }
            names.extend(of_status(status));
            let success = status.starts_with('2');
            if success && replays {
                names.push("Idempotent-Replayed");
            }
            if success && prefers {
                names.push("Preference-Applied");
                // What was changed, where nobody wants to read it.
                names.extend((status == "204").then_some("ETag"));
            }
            let content = response["content"].as_object();
            let schema = content.and_then(|content| content.values().next()).map(|media| &media["schema"]);
            // Work that is still to be done can be asked after.
            names.extend((status == "202" && schema.is_some()).then_some("Location"));
            if let Some(schema) = schema.filter(|_| success) {
                let properties = properties(&read, schema);
                let says = |name| properties.iter().any(|known| known == name);
                names.extend(says("next_cursor").then_some("Link"));
                names.extend((says("version") || tagged).then_some("ETag"));
            }
            let mut declared = response["headers"].as_object().cloned().unwrap_or_default();
            for name in names {
                let reference = || json!({"$ref": format!("#/components/headers/{name}")});
                declared.entry(name).or_insert_with(reference);
            }
            response["headers"] = declared.into();
        }
    }
}

fn of_status(status: &str) -> &'static [&'static str] {
    match status {
        "201" => &["Location"],
        "304" => &["ETag"],
        "401" => &["WWW-Authenticate"],
        "429" | "503" => &["Retry-After"],
        _ => &[],
    }
}

/// The names of an object's properties, those of its parts included.
fn properties(document: &Value, schema: &Value) -> Vec<String> {
    let schema = super::resolve(document, schema);
    let own = schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.chain(parts.flat_map(|part| properties(document, part))).collect()
}

fn all() -> Value {
    let text = |about: &str, example: &str, longest: usize| {
        json!({
            "description": about,
            "schema": {"type": "string", "maxLength": longest, "pattern": "^[ -~]*$"},
            "example": example,
        })
    };
    json!({
        "X-Request-Id": {
            "description": "Names the request, in logs, receipts and problems.",
            "required": true,
            "schema": {"$ref": "#/components/schemas/RequestId"},
            "example": super::problems::REQUEST,
        },
        "Cache-Control": text("Who may keep the answer, and for how long.", "no-store", 200),
        "Access-Control-Allow-Origin": text(
            "For pages of an origin that the server's configuration allows, and then that origin.",
            "https://app.example.com", 300,
        ),
        "RateLimit-Policy": text(
            "The limits that count this request: name, quota `q` and window `w` in seconds \
             (draft-ietf-httpapi-ratelimit-headers-10). Missing where it is not known who asks.",
            "\"user\";q=120;w=60, \"org\";q=600;w=60", 2000,
        ),
        "RateLimit": text(
            "What is left of each, tightest first: units `r`, and seconds `t` until there is more. \
             Missing where it is not known who asks.",
            "\"user\";r=117;t=1, \"org\";r=480;t=1", 2000,
        ),
        "RateLimit-Notice": text("Lower limits that are announced, and from when.", "\"user\";q=60;w=60;at=1767225600", 2000),
        "Retry-After": {
            "description": "Seconds to wait before it is worth asking again. Missing where no wait helps.",
            "schema": {"type": "integer", "format": "int32", "minimum": 1, "maximum": i32::MAX},
            "example": 2,
        },
        "ETag": text(
            "Of one resource its version, to be sent as `If-Match`. A weak one (`W/`) is of the whole answer, and good for \
             `If-None-Match` alone.",
            "\"3\"", 200,
        ),
        "Link": text(
            "Where the pages beside this one are (RFC 8288).",
            "</api/v1/products?limit=20&cursor=eyJrIjoiMSJ9>; rel=\"next\"", 8000,
        ),
        "Location": text(
            "Where what was made can be fetched.",
            "/api/v1/products/prd_01jd8yq3c5f4x7t9k2m6n8p0rs", 500,
        ),
        "Idempotent-Replayed": {
            "description": "Sent where an earlier request with this Idempotency-Key was answered so.",
            "schema": {"type": "string", "const": "true"},
            "example": "true",
        },
        "Preference-Applied": text(
            "Which of the request's preferences was met (RFC 7240).", "return=minimal", 200,
        ),
        "WWW-Authenticate": text(
            "How to come in (RFC 6750, RFC 9470).",
            "Bearer realm=\"insula\", error=\"invalid_token\"", 500,
        ),
    })
}
