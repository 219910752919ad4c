//! The document, held against what is answered: status, content type, headers and body.

use super::Reply;
use jsonschema::{Validator, error::ValidationErrorKind};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

/// Headers that may only be sent where the document says so.
const TOLD: [&str; 10] = [
    "etag",
    "link",
    "location",
    "retry-after",
    "www-authenticate",
    "idempotent-replayed",
    "preference-applied",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-notice",
];

static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

struct Contract {
    document: Value,
    /// Those of the document, where no object may hold more than it says.
    schemas: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// Nothing to say of paths that are not documented: pages, keys and health. An answer that `is_cut` lacks what was not
/// asked for.
pub fn check(method: &Method, path: &str, is_cut: bool, reply: &Reply) -> Result<(), String> {
    let Some((template, item)) = CONTRACT.item(path) else { return Ok(()) };
    // The listener for metrics has none of our paths, and names no requests.
    if reply.status == 404 && reply.text.is_empty() && !reply.headers.contains_key("x-request-id") {
        return Ok(());
    }
    let method = method.as_str().to_lowercase();
    let Some(operation) = item.get(&method) else {
        let refused = [200, 405, 403].contains(&reply.status);
        return if refused { Ok(()) } else { Err("there is no such operation".to_owned()) };
    };
    let status = reply.status.to_string();
    let Some(response) = operation["responses"].get(&status) else {
        return Err(format!("its {status} is not documented"));
    };
    headers(response, reply)?;
    if reply.text.is_empty() && applied(reply, "return=minimal") {
        return Ok(());
    }
    let media = reply.header("content-type").split(';').next().unwrap_or_default();
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        return if reply.text.is_empty() { Ok(()) } else { Err("it should have no body".to_owned()) };
    };
    let Some(described) = content.get(media).or_else(|| content.get("*/*")) else {
        return Err(format!("its content is `{media}`"));
    };
    if !media.ends_with("json") || media.ends_with("ndjson") {
        return Ok(());
    }
    let body: Value = serde_json::from_str(&reply.text).map_err(|error| error.to_string())?;
    let validator = CONTRACT.validator(&format!("{method} {template} {status}"), &described["schema"]);
    let lacks = |kind: &ValidationErrorKind| matches!(kind, ValidationErrorKind::Required { .. });
    let flaws = validator.iter_errors(&body).filter(|flaw| !(is_cut && lacks(flaw.kind())));
    let flaws: Vec<String> = flaws.map(|flaw| format!("{}: {flaw}", flaw.instance_path())).collect();
    if !flaws.is_empty() {
        return Err(flaws.join("\n"));
    }
    let named =
        response["description"].as_str().is_some_and(|text| text.trim_end_matches('.').ends_with("`)"));
    let code = body["code"].as_str().unwrap_or_default();
    if reply.status >= 400 && named && described["examples"].get(code).is_none() {
        return Err(format!("the code `{code}` is none of those it names: {}", response["description"]));
    }
    Ok(())
}

/// Whether a preference was met.
fn applied(reply: &Reply, preference: &str) -> bool {
    reply.headers.get_all("preference-applied").iter().any(|applied| applied == preference)
}

fn headers(response: &Value, reply: &Reply) -> Result<(), String> {
    let documented = response["headers"].as_object().cloned().unwrap_or_default();
    let knows = |name: &str| documented.keys().any(|known| known.eq_ignore_ascii_case(name));
    if let Some(name) = TOLD.iter().find(|name| reply.headers.contains_key(**name) && !knows(name)) {
        return Err(format!("its header {name} is not documented"));
    }
    for (name, header) in &documented {
        let header = CONTRACT.resolve(header);
        let Some(value) = reply.headers.get(name) else {
            if header["required"] == true && !applied(reply, "dry-run") {
                return Err(format!("the header {name} is missing"));
            }
            continue;
        };
        let text = value.to_str().map_err(|error| error.to_string())?;
        let schema = CONTRACT.resolve(&header["schema"]);
        let value = if schema["type"] == "integer" {
            text.parse::<i64>().map_or(json!(text), Value::from)
        } else {
            json!(text)
        };
        let validator = CONTRACT.validator(&format!("header {name} {schema}"), schema);
        if !validator.is_valid(&value) {
            return Err(format!("the header {name} is {text}"));
        }
    }
    Ok(())
}

impl Contract {
    fn read() -> Self {
        let document: Value =
            serde_json::from_str(&insula::router::document("http://insula.test").unwrap()).unwrap();
        let mut schemas = document["components"]["schemas"].clone();
        let mut parts = Vec::new();
        find_parts(&document, &mut parts);
        for (name, schema) in schemas.as_object_mut().unwrap() {
            // A problem says more than all of them have in common, and what is part of another is closed by the whole.
            let open = name == "Problem" || parts.contains(name);
            close(schema, open);
        }
        Self { document, schemas, validators: Mutex::default() }
    }

    /// What is documented at a path; where several templates fit, the one with the fewest variables.
    fn item(&self, path: &str) -> Option<(&String, &Map<String, Value>)> {
        let paths = self.document["paths"].as_object().unwrap();
        let fitting = paths.iter().filter(|(template, _)| fits(template, path));
        let (template, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
        Some((template, item.as_object().unwrap()))
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                self.resolve(self.document.pointer(reference.trim_start_matches('#')).unwrap())
            }
            None => value,
        }
    }

    /// The schemas that one refers to, and those that they do: compiling all of them each time takes long.
    fn need(&self, schema: &Value, needed: &mut Map<String, Value>) {
        match schema {
            Value::Object(fields) => {
                let referred = fields.get("$ref").and_then(Value::as_str);
                if let Some(name) = referred.and_then(|path| path.strip_prefix("#/components/schemas/"))
                    && !needed.contains_key(name)
                {
                    needed.insert(name.to_owned(), self.schemas[name].clone());
                    self.need(&self.schemas[name], needed);
                }
                fields.values().for_each(|value| self.need(value, needed));
            }
            Value::Array(items) => items.iter().for_each(|item| self.need(item, needed)),
            _ => {}
        }
    }

    fn validator(&self, of: &str, schema: &Value) -> Arc<Validator> {
        if let Some(known) = self.validators.lock().unwrap().get(of) {
            return known.clone();
        }
        let mut schema = schema.clone();
        close(&mut schema, false);
        let mut needed = Map::new();
        self.need(&schema, &mut needed);
        schema["components"] = json!({"schemas": needed});
        let made = Arc::new(
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap(),
        );
        self.validators.lock().unwrap().entry(of.to_owned()).or_insert(made).clone()
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (said, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    said.len() == given.len()
        && said
            .iter()
            .zip(&given)
            .all(|(said, given)| said.starts_with('{') && !given.is_empty() || said == given)
}

/// The names of the schemas that are part of others.
fn find_parts(value: &Value, parts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for part in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                name_parts(part, parts);
            }
            fields.values().for_each(|value| find_parts(value, parts));
        }
        Value::Array(items) => items.iter().for_each(|item| find_parts(item, parts)),
        _ => {}
    }
}

fn name_parts(part: &Value, parts: &mut Vec<String>) {
    if let Some(name) = part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        parts.push(name.to_owned());
    }
    for choice in part["anyOf"].as_array().into_iter().flatten() {
        name_parts(choice, parts);
    }
}

/// Lets an object hold nothing but what its schema says.
fn close(schema: &mut Value, is_part: bool) {
    let Some(fields) = schema.as_object_mut() else { return };
    let says = fields.contains_key("properties") || fields.contains_key("allOf");
    for (name, value) in fields.iter_mut() {
        match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|property| close(property, false));
            }
            ("items" | "additionalProperties", value) => close(value, false),
            ("allOf", Value::Array(parts)) => parts.iter_mut().for_each(|part| close(part, true)),
            ("anyOf" | "oneOf", Value::Array(choices)) => {
                for choice in choices {
                    close(choice, is_part);
                }
            }
            _ => {}
        }
    }
    if says && !is_part {
        fields.entry("unevaluatedProperties").or_insert(json!(false));
    }
}
