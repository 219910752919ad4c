//! Bounds of every value: those that follow from its kind, where a room has said nothing narrower.

use serde_json::{Value, json};

/// Texts without a bound of their own are names, codes and the like.
const LONGEST: usize = 1000;
const LONGEST_TIME: usize = 40;
const MOST: usize = 1000;

/// No text holds U+0000: bodies with it are refused, and Postgres can't store it.
const NO_NUL: &str = r"^[^\x00]*$";

pub fn tighten(document: &mut Value) {
    let schemas = super::entries(document, "/components/schemas");
    schemas.for_each(|(_, schema)| bound(schema));
    for (_, _, operation) in super::each(document) {
        for parameter in super::parameters(operation) {
            if parameter["name"] == "Idempotency-Key" {
                parameter["schema"] = json!({
                    "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$",
                });
            }
            // Nothing that they may say is wrong: what is not understood is passed over (RFC 7240, section 2; RFC 9110,
            // section 13.1.2).
            if parameter["name"] == "Prefer" || parameter["name"] == "If-None-Match" {
                parameter["schema"] = json!({"type": "string", "maxLength": 8000, "pattern": r"^[\s\S]*$"});
            }
            bound(&mut parameter["schema"]);
        }
        let content = super::entries(operation, "/requestBody/content");
        content.for_each(|(_, media)| bound(&mut media["schema"]));
        for (_, response) in super::entries(operation, "/responses") {
            let content = super::entries(response, "/content");
            content.for_each(|(_, media)| bound(&mut media["schema"]));
            let headers = super::entries(response, "/headers");
            headers.for_each(|(_, header)| bound(&mut header["schema"]));
        }
    }
}

fn bound(schema: &mut Value) {
    let Some(parts) = schema.as_object_mut() else { return };
    for inner in ["items", "additionalProperties", "propertyNames"] {
        parts.get_mut(inner).into_iter().for_each(bound);
    }
    let parts_of_it = parts.get_mut("allOf").and_then(Value::as_array_mut);
    parts_of_it.into_iter().flatten().for_each(may_be_missing);
    for inner in ["oneOf", "anyOf", "allOf"] {
        parts.get_mut(inner).and_then(Value::as_array_mut).into_iter().flatten().for_each(bound);
    }
    let properties = parts.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, property)| bound(property));

    if is(schema, "string") && schema.get("enum").is_none() && schema.get("const").is_none() {
        let longest = if schema["format"] == "date-time" { LONGEST_TIME } else { LONGEST };
        fill(schema, "maxLength", json!(longest));
        if schema.get("format").is_none() {
            fill(schema, "pattern", json!(NO_NUL));
        }
    }
    if is(schema, "integer") {
        fill(schema, "format", json!("int32"));
        let (lowest, highest) = match schema["format"].as_str() {
            Some("int64") => (i64::MIN, i64::MAX),
            _ => (i32::MIN.into(), i32::MAX.into()),
        };
        fill(schema, "minimum", json!(lowest));
        fill(schema, "maximum", json!(highest));
    }
    if is(schema, "array") {
        fill(schema, "maxItems", json!(MOST));
    }
}

/// A part of an object that may not be there leaves the object what it is: it does not make it null.
fn may_be_missing(part: &mut Value) {
    let Some(choices) = part.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    let before = choices.len();
    choices.retain(|choice| choice["type"] != "null");
    if choices.len() < before {
        choices.push(json!({"type": "object"}));
        let choices = std::mem::take(choices);
        *part = json!({"anyOf": choices});
    }
}

fn is(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        _ => false,
    }
}

fn fill(schema: &mut Value, key: &str, value: Value) {
    if let Some(parts) = schema.as_object_mut() {
        parts.entry(key).or_insert(value);
    }
}
