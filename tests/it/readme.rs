//! What the README says to paste, and what `insula dev` prints to paste, does what is said of it.

use super::support::{Dev, Dir};
use std::process::Stdio;
use tokio::process::Command;

const README: &str = include_str!("../../README.md");

#[tokio::test]
async fn what_one_is_told_to_paste_works() {
    let dir = Dir::new();
    let dev = Dev::start(&dir, &[], &[]).await;
    the_five_minutes_pass(&dev).await;
    the_printed_lines_work(&dev).await;
}

async fn the_five_minutes_pass(dev: &Dev) {
    let said = bash(&five_minutes().replace("http://localhost:8080", dev.base())).await;
    // In the order in which the README promises it.
    let mut rest = said.as_str();
    for expected in [
        "HTTP/1.1 201 ",
        "\"sku\":\"ENGINE-1\"",
        // How many of the products are another organisation's.
        "}0\n",
        "\"code\":\"permission_denied\"",
        "\"granted_by\":[",
        "...........",
        "HTTP/1.1 429 ",
        "\"violated_policies\":[",
        "\"tier\":\"pro\"",
        "HTTP/1.1 200 ",
    ] {
        let Some(at) = rest.find(expected) else { panic!("no {expected:?} in its place: {said}") };
        rest = &rest[at + expected.len()..];
    }
}

fn five_minutes() -> &'static str {
    let (_, section) = README.split_once("\n## Five minutes\n").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block
}

async fn the_printed_lines_work(dev: &Dev) {
    let printed = dev.binary.stdout();
    let lines: Vec<_> = printed.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let answers = ["\"sku\":\"HAMMER\"", "\"access_token\":\"", "HTTP/1.1 200 "];
    assert_eq!(lines.len(), answers.len(), "{printed}");
    for (line, answer) in lines.into_iter().zip(answers) {
        let said = bash(line).await;
        assert!(said.contains(answer), "{line}: {said}");
    }
}

async fn bash(script: &str) -> String {
    let run = Command::new("bash").args(["-c", script]).stdin(Stdio::null()).output().await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))
}
