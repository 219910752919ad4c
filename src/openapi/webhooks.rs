//! What the platform sends by itself: each type of event, in the form in which it is told.

use crate::events::{EVENT_TYPES, EventType};
use serde_json::{Value, json};

/// Writes them into the document, each as a request that a listener answers (OpenAPI 3.1, `webhooks`).
pub fn announce(document: &mut Value) {
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
            "requestBody": {"required": true, "content": {"application/json": {"schema": event}}},
            "responses": {"200": {"description": "It is taken."}},
        });
    }
}
