//! The OpenAPI document that a server serves, for tests that walk every operation of it.

use super::{Persona, Reply, TestApp};
use insula::ids::OrgId;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::fmt;

pub struct Document(pub Value);

pub struct Operation<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub description: &'a Value,
    document: &'a Document,
}

impl Document {
    pub async fn of(app: &TestApp) -> Self {
        Self(app.anon().get("/openapi.json").await.expect(200))
    }

    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, description) in item.as_object().unwrap() {
                operations.push(Operation { method, path, description, document: self });
            }
        }
        assert!(operations.len() > 20, "walking {} operations proves little", operations.len());
        operations
    }

    /// Behind its `$ref`, and behind the null that it may also be.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.resolve(self.0.pointer(reference.trim_start_matches('#')).unwrap());
        }
        match schema["oneOf"].as_array() {
            Some(choices) => self.resolve(choices.iter().find(|choice| choice["type"] != "null").unwrap()),
            None => schema,
        }
    }

    /// What is required, and whatever else has an example.
    fn example(&self, schema: &Value) -> Option<Value> {
        let examples = [&schema["example"], &schema["examples"][0], &schema["enum"][0]];
        if let Some(example) = examples.into_iter().find(|example| !example.is_null()) {
            return Some(example.clone());
        }
        let schema = self.resolve(schema);
        if let Some(items) = schema.get("items") {
            return Some(json!([self.example(items)?]));
        }
        if let Some(properties) = schema["properties"].as_object() {
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            let mut body = Map::new();
            for (name, property) in properties {
                let needed = required.iter().any(|required| required == name);
                if needed || property.get("example").is_some() {
                    body.insert(name.clone(), self.example(property)?);
                }
            }
            return Some(Value::Object(body));
        }
        let examples = [&schema["example"], &schema["examples"][0], &schema["enum"][0]];
        examples
            .into_iter()
            .find(|example| !example.is_null())
            .cloned()
            .or_else(|| (schema["type"] == "string").then(|| json!("anything")))
    }
}

impl Operation<'_> {
    pub fn is_public(&self) -> bool {
        self.description["security"] == json!([])
    }

    pub fn is_operators(&self) -> bool {
        self.path.starts_with("/operator/")
    }

    /// None: membership is enough.
    pub fn permission(&self) -> Option<&str> {
        self.description["x-permission"].as_str()
    }

    /// What it asks for besides, for some of what it does.
    pub fn further(&self) -> Vec<&str> {
        let further = self.description["x-further-permissions"].as_array().map_or(&[][..], Vec::as_slice);
        further.iter().map(|permission| permission.as_str().unwrap()).collect()
    }

    /// The names of its parameters in a `path`, `query` or `header`.
    pub fn parameters(&self, place: &str) -> Vec<&str> {
        let parameters = self.description["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let there = parameters.iter().filter(|parameter| parameter["in"] == place);
        there.map(|parameter| parameter["name"].as_str().unwrap()).collect()
    }

    /// That of a body in JSON.
    pub fn body_schema(&self) -> Option<&Value> {
        let content = self.description["requestBody"]["content"].as_object()?;
        Some(&content.iter().find(|(media, _)| media.ends_with("json"))?.1["schema"])
    }

    /// An acceptable body, from the examples of the document.
    pub fn body(&self) -> Option<Value> {
        let schema = self.body_schema()?;
        let body = self.document.example(schema);
        Some(body.unwrap_or_else(|| panic!("{self}: a required property has no example")))
    }

    /// A path with a well-formed id of nobody's in each place.
    pub fn some_path(&self) -> String {
        let mut path = self.path.to_owned();
        for parameter in self.description["parameters"].as_array().map_or(&[][..], Vec::as_slice) {
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] != "path" {
                continue;
            }
            let example = &self.document.resolve(&parameter["schema"])["examples"][0];
            let value = example.as_str().map_or("nothing".to_owned(), another_of_its_kind);
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        path
    }

    pub async fn call(&self, persona: &Persona, path: &str) -> Reply {
        self.call_with(persona, path, self.body()).await
    }

    /// With every header that any operation asks for.
    pub async fn call_with(&self, persona: &Persona, path: &str, body: Option<Value>) -> Reply {
        let method = Method::from_bytes(self.method.to_uppercase().as_bytes()).unwrap();
        let request = persona
            .request(method, path)
            .header("if-match", "*")
            .header("idempotency-key", OrgId::new().to_string());
        Reply::of(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.to_uppercase(), self.path)
    }
}

/// A fresh id with the prefix of this one.
pub fn another_of_its_kind(id: &str) -> String {
    let (prefix, _) = id.split_once('_').unwrap();
    let (_, letters) =
        OrgId::new().to_string().split_once('_').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    format!("{prefix}_{letters}")
}
