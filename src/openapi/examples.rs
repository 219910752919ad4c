//! An example of every body and parameter, put together from what the schemas say of themselves.

use serde_json::{Map, Value, json};

const MOMENT: &str = "2030-01-31T09:30:00Z";
/// Deeper than any answer goes; a schema that holds itself ends here.
const DEEPEST: usize = 16;

pub fn illustrate(document: &mut Value) {
    let read = document.clone();
    for (_, _, operation) in super::each(document) {
        for parameter in super::parameters(operation) {
            if parameter.get("example").is_none()
                && parameter.get("examples").is_none()
                && let Some(example) = parameter_example(&read, parameter)
            {
                parameter["example"] = example;
            }
        }
        let content = super::entries(operation, "/requestBody/content");
        for (_, media) in content {
            let example = request(&read, &media["schema"]);
            offer(media, example);
        }
        let asked = operation.clone();
        for (status, response) in super::entries(operation, "/responses") {
            if status.as_str() >= "400" {
                let problems = super::problems::examples(&asked, status, response);
                let named = problems.into_iter().map(|(code, problem)| (code, json!({"value": problem})));
                if let Some(media) = response.pointer_mut("/content/application~1problem+json")
                    && media.get("examples").is_none()
                {
                    media["examples"] = Value::Object(named.collect());
                }
                continue;
            }
            for (_, media) in super::entries(response, "/content") {
                let example = answer(&read, &media["schema"]);
                offer(media, example);
            }
        }
    }
}

fn offer(media: &mut Value, example: Option<Value>) {
    if media.get("example").is_none()
        && media.get("examples").is_none()
        && let Some(example) = example
    {
        media["example"] = example;
    }
}

/// What an acceptable request holds: all that is required, and whatever else has an example of its own.
pub fn request(document: &Value, schema: &Value) -> Option<Value> {
    Builder { document, whole: false }.value("", schema, 0)
}

/// An answer with all that it may hold.
pub fn answer(document: &Value, schema: &Value) -> Option<Value> {
    Builder { document, whole: true }.value("", schema, 0)
}

fn parameter_example(document: &Value, parameter: &Value) -> Option<Value> {
    match parameter["name"].as_str()? {
        "If-Match" | "If-None-Match" => Some(json!("\"3\"")),
        "Idempotency-Key" => Some(json!("8e03978e-40d5-43dd-bc93-6894a57f9324")),
        // What it is can only be learnt from the page before.
        "cursor" => None,
        name => Builder { document, whole: false }.value(name, &parameter["schema"], 0),
    }
}

struct Builder<'a> {
    document: &'a Value,
    whole: bool,
}

impl Builder<'_> {
    fn value(&self, name: &str, schema: &Value, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        if let Some(own) = own(schema) {
            return Some(own);
        }
        let schema = super::resolve(self.document, schema);
        if let Some(own) = own(schema) {
            return Some(own);
        }
        for choices in [&schema["oneOf"], &schema["anyOf"]] {
            if let Some(choice) =
                choices.as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"))
            {
                return self.value(name, choice, depth + 1);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut whole = Map::new();
            for part in parts {
                if let Some(Value::Object(part)) = self.value(name, part, depth + 1) {
                    whole.extend(part);
                }
            }
            return Some(Value::Object(whole));
        }
        match kind(schema) {
            "object" => Some(self.object(schema, depth)),
            "array" => {
                let item = self.value(name, &schema["items"], depth + 1);
                let fewest = schema["minItems"].as_u64().and_then(|fewest| usize::try_from(fewest).ok());
                Some(item.into_iter().flat_map(|item| vec![item; fewest.unwrap_or(1).max(1)]).collect())
            }
            "string" => Some(text(name, schema)),
            "integer" => Some(json!(schema["minimum"].as_i64().unwrap_or(1).max(1))),
            "number" => Some(json!(0.5)),
            "boolean" => Some(json!(true)),
            // Whatever stands here.
            "" => Some(json!("anything")),
            _ => None,
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let mut object: Map<String, Value> = properties
            .filter(|(name, property)| {
                self.whole || required.contains(&name.as_str()) || property.get("example").is_some()
            })
            .filter_map(|(name, property)| Some((name.clone(), self.value(name, property, depth + 1)?)))
            .collect();
        let others = &schema["additionalProperties"];
        if self.whole && object.is_empty() && others.is_object() {
            object.extend(self.value("", others, depth + 1).map(|value| ("name".to_owned(), value)));
        }
        Value::Object(object)
    }
}

/// What a schema says of itself.
fn own(schema: &Value) -> Option<Value> {
    let said = [&schema["example"], &schema["examples"][0], &schema["const"], &schema["default"]];
    let said = said.into_iter().find(|said| !said.is_null());
    let chosen = || schema["enum"].as_array()?.iter().find(|value| !value.is_null());
    said.or_else(chosen).cloned()
}

fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(only) => only,
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default()
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "",
    }
}

fn text(name: &str, schema: &Value) -> Value {
    let text = match schema["format"].as_str() {
        Some("date-time") => MOMENT,
        Some("date") => "2026-01-31",
        Some("email") => "ada@example.com",
        Some("uri") => "https://example.com/",
        Some("uuid") => "0193518d-5d83-7c0a-9f3e-2b1c6a4d8e70",
        Some("ipv4") => "203.0.113.7",
        _ if name.is_empty() => "text",
        _ => name,
    };
    json!(text)
}
