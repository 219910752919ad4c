//! Exports: all rows of the own organisation and no others, as files that an import takes back.

use super::support::{Persona, TestApp, import, labour, product, until};
use serde_json::{Value, json};

async fn job(by: &Persona, at: &str) -> Value {
    by.get(at).await.expect(200)
}

/// Has an export made, and answers where its file is.
async fn export(by: &Persona, format: &str) -> String {
    let asked = by.post("/api/v1/exports", json!({"resource": "products", "format": format})).await;
    asked.expect(202);
    let at = asked.header("location").to_owned();
    until("the export is made", async || job(by, &at).await["status"] == "succeeded").await;
    job(by, &at).await["result"]["path"].as_str().unwrap().to_owned()
}

async fn products(by: &Persona) -> Vec<Value> {
    let page = by.get("/api/v1/products?sort=sku&limit=100").await.expect(200);
    let mut rows = page["data"].as_array().unwrap().clone();
    for row in &mut rows {
        for own in ["id", "version", "created_at", "updated_at"] {
            row.as_object_mut().unwrap().remove(own);
        }
    }
    rows
}

#[tokio::test]
async fn an_export_that_is_imported_gives_the_same_rows_in_another_org_and_changes_nothing_in_its_own() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    for (format, media_type) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let (acme, globex) = (app.org().await, app.org().await);
        for (sku, name) in [("A", "=1+1"), ("B", "line\r\nline, \"quoted\""), ("C", "'tis"), ("D", "é")] {
            let mut new = product(sku, 7);
            new["name"] = name.into();
            new["cost"] = json!({"amount": 3, "currency": "EUR"});
            new["metadata"] = json!({"colour": "r,\"d\n"});
            acme.owner.post("/api/v1/products", new).await.expect(201);
        }
        let before = products(&acme.owner).await;
        let path = export(&acme.owner, format).await;
        let file = acme.owner.get(&path).await;
        assert_eq!(file.status, 200);
        assert!(file.header("content-type").starts_with(media_type));
        assert!(format == "ndjson" || file.text.contains("'=1+1") && !file.text.contains(",=1+1"));

        for (org, result) in [
            (&globex, json!({"rows": 4, "created": 4, "updated": 0, "unchanged": 0, "failed": 0})),
            (&acme, json!({"rows": 4, "created": 0, "updated": 0, "unchanged": 4, "failed": 0})),
        ] {
            let asked = import(&org.owner, media_type, file.text.clone()).await;
            asked.expect(202);
            let at = asked.header("location");
            until("it is imported", async || job(&org.owner, at).await["status"] == "succeeded").await;
            assert_eq!(job(&org.owner, at).await["result"], result);
            assert_eq!(products(&org.owner).await, before);
        }
        globex.owner.get(&path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn costs_are_exported_and_downloaded_by_those_alone_who_may_see_them() {
    let app = TestApp::start().await;
    let _work = labour::work_for_real(&app);
    let acme = app.org().await;
    let mut new = product("A", 1);
    new["cost"] = json!({"amount": 31_337, "currency": "EUR"});
    acme.owner.post("/api/v1/products", new).await.expect(201);
    for format in ["csv", "ndjson"] {
        let theirs = export(&acme.admin, format).await;
        assert!(acme.admin.get(&theirs).await.text.contains("31337"));
        acme.member.get(&theirs).await.expect_problem(403, "permission_denied");
        let own = acme.member.get(&export(&acme.member, format).await).await;
        assert!(own.status == 200 && !own.text.contains("cost") && !own.text.contains("31337"));
    }
}

#[tokio::test]
async fn an_export_is_there_once_its_job_is_done_and_not_before() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let new = json!({"resource": "products", "format": "csv"});
    let asked = acme.member.post("/api/v1/exports", new).await.expect(202);
    let path = format!("/api/v1/exports/{}/content", asked["id"].as_str().unwrap());
    acme.member.get(&path).await.expect_problem(409, "not_ready");
}
