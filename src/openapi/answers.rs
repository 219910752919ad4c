//! Answers that any operation may give, where neither its room nor its door has said so.

use serde_json::{Value, json};

pub fn complete(operation: &mut Value) {
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let ours = [
        ("400", "The request can't be read."),
        ("403", "Plain HTTP is refused, where the server is told to (`https_required`)."),
        ("500", "Something broke on our side; it is logged under the `request_id`."),
    ];
    for (status, description) in ours {
        responses.entry(status).or_insert_with(|| {
            json!({
                "description": description,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            })
        });
    }
}
