//! Imports: each row is done once, whoever is killed meanwhile, and each that can't be is told of.

use super::support::{Binary, Org, Persona, TestApp, import, labour, until, until_within};
use serde_json::{Value, json};
use std::{fmt::Write as _, time::Duration};

const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

/// Where the job is, once it is over.
async fn done(by: &Persona, media_type: &str, file: impl Into<reqwest::Body>) -> Value {
    let asked = import(by, media_type, file).await;
    asked.expect(202);
    let mut job = Value::Null;
    until("the import is over", async || {
        job = by.get(asked.header("location")).await.expect(200);
        job["finished_at"] != Value::Null
    })
    .await;
    job
}

/// Line, pointer and code of each.
async fn errors(by: &Persona, job: &Value) -> Vec<(i64, String, String)> {
    let path = format!("/api/v1/imports/{}/errors?sort=line&limit=100", job["id"].as_str().unwrap());
    let page = by.get(&path).await.expect(200);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| (row["line"].as_i64().unwrap(), text(row, "pointer"), text(row, "code"))).collect()
}

fn counts(created: i64, updated: i64, unchanged: i64, failed: i64) -> Value {
    json!({"rows": created + updated + unchanged + failed, "created": created, "updated": updated,
           "unchanged": unchanged, "failed": failed})
}

async fn count(org: &Org) -> Value {
    let request = org.owner.request(reqwest::Method::GET, "/api/v1/products?limit=1");
    let page = super::support::Reply::of(request.header("prefer", "count=exact")).await;
    page.expect(200)["total_count"].clone()
}

#[tokio::test]
async fn rows_are_made_changed_or_left_and_a_column_that_is_not_there_changes_nothing() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let (acme, globex) = (app.org().await, app.org().await);
    let first = "\u{feff}sku,name,price_amount,price_currency,stock,metadata\r\n\
                 A,One,100,EUR,5,\"{\"\"colour\"\": \"\"red\"\"}\"\r\nB,Two,200,EUR,6,\r\n";
    assert_eq!(done(&acme.member, CSV, first).await["result"], counts(2, 0, 0, 0));
    assert_eq!(done(&acme.member, CSV, first).await["result"], counts(0, 0, 2, 0));
    let second = "name,sku,price_amount,price_currency\nOne,A,111,EUR\nThree,C,1,EUR\nThrice,C,1,EUR\n";
    assert_eq!(done(&acme.member, CSV, second).await["result"], counts(1, 2, 0, 0));
    let page = acme.owner.get("/api/v1/products?sort=sku").await.expect(200);
    assert_eq!(page["data"][0]["price"]["amount"], 111);
    assert_eq!(page["data"][0]["stock"], 5);
    assert_eq!(page["data"][0]["metadata"], json!({"colour": "red"}));
    assert_eq!(page["data"][2]["name"], "Thrice");
    assert_eq!(count(&globex).await, 0);
}

#[tokio::test]
async fn each_row_that_is_wrong_is_told_of_with_its_line_and_place_and_the_others_are_imported() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let acme = app.org().await;
    let mut csv = b"sku,name,price_amount,price_currency,category_id\nA,One,100,EUR,\n".to_vec();
    csv.extend(b"B,\"Two\nlines\",dear,EUR,\n,Three,1,EUR,\nD,\xff,1,EUR,\nE,Five,1\n");
    csv.extend(b"F,Six,1,EUR,cat_01jd8yq3c5f4x7t9k2m6n8p0rs\n");
    csv.extend([b"G,", vec![b'x'; 1 << 20].as_slice(), b",1,EUR,\nH,Eight,1,EUR,\n"].concat());
    let job = done(&acme.owner, CSV, csv).await;
    assert_eq!(job["result"], counts(2, 0, 0, 6));
    let told = |line, pointer: &str, code: &str| (line, pointer.to_owned(), code.to_owned());
    assert_eq!(
        errors(&acme.member, &job).await,
        [
            told(3, "/price_amount", "invalid"),
            told(5, "/sku", "invalid"),
            told(6, "", "not_utf8"),
            told(7, "", "wrong_number_of_cells"),
            told(8, "/category_id", "not_found"),
            told(9, "", "too_long"),
        ]
    );
    let lines = "{\"sku\": \"N\", \"name\": \"N\", \"price\": {\"amount\": 1, \"currency\": \"EUR\"}}\n\
                 {\"sku\": \"O\", \"colour\": 1}\nnonsense\n";
    let job = done(&acme.owner, NDJSON, lines).await;
    assert_eq!(job["result"], counts(1, 0, 0, 2));
    assert_eq!(
        errors(&acme.owner, &job).await,
        [told(2, "/colour", "unknown_field"), told(3, "", "malformed_json")]
    );
}

#[tokio::test]
async fn a_file_that_can_t_be_read_fails_its_job_which_says_why() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let acme = app.org().await;
    for (file, why) in [
        ("", "the file is empty"),
        ("sku,name,price_amount,price_currency,colour\n", "there is no column \"colour\""),
        ("sku,name,price_amount\n", "the column \"price_currency\" is missing"),
        ("sku,name,sku,price_amount,price_currency\n", "the column \"sku\" is there twice"),
        ("sku,name,price_amount,price_currency\nA,A,1,EUR\nB,\"B,1,EUR\n", "line 3: a quote is not closed"),
    ] {
        let job = done(&acme.owner, CSV, file).await;
        assert_eq!(job["status"], "failed", "{file}");
        assert!(job["error"].as_str().unwrap().starts_with(why), "{job}");
    }
    assert_eq!(count(&acme).await, 1, "what stands before the quote is imported");
    assert_eq!(done(&acme.owner, NDJSON, "").await["result"], counts(0, 0, 0, 0));
}

#[tokio::test]
async fn costs_are_set_by_those_alone_who_may() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let acme = app.org().await;
    let file = "sku,name,price_amount,price_currency,cost_amount\nA,A,5,EUR,3\n";
    assert_eq!(done(&acme.admin, CSV, file).await["result"], counts(1, 0, 0, 0));
    let job = done(&acme.member, CSV, file.replace(",3\n", ",4\n")).await;
    assert_eq!(errors(&acme.member, &job).await[0].2, "permission_denied");
    let product = &acme.admin.get("/api/v1/products").await.expect(200)["data"][0];
    assert_eq!(product["cost"]["amount"], 3);
    import(&acme.viewer, CSV, file).await.expect_problem(403, "permission_denied");
}

#[tokio::test]
async fn what_is_too_large_or_no_file_of_rows_is_refused() {
    let app = TestApp::start_with("[storage]\nimport_mebibytes = 1\n").await;
    let acme = app.org().await;
    let large = import(&acme.owner, CSV, vec![b'x'; (1 << 20) + 1]).await;
    large.expect_problem(413, "payload_too_large");
    import(&acme.owner, "application/json", "{}").await.expect_problem(415, "unsupported_media_type");
    assert_eq!(app.state.storage.list(acme.id).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_import_whose_server_is_killed_goes_on_where_it_was() {
    const ROWS: i64 = 6_000;
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut file = "sku,name,price_amount,price_currency\n".to_owned();
    for row in 0..ROWS {
        writeln!(file, "S{row},\"Name\n{row}\",{row},EUR").unwrap();
    }
    let asked = import(&acme.owner, CSV, file).await;
    asked.expect(202);
    let at = asked.header("location");
    let progress = async || acme.owner.get(at).await.expect(200)["progress"]["done"].as_i64().unwrap();
    for part in 1..=2 {
        let mut server = Binary::serve(&app.database, &[]);
        let far = i64::from(part * 40_000);
        until_within(Duration::from_mins(2), "it has come far", async || progress().await > far).await;
        server.signal("KILL");
        server.ended().await;
        assert_eq!(acme.owner.get(at).await.expect(200)["status"], "running");
    }
    let _work = labour::work_for_real(&app);
    let over = async || acme.owner.get(at).await.expect(200)["status"] == "succeeded";
    until_within(Duration::from_mins(2), "it is done", over).await;
    assert_eq!(acme.owner.get(at).await.expect(200)["result"], counts(ROWS, 0, 0, 0));
    assert_eq!(count(&acme).await, ROWS);
}
