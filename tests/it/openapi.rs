//! The contract as clients read it: a change of it is a change of `snapshots/`, for a reviewer to see.

use super::support::{Document, TestApp};
use serde_json::Value;
use std::{collections::BTreeSet, process::Command};

#[tokio::test]
async fn the_document_is_the_one_that_was_agreed_on() {
    let Document(mut served) = Document::of(&TestApp::start().await).await;
    served["servers"] = Value::Null;
    served["info"]["contact"] = Value::Null;
    leave_out_what_follows(&mut served);
    let text = serde_json::to_string_pretty(&served).unwrap();
    insta::with_settings!({
        description => "meant to change? INSTA_UPDATE=always make test T=openapi writes it anew, to be committed",
        omit_expression => true,
    }, { insta::assert_snapshot!(text) });
}

/// Code samples and problems are made from the rest of the document, and have tests of their own.
fn leave_out_what_follows(document: &mut Value) {
    for (_, item) in document["paths"].as_object_mut().unwrap() {
        for (_, operation) in item.as_object_mut().unwrap() {
            operation.as_object_mut().unwrap().remove("x-codeSamples");
            for (_, response) in operation["responses"].as_object_mut().unwrap() {
                if let Some(problem) = response.pointer_mut("/content/application~1problem+json") {
                    problem.as_object_mut().unwrap().remove("examples");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_command_prints_what_the_server_serves_but_for_where_that_is() {
    let Document(served) = Document::of(&TestApp::start().await).await;
    let printed = print("http://elsewhere.test");
    let moved: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(served["servers"][0]["url"], "http://insula.test");
    assert_eq!(moved["servers"][0]["url"], "http://elsewhere.test");
    assert!(
        moved["paths"]["/api/v1/me"]["get"]["x-codeSamples"]
            .to_string()
            .contains("http://elsewhere.test/api")
    );
    let moved: Value =
        serde_json::from_str(&printed.replace("http://elsewhere.test", "http://insula.test")).unwrap();
    assert_eq!(moved, served);
}

#[test]
fn the_command_prints_the_same_text_each_time() {
    let first = print("http://insula.test");
    for _ in 0..3 {
        assert!(print("http://insula.test") == first, "what is generated from it would change for nothing");
    }
}

#[tokio::test]
async fn every_operation_says_what_it_asks_and_how_it_may_refuse() {
    let document = Document::of(&TestApp::start().await).await;
    let mut ids = BTreeSet::new();
    for operation in document.operations() {
        let said = operation.description;
        let id = said["operationId"].as_str().unwrap_or_else(|| panic!("{operation} has no operationId"));
        assert!(ids.insert(id.to_owned()), "{operation}: {id} names another operation too");
        assert!(
            said["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
            "{operation}: no summary"
        );
        assert!(said["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{operation}: not one tag");
        let known = document.0["tags"].as_array().unwrap();
        assert!(
            known.iter().any(|tag| tag["name"] == said["tags"][0]),
            "{operation}: its tag is undescribed"
        );

        let mut refusals = vec!["429"];
        if !operation.is_public() {
            refusals.extend(["401", "403"]);
            assert!(said["x-cost"].is_u64(), "{operation}: no x-cost");
        }
        refusals.extend((!operation.parameters("path").is_empty()).then_some("404"));
        for status in refusals {
            let answer = &said["responses"][status];
            assert!(answer["description"].is_string(), "{operation} does not document its {status}");
            let problem = &answer["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{operation}: its {status}");
        }
    }
}

fn print(public_url: &str) -> String {
    let mut insula = Command::new(env!("CARGO_BIN_EXE_insula"));
    let output = insula.arg("openapi").env("INSULA_HTTP__PUBLIC_URL", public_url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
