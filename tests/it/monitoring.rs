//! What is shipped for Prometheus and Grafana asks for what replicas tell, and all of it.

use super::support::TestApp;
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/monitoring").join(name)).unwrap()
}

/// The metrics that a text names; parts of a histogram count as itself.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let words = text.split(|letter| !is_part(letter)).filter(|word| word.starts_with("insula_"));
    let whole = |word: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| word.strip_suffix(part))
            .unwrap_or(word)
            .to_owned()
    };
    words.map(whole).collect()
}

/// What is asked by the panels of the dashboard.
fn asked() -> String {
    let dashboard: Value = serde_json::from_str(&shipped("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn alerts_and_the_dashboard_ask_for_what_replicas_tell_and_the_dashboard_shows_all_of_it() {
    let app = TestApp::start_with("[metrics]\nlisten = \"127.0.0.1:0\"").await;
    let told = app.anon().at(app.metrics.as_ref().unwrap()).get("/metrics").await.text;
    let told: BTreeSet<String> = told
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let (alerts, shown) = (named(&shipped("alerts.yaml")), named(&asked()));
    assert!(alerts.len() > 3 && alerts.is_subset(&told), "{:?}", alerts.difference(&told));
    assert_eq!(shown, told);
}
