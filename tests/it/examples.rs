//! What the document shows: an example of every body, acceptable by its own schema, and code that can be copied.

use super::support::{Document, Operation, Reply, TestApp};
use jsonschema::Validator;
use proc_macro2::TokenStream;
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::Write as _, process::Command};

fn validator(document: &Document, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = json!({"schemas": document.0["components"]["schemas"]});
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Those of a content, with the schema of each.
fn examples(content: &Value) -> Vec<(&Value, &Value)> {
    let media = content.as_object().into_iter().flatten();
    media
        .flat_map(|(_, media)| {
            let named = media["examples"].as_object().into_iter().flatten().map(|(_, named)| &named["value"]);
            let examples: Vec<_> = named.chain(media.get("example")).collect();
            assert!(!examples.is_empty(), "no example: {media}");
            examples.into_iter().map(|example| (&media["schema"], example))
        })
        .collect()
}

#[tokio::test]
async fn every_body_has_an_example_that_its_own_schema_accepts() {
    let document = Document::of(&TestApp::start().await).await;
    let mut seen = 0;
    for operation in document.operations() {
        let said = operation.description;
        let bodies =
            said["responses"].as_object().unwrap().iter().map(|(status, answer)| (status.as_str(), answer));
        let asked = said.get("requestBody").map(|body| ("request", body));
        for (which, body) in bodies.chain(asked) {
            let empty = ["101", "202", "204", "304"].contains(&which);
            assert!(empty || body["content"].is_object(), "{operation}: its {which} has no content");
            for (schema, example) in examples(&body["content"]) {
                let flaws: Vec<_> = validator(&document, schema)
                    .iter_errors(example)
                    .map(|flaw| format!("{} {flaw}", flaw.instance_path()))
                    .collect();
                assert!(flaws.is_empty(), "{operation}, its {which}: {example}\n{flaws:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 500, "{seen} examples prove little");
}

#[tokio::test]
async fn a_problem_s_example_has_the_status_it_stands_under_and_a_conflict_says_its_codes() {
    let document = Document::of(&TestApp::start().await).await;
    for operation in document.operations() {
        for (status, answer) in operation.description["responses"].as_object().unwrap() {
            if status.as_str() < "400" {
                continue;
            }
            let problems = &answer["content"]["application/problem+json"]["examples"];
            assert!(
                problems.as_object().is_some_and(|problems| !problems.is_empty()),
                "{operation}: end the description of its {status} with the codes that there are, like (`sku_taken`)"
            );
            for (code, problem) in problems.as_object().unwrap() {
                assert_eq!(problem["value"]["status"].to_string(), *status, "{operation}: {code}");
                assert_eq!(problem["value"]["code"], json!(code), "{operation}");
            }
        }
    }
}

/// The samples of all operations in one language.
fn samples(document: &Document, label: &str) -> Vec<(String, String)> {
    let of = |operation: &Operation| {
        let samples = operation.description["x-codeSamples"].as_array().unwrap();
        let sample = samples.iter().find(|sample| sample["label"] == label).unwrap();
        (operation.to_string(), sample["source"].as_str().unwrap().to_owned())
    };
    document.operations().iter().map(of).collect()
}

/// Runs `program` with a text on its standard input; None where there is no such program.
fn accepts(program: &str, arguments: &[&str], text: &str) -> Option<Result<(), String>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    Some(if output.status.success() { Ok(()) } else { Err(said()) })
}

#[tokio::test]
async fn the_samples_are_code_of_their_languages() {
    let document = Document::of(&TestApp::start().await).await;
    for (operation, sample) in samples(&document, "Rust") {
        let tokens: Result<TokenStream, _> = format!("async fn sample() {{ {sample} }}").parse();
        assert!(tokens.is_ok(), "{operation}:\n{sample}");
    }
    // All in one: to start an interpreter for each would take a minute.
    let all = |label: &str, before: &str, after: &str| -> String {
        let samples = samples(&document, label).into_iter();
        samples.map(|(_, sample)| [before, &sample, after, "\n"].concat()).collect()
    };
    let shell = accepts("sh", &["-n"], &all("curl", "", ""));
    shell.expect("every machine has a shell").unwrap();
    if let Some(read) =
        accepts("python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"], &all("Python", "", ""))
    {
        read.unwrap();
    }
    if let Some(read) =
        accepts("node", &["--input-type=module", "--check", "-"], &all("JavaScript", "{\n", "\n}"))
    {
        read.unwrap();
    }
}

#[tokio::test]
async fn a_curl_sample_run_as_it_stands_is_answered() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let document = Document::of(&app).await;
    let base = acme.owner.request(Method::GET, "").build().unwrap().url().to_string();
    for (operation, sample) in samples(&document, "curl") {
        let asked = match operation.as_str() {
            "GET /api/v1/me" => "200",
            "POST /api/v1/products" => "201",
            "GET /api/v1/products/{id}" => "404",
            _ => continue,
        };
        let script = sample.replace("http://insula.test/", &base).replace(
            "curl ",
            "curl --noproxy '*' --max-time 10 --silent --output /dev/null --write-out '%{http_code}' ",
        );
        let mut curl = Command::new("sh");
        curl.args(["-c", &script]).env("INSULA_TOKEN", acme.owner.token.as_ref().unwrap());
        // The server answers on this thread.
        let output = tokio::task::spawn_blocking(move || curl.output()).await.unwrap().unwrap();
        if output.status.code() == Some(127) {
            return;
        }
        assert_eq!(String::from_utf8_lossy(&output.stdout), asked, "{operation}:\n{script}");
    }
}

fn nullable(document: &Document, schema: &Value) -> bool {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let null = |kind: &Value| {
        kind == "null" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == "null"))
    };
    let any = schema.as_object().is_some_and(|schema| {
        schema.get("type").is_none() && !schema.contains_key("$ref") && !schema.contains_key("oneOf")
    });
    let there = document.resolve(schema);
    any || null(&schema["type"])
        || null(&there["type"])
        || choices.clone().any(|choice| null(&choice["type"]))
}

#[tokio::test]
async fn null_is_refused_where_the_document_does_not_say_that_it_may_be_and_taken_where_it_does() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let operator = app.operator().await;
    let document = Document::of(&app).await;
    let (mut refused, mut taken, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for operation in document.operations() {
        let Some(schema) = operation.body_schema() else { continue };
        let Some(properties) = document.resolve(schema)["properties"].as_object() else { continue };
        let path = operation.some_path();
        for (name, property) in properties {
            let content = operation.description["requestBody"]["content"].as_object().unwrap();
            let mut body = content.values().next().unwrap()["example"].clone();
            body[name] = Value::Null;
            let may_be = nullable(&document, property);
            // What is accepted would happen, unless it is asked of what is not there.
            if may_be && !operation.path.contains('{') {
                continue;
            }
            let caller = if operation.is_operators() { &operator } else { &acme.owner };
            let reply: Reply = operation.call_with(caller, &path, Some(body)).await;
            let pointer = format!("/{name}");
            let points = reply.json()["errors"].as_array().is_some_and(|flaws| {
                flaws
                    .iter()
                    .any(|flaw| flaw["pointer"].as_str().is_some_and(|there| there.starts_with(&pointer)))
            });
            if points == may_be {
                wrong.push(format!("{operation}: null as {name} is answered {}", reply.text));
            }
            if may_be {
                taken += 1;
            } else {
                refused.insert(format!("{operation} {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused.len() > 50 && taken > 5, "{} refused and {taken} taken prove little", refused.len());
}
