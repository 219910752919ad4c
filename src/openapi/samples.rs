//! Code samples of every operation, in the languages that people call an API from first.

use serde_json::{Value, json};
use std::fmt::Write as _;

pub fn write(document: &mut Value) {
    let server = document["servers"][0]["url"].as_str().unwrap_or_default().to_owned();
    for (method, path, operation) in super::each(document) {
        let call = Call::of(&server, method, &path, operation);
        operation["x-codeSamples"] = json!([
            {"lang": "Shell", "label": "curl", "source": call.curl()},
            {"lang": "JavaScript", "label": "JavaScript", "source": call.javascript()},
            {"lang": "Python", "label": "Python", "source": call.python()},
            {"lang": "Rust", "label": "Rust", "source": call.rust()},
        ]);
    }
}

struct Call {
    method: String,
    url: String,
    signed_in: bool,
    headers: Vec<(String, String)>,
    body: Option<Value>,
    json: bool,
    /// Of a form with a file in it: what its example is called.
    file: Option<String>,
}

impl Call {
    fn of(server: &str, method: &str, path: &str, operation: &Value) -> Self {
        let mut url = format!("{server}{path}");
        let mut headers = Vec::new();
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            let example = match &parameter["example"] {
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            match parameter["in"].as_str() {
                Some("path") => url = url.replace(&format!("{{{name}}}"), &example),
                Some("query") if parameter["required"] == true => query.push((name, example)),
                Some("header") if parameter["required"] == true || name == "Idempotency-Key" => {
                    headers.push((name.to_owned(), example));
                }
                _ => {}
            }
        }
        if let Ok(query) = serde_urlencoded::to_string(&query)
            && !query.is_empty()
        {
            url = format!("{url}?{query}");
        }
        let content = operation["requestBody"]["content"].as_object().and_then(|all| all.iter().next());
        let is_json = |media: &str| media == "application/json" || media.ends_with("+json");
        let json = content.is_some_and(|(media, _)| is_json(media));
        let is_form = content.is_some_and(|(media, _)| media.starts_with("multipart/"));
        let file = content.filter(|_| is_form).map(|(_, media)| &media["example"]["name"]);
        let file = file.map(|name| name.as_str().unwrap_or("file").to_owned());
        // Clients write the type of a form themselves, with its boundary.
        if let Some((media, _)) = content.filter(|_| !is_form) {
            headers.push(("Content-Type".to_owned(), media.clone()));
        }
        let body = content
            .filter(|_| !is_form)
            .map(|(_, media)| media["example"].clone())
            .filter(|body| !body.is_null());
        let signed_in = operation["security"] != json!([]);
        Self { method: method.to_uppercase(), url, signed_in, headers, body, json, file }
    }

    /// The body as it is sent, over lines where it is JSON.
    fn payload(&self) -> Option<String> {
        match self.body.as_ref()? {
            Value::String(text) if !self.json => Some(text.clone()),
            body => serde_json::to_string_pretty(body).ok(),
        }
    }

    fn curl(&self) -> String {
        let mut text = format!("curl --request {} {}", self.method, shell(&self.url));
        if self.signed_in {
            text.push_str(" \\\n  --header \"Authorization: Bearer $INSULA_TOKEN\"");
        }
        for (name, value) in &self.headers {
            let _ = write!(text, " \\\n  --header {}", shell(&format!("{name}: {value}")));
        }
        if let Some(body) = self.payload() {
            let _ = write!(text, " \\\n  --data {}", shell(&body));
        }
        if let Some(file) = &self.file {
            let _ = write!(text, " \\\n  --form {}", shell(&format!("file=@{file}")));
        }
        text
    }

    fn javascript(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            let file = quoted(file);
            text.push_str(
                "const { openAsBlob } = await import(\"node:fs\");\nconst form = new FormData();\n",
            );
            let _ = writeln!(text, "form.append(\"file\", await openAsBlob({file}), {file});");
        }
        let _ = writeln!(text, "const response = await fetch({}, {{", quoted(&self.url));
        let _ = writeln!(text, "  method: {},", quoted(&self.method));
        text.push_str("  headers: {\n");
        if self.signed_in {
            text.push_str("    Authorization: `Bearer ${process.env.INSULA_TOKEN}`,\n");
        }
        for (name, value) in &self.headers {
            let _ = writeln!(text, "    {}: {},", quoted(name), quoted(value));
        }
        text.push_str("  },\n");
        match self.payload() {
            Some(body) if self.json => {
                let _ = writeln!(text, "  body: JSON.stringify({}),", indented(&body, "  "));
            }
            Some(body) => {
                let _ = writeln!(text, "  body: {},", quoted(&body));
            }
            None if self.file.is_some() => text.push_str("  body: form,\n"),
            None => {}
        }
        text.push_str("});\nconsole.log(response.status, await response.text());");
        text
    }

    fn python(&self) -> String {
        let mut text = "import os\n\nimport requests\n\nresponse = requests.request(\n".to_owned();
        let _ = writeln!(text, "    {},\n    {},\n    headers={{", quoted(&self.method), quoted(&self.url));
        if self.signed_in {
            text.push_str("        \"Authorization\": f\"Bearer {os.environ['INSULA_TOKEN']}\",\n");
        }
        for (name, value) in &self.headers {
            let _ = writeln!(text, "        {}: {},", quoted(name), quoted(value));
        }
        text.push_str("    },\n");
        match &self.body {
            Some(body) if self.json => {
                let _ = writeln!(text, "    json={},", pythonic(body));
            }
            Some(_) => {
                let _ = writeln!(text, "    data={},", quoted(&self.payload().unwrap_or_default()));
            }
            None => {}
        }
        if let Some(file) = &self.file {
            let _ = writeln!(text, "    files={{\"file\": open({}, \"rb\")}},", quoted(file));
        }
        text.push_str("    timeout=10,\n)\nprint(response.status_code, response.text)");
        text
    }

    fn rust(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            let file = quoted(file);
            let _ =
                writeln!(text, "let form = reqwest::multipart::Form::new().file(\"file\", {file}).await?;");
        }
        text.push_str("let response = reqwest::Client::new()\n");
        let method = self.method.to_lowercase();
        let _ = writeln!(text, "    .{method}({})", quoted(&self.url));
        if self.signed_in {
            text.push_str("    .bearer_auth(std::env::var(\"INSULA_TOKEN\")?)\n");
        }
        for (name, value) in &self.headers {
            let _ = writeln!(text, "    .header({}, {})", quoted(name), quoted(value));
        }
        match self.payload() {
            Some(body) if self.json => {
                let _ = writeln!(text, "    .json(&serde_json::json!({}))", indented(&body, "    "));
            }
            Some(body) => {
                let _ = writeln!(text, "    .body({})", quoted(&body));
            }
            None if self.file.is_some() => text.push_str("    .multipart(form)\n"),
            None => {}
        }
        text.push_str(
            "    .send()\n    .await?;\nprintln!(\"{} {}\", response.status(), response.text().await?);",
        );
        text
    }
}

fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// As all three languages write a text: the samples hold nothing that they write differently.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn indented(text: &str, by: &str) -> String {
    text.replace('\n', &format!("\n{by}"))
}

fn pythonic(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(pythonic).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", quoted(name), pythonic(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
