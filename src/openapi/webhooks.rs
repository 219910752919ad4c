//! What the platform sends by itself: each type of event, in the form in which it is told.

use crate::events::{EVENT_TYPES, EventType};
use serde_json::{Value, json};

/// Writes them into the document, each as a request that a listener answers (OpenAPI 3.1, `webhooks`).
pub fn announce(document: &mut Value) {
    document["components"]["parameters"] = headers();
    let sent: Vec<_> =
        HEADERS.iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})).collect();
    for EventType { name, about, schema, .. } in EVENT_TYPES {
        let mut data = json!({"type": "object", "required": ["object"]});
        if let Some(schema) = schema {
            data["properties"]["object"]["$ref"] = format!("#/components/schemas/{schema}").into();
        }
        let event = json!({"allOf": [
            {"$ref": "#/components/schemas/Event"},
            {"type": "object", "properties": {"type": {"const": name}, "data": data}},
        ]});
        document["webhooks"][*name]["post"] = json!({
            "summary": name,
            "description": about,
            "operationId": name.replace('.', "_"),
            "tags": ["events"],
            "parameters": sent,
            "requestBody": {"required": true, "content": {"application/json": {"schema": event}}},
            "responses": {"200": {"description": "It is taken."}},
        });
    }
}

const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// Of Standard Webhooks.
fn headers() -> Value {
    let header = |name: &str, about: &str, schema: Value, example: Value| json!({"name": name, "in": "header", "required": true, "description": about, "schema": schema, "example": example});
    let [id, timestamp, signature] = HEADERS;
    json!({
        id: header(
            id,
            "The event's id: the same however often it is sent.",
            json!({"$ref": "#/components/schemas/EventId"}),
            json!("evt_01jd8yq3c5f4x7t9k2m6n8p0rs"),
        ),
        timestamp: header(
            timestamp,
            "When it was sent, in seconds since 1970.",
            json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX}),
            json!(1_896_082_200),
        ),
        signature: header(
            signature,
            "A signature by each secret that signs, separated by spaces: `v1,` and, in base64, HMAC-SHA-256 of \
             `<webhook-id>.<webhook-timestamp>.<body>`.",
            json!({"type": "string", "maxLength": 500, "pattern": "^v1,[A-Za-z0-9+/=]+( v1,[A-Za-z0-9+/=]+)*$"}),
            json!("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ),
    })
}
