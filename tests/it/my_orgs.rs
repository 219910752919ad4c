//! The organisations that one person is in: founded, left and deleted.

use super::support::{Org, PASSWORD, Persona, Reply, TestApp, id, pointers, within_a_second};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const MINE: &str = "/api/v1/me/orgs";

fn named(name: &str) -> Value {
    json!({"name": name})
}

async fn slugs(of: &Persona) -> Vec<String> {
    let mine = of.get(MINE).await.expect(200);
    mine["data"].as_array().unwrap().iter().map(|org| org["slug"].as_str().unwrap().to_owned()).collect()
}

async fn delete_org(by: &Persona, slug: &str) -> Reply {
    Reply::of(by.request(Method::DELETE, "/api/v1/org").json(&json!({"confirm": slug}))).await
}

#[tokio::test]
async fn a_second_org_is_one_s_own_and_has_a_sandbox() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let made = acme.viewer.post(MINE, named("Side & Business")).await;
    let org = made.expect(201);
    assert_eq!(
        (&org["slug"], &org["tier"], &org["roles"], &org["member_status"]),
        (&json!("side-business"), &json!("free"), &json!(["owner"]), &json!("active"))
    );
    assert_eq!(acme.viewer.get(made.header("location")).await.expect(200), org);
    assert_eq!(slugs(&acme.viewer).await, [acme.slug.as_str(), "side-business"]);
    globex.owner.get(made.header("location")).await.expect_problem(404, "not_found");

    let there = acme.viewer.post("/api/v1/auth/switch", json!({"org": "side-business"})).await.expect(200);
    let there = app.bearer(there["access_token"].as_str().unwrap());
    let key = json!({"name": "try", "mode": "test", "scopes": ["org:read"]});
    let key = there.post("/api/v1/api-keys", key).await.expect(201);
    let sandbox = app.bearer(key["key"].as_str().unwrap()).get("/api/v1/org").await.expect(200);
    assert_eq!(sandbox["tier"], "sandbox");
    let again = globex.owner.post(MINE, named("Side Business")).await.expect(201);
    assert!(again["slug"].as_str().unwrap().starts_with("side-business-"), "{again}");
    assert_eq!(pointers(&acme.viewer.post(MINE, named("")).await.expect_problem(422, "invalid")), ["/name"]);
    let founded = app.audited(id(&org).parse().unwrap()).await;
    assert!(founded.iter().any(|line| line.action == "org.created"), "{founded:?}");
}

#[tokio::test]
async fn nobody_owns_more_than_fifty_however_fast_they_found_them() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let replies = join_all((0..55).map(|at| acme.owner.post(MINE, named(&format!("Shop {at}"))))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 49, "and one they had");
    acme.owner.post(MINE, named("One more")).await.expect_problem(409, "too_many_orgs");
    globex.owner.post(MINE, named("One more")).await.expect(201);
}

#[tokio::test]
async fn who_leaves_is_refused_at_once_here_and_within_a_second_elsewhere() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    here.join(&acme.viewer, &globex, "viewer").await;
    let elsewhere = acme.viewer.at(&there.base);
    elsewhere.get("/api/v1/limits").await.expect(200);
    let own = format!("{MINE}/{}", acme.id);
    acme.viewer.delete(&own).await.expect(204);
    acme.viewer.get("/api/v1/limits").await.expect_problem(403, "not_a_member");
    within_a_second("the other replica", async || elsewhere.get("/api/v1/limits").await.status == 403).await;
    here.last_audited(&acme, "member.left").await;

    // From another organisation's side, too; the last one nobody leaves.
    let in_globex = here.signed_in(acme.viewer.user(), globex.id).await;
    assert_eq!(slugs(&in_globex).await, [globex.slug.as_str()]);
    in_globex.delete(&own).await.expect_problem(404, "not_found");
    in_globex.delete(&format!("{MINE}/{}", globex.id)).await.expect_problem(409, "last_org");
    in_globex.get("/api/v1/limits").await.expect(200);
}

#[tokio::test]
async fn who_leaves_both_of_two_orgs_at_once_stays_in_one() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for _ in 0..30 {
        let both = app.member(acme.id, &acme.slug, "viewer").await;
        app.join(&both, &globex, "viewer").await;
        let in_globex = app.signed_in(both.user(), globex.id).await;
        for who in [&both, &in_globex] {
            // What both would first have to look up is looked up.
            who.get("/api/v1/limits").await.expect(200);
        }
        let leave = async |who: &Persona, org: &Org| who.delete(&format!("{MINE}/{}", org.id)).await.status;
        let (first, second) = futures::future::join(leave(&both, &acme), leave(&in_globex, &globex)).await;
        let mut answers = [first, second];
        answers.sort_unstable();
        assert_eq!(answers, [204, 409]);
    }
}

#[tokio::test]
async fn a_deleted_org_answers_nobody_and_is_in_no_list_until_an_operator_restores_it() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org().await, app.org().await, app.operator().await);
    app.join(&acme.owner, &globex, "viewer").await;
    let scopes = ["products:read"];
    let (live, test) = (app.api_key(&acme, &scopes).await, app.api_key_in(&acme, "test", &scopes).await);
    let everybody = [&acme.owner, &acme.viewer, &live, &test];
    for who in everybody {
        who.get("/api/v1/products").await.expect(200);
    }
    delete_org(&acme.admin, &acme.slug).await.expect_problem(403, "permission_denied");
    let wrong = delete_org(&acme.owner, &globex.slug).await.expect_problem(422, "invalid");
    assert_eq!(pointers(&wrong), ["/confirm"]);
    app.clock.advance(Duration::from_secs(301));
    delete_org(&acme.owner, &acme.slug).await.expect_problem(401, "step_up_required");
    acme.viewer.get("/api/v1/products").await.expect(200);

    let owner = app.signed_in(acme.owner.user(), acme.id).await;
    delete_org(&owner, &acme.slug).await.expect(204);
    for who in everybody {
        who.get("/api/v1/products").await.expect_problem(403, "org_deleted");
        who.get("/api/v1/me").await.expect_problem(403, "org_deleted");
    }
    app.last_audited(&acme, "org.deleted").await;
    let in_globex = app.signed_in(acme.owner.user(), globex.id).await;
    assert_eq!(slugs(&in_globex).await, [globex.slug.as_str()]);
    in_globex.get(&format!("{MINE}/{}", acme.id)).await.expect_problem(404, "not_found");
    in_globex.delete(&format!("{MINE}/{}", acme.id)).await.expect_problem(404, "not_found");
    in_globex
        .post("/api/v1/auth/switch", json!({"org": acme.slug}))
        .await
        .expect_problem(403, "not_a_member");
    let email = format!("owner@{}.example", acme.slug);
    let login = |org: &str| json!({"email": email, "password": PASSWORD, "org": org});
    app.anon().post("/api/v1/auth/login", login(&acme.slug)).await.expect_problem(403, "not_a_member");
    app.anon().post("/api/v1/auth/login", login(&globex.slug)).await.expect(200);

    let deleted = operator.get("/operator/v1/orgs?status=deleted&sort=slug").await.expect(200);
    let found: Vec<_> = deleted["data"].as_array().unwrap().iter().map(|org| org["slug"].clone()).collect();
    assert_eq!(found, [json!(acme.slug), json!(format!("{}-sandbox", acme.slug))]);
    let restore = json!({"status": "active", "reason": "deleted by mistake"});
    operator.patch(&format!("/operator/v1/orgs/{}", acme.id), restore).await.expect(200);
    for who in everybody {
        who.get("/api/v1/products").await.expect(200);
    }
    assert_eq!(slugs(&in_globex).await.len(), 2);
}

#[tokio::test]
async fn a_deleted_org_is_shut_on_every_replica_within_a_second() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    let elsewhere = acme.viewer.at(&there.base);
    elsewhere.get("/api/v1/limits").await.expect(200);
    // Whoever is in no other could not even sign in to end their account.
    delete_org(&acme.owner, &acme.slug).await.expect_problem(409, "last_org");
    here.join(&acme.owner, &globex, "viewer").await;
    delete_org(&acme.owner, &acme.slug).await.expect(204);
    within_a_second("the other replica", async || elsewhere.get("/api/v1/limits").await.status == 403).await;
    elsewhere.get("/api/v1/limits").await.expect_problem(403, "org_deleted");
    globex.viewer.at(&there.base).get("/api/v1/limits").await.expect(200);
}
