//! What an org asks of whoever comes in: known networks, a second factor, a confirmed e-mail address.

use super::support::{Org, PASSWORD, Persona, TestApp, id, pointers, within_a_second};
use serde_json::{Value, json};
use std::time::Duration;

const PROXIED: &str = "[http]\ntrusted_proxies = [\"127.0.0.1/32\"]";
const ORG: &str = "/api/v1/org";
const KEYS: &str = "/api/v1/api-keys";
const OFFICE: &str = "203.0.113.7";
const ELSEWHERE: &str = "198.51.100.1";

/// Of the org's matters, one with a permission, one without.
const MATTERS: [&str; 2] = [ORG, "/api/v1/limits"];

async fn ask(org: &Org, patch: Value) {
    org.owner.coming_from(OFFICE).patch(ORG, patch).await.expect(200);
}

async fn sign_in(app: &TestApp, org: &Org) -> Value {
    let email = format!("owner@{}.example", org.slug);
    app.anon().post("/api/v1/auth/login", json!({"email": email, "password": PASSWORD})).await.expect(200)
}

fn bearer(app: &TestApp, session: &Value) -> Persona {
    app.bearer(session["access_token"].as_str().unwrap())
}

#[tokio::test]
async fn who_comes_from_elsewhere_is_kept_out_of_the_org_and_not_out_of_their_own_matters() {
    let app = TestApp::start_with(PROXIED).await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.member, &globex, "member").await;
    let (live, test) =
        (app.api_key(&acme, &["org:read"]).await, app.api_key_in(&acme, "test", &["org:read"]).await);
    ask(&acme, json!({"allowed_ips": ["203.0.113.0/24", "2001:db8::/32"]})).await;
    let asked = acme.viewer.coming_from(OFFICE).get(ORG).await.expect(200);
    assert_eq!(asked["allowed_ips"], json!(["203.0.113.0/24", "2001:db8::/32"]));

    for path in MATTERS {
        for who in [&acme.owner, &acme.member, &live, &test] {
            for address in [ELSEWHERE, "203.0.114.1", "2001:db9::1", "::ffff:198.51.100.1"] {
                who.coming_from(address).get(path).await.expect_problem(403, "ip_not_allowed");
            }
            // Nobody vouches for what the client says of itself, further left.
            let forged = format!("{OFFICE}, {ELSEWHERE}");
            who.coming_from(&forged).get(path).await.expect_problem(403, "ip_not_allowed");
            for address in [OFFICE, "203.0.113.255", "2001:db8:ffff::1", "::ffff:203.0.113.9"] {
                who.coming_from(address).get(path).await.expect(200);
            }
        }
        globex.owner.coming_from(ELSEWHERE).get(path).await.expect(200);
    }
    let away = acme.member.coming_from(ELSEWHERE);
    away.get("/api/v1/me").await.expect(200);
    let switched = away.post("/api/v1/auth/switch", json!({"org": globex.slug})).await.expect(200);
    bearer(&app, &switched).coming_from(ELSEWHERE).get(ORG).await.expect(200);
    away.post("/api/v1/auth/logout", json!({})).await.expect(204);

    ask(&acme, json!({"allowed_ips": []})).await;
    acme.owner.coming_from(ELSEWHERE).get(ORG).await.expect(200);
    test.coming_from(ELSEWHERE).get(ORG).await.expect(200);
}

#[tokio::test]
async fn a_key_used_from_outside_its_networks_is_told_nothing_more() {
    let app = TestApp::start_with(PROXIED).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let body =
        json!({"name": "x", "scopes": ["org:read"], "allowed_ips": ["203.0.113.0/24", "::ffff:192.0.2.1"]});
    let made = acme.owner.post(KEYS, body).await.expect(201);
    assert_eq!(made["allowed_ips"], json!(["203.0.113.0/24", "192.0.2.1"]));
    let (key, path) = (app.bearer(made["key"].as_str().unwrap()), format!("{KEYS}/{}", id(&made)));

    let refused = key.coming_from(ELSEWHERE).get(ORG).await;
    refused.expect_problem(403, "ip_not_allowed");
    assert_eq!(refused.header("ratelimit"), "", "nor what is left of its limits");
    let unscoped = key.coming_from(ELSEWHERE).get("/api/v1/orders").await;
    assert_eq!(unscoped.without_request_id(), refused.without_request_id(), "nor what it may do");
    key.coming_from(OFFICE).get(ORG).await.expect(200);
    key.coming_from("::ffff:192.0.2.1").get(ORG).await.expect(200);
    // It is no use of the key, so that its last one is that of its holder.
    app.clock.advance(Duration::from_secs(1));
    key.coming_from(ELSEWHERE).get(ORG).await.expect(403);
    app.state.api_keys.write_uses().await.unwrap();
    assert_eq!(acme.owner.get(&path).await.expect(200)["last_used_ip"], "192.0.2.1");

    globex.owner.patch(&path, json!({"allowed_ips": []})).await.expect_problem(404, "not_found");
    key.patch(&path, json!({"allowed_ips": []})).await.expect_problem(403, "ip_not_allowed");
    acme.member.patch(&path, json!({"allowed_ips": []})).await.expect_problem(403, "permission_denied");
    let changed = acme.admin.patch(&path, json!({"name": "y", "allowed_ips": []})).await.expect(200);
    assert_eq!((&changed["name"], &changed["allowed_ips"]), (&json!("y"), &json!([])));
    key.coming_from(ELSEWHERE).get(ORG).await.expect(200);

    // Both lists hold: the key's and the org's.
    acme.admin.patch(&path, json!({"allowed_ips": [ELSEWHERE]})).await.expect(200);
    ask(&acme, json!({"allowed_ips": [OFFICE]})).await;
    for address in [OFFICE, ELSEWHERE] {
        key.coming_from(address).get(ORG).await.expect_problem(403, "ip_not_allowed");
    }
}

#[tokio::test]
async fn who_tries_a_stolen_key_from_outside_its_networks_is_slowed_down() {
    let app = TestApp::start_with(&format!("{PROXIED}\n[limits.ip]\nquota_per_minute = 6\nburst = 3")).await;
    let acme = app.org().await;
    let body = json!({"name": "x", "scopes": ["org:read"], "allowed_ips": [OFFICE]});
    let made = acme.owner.post(KEYS, body).await.expect(201);
    let key = app.bearer(made["key"].as_str().unwrap());
    for _ in 0..3 {
        key.coming_from(ELSEWHERE).get(ORG).await.expect_problem(403, "ip_not_allowed");
    }
    key.coming_from(ELSEWHERE).get(ORG).await.expect_problem(429, "rate_limited");
    key.coming_from(OFFICE).get(ORG).await.expect(200);
}

#[tokio::test]
async fn networks_that_cannot_be_are_pointed_at_one_by_one() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let wrong = json!(["127.0.0.1", "nowhere", "10.0.0.0/8", "10.0.0.1/8", "300.1.1.1", "::1/129", ""]);
    let key = acme.owner.post(KEYS, json!({"name": "x", "scopes": ["org:read"]})).await.expect(201);
    let path = format!("{KEYS}/{}", id(&key));
    let body = json!({"name": "x", "scopes": ["org:read"], "allowed_ips": wrong});
    for refused in [
        acme.owner.post(KEYS, body).await,
        acme.owner.patch(&path, json!({"allowed_ips": wrong})).await,
        acme.owner.patch(ORG, json!({"allowed_ips": wrong})).await,
    ] {
        let problem = refused.expect_problem(422, "invalid");
        let places = [1, 3, 4, 5, 6].map(|at| format!("/allowed_ips/{at}"));
        assert_eq!(pointers(&problem), places, "{problem}");
        assert!(
            problem["errors"][1]["detail"].as_str().unwrap().ends_with("did you mean 10.0.0.0/8?"),
            "{problem}"
        );
    }
    let most: Vec<String> = (0..100).map(|at| format!("127.0.{at}.0/24")).collect();
    acme.owner.patch(ORG, json!({"allowed_ips": most})).await.expect(200);
    let beyond: Vec<String> = (0..101).map(|at| format!("127.0.{at}.0/24")).collect();
    for allowed_ips in [json!(beyond), Value::Null] {
        for place in [ORG, &path] {
            let problem = acme
                .owner
                .patch(place, json!({"allowed_ips": allowed_ips}))
                .await
                .expect_problem(422, "invalid");
            assert_eq!(pointers(&problem), ["/allowed_ips"]);
        }
    }
}

#[tokio::test]
async fn nobody_asks_of_others_what_they_do_not_have_themselves() {
    let app = TestApp::start_with(PROXIED).await;
    let acme = app.org().await;
    let before = acme.owner.get(ORG).await.expect(200);
    let everything = json!({"require_mfa": true, "require_verified_email": true, "allowed_ips": [OFFICE]});
    let refused = acme.owner.coming_from(ELSEWHERE).patch(ORG, everything).await;
    let problem = refused.expect_problem(422, "invalid");
    assert_eq!(pointers(&problem), ["/allowed_ips", "/require_mfa", "/require_verified_email"]);
    for flaw in problem["errors"].as_array().unwrap() {
        assert_eq!(flaw["code"], "would_lock_you_out");
    }
    // Nor does a name get through beside it.
    let both = json!({"name": "Other", "require_mfa": true});
    acme.owner.patch(ORG, both).await.expect_problem(422, "invalid");
    assert_eq!(acme.owner.get(ORG).await.expect(200), before);

    let key = app.api_key(&acme, &["org:update", "org:read"]).await;
    for patch in
        [json!({"require_mfa": false}), json!({"allowed_ips": []}), json!({"require_verified_email": false})]
    {
        key.patch(ORG, patch.clone()).await.expect_problem(403, "user_required");
        acme.member.patch(ORG, patch).await.expect_problem(403, "permission_denied");
    }
    assert_eq!(key.patch(ORG, json!({"name": "Other"})).await.expect(200)["name"], "Other");
}

#[tokio::test]
async fn an_org_may_ask_its_members_for_a_second_factor() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&acme, &["org:read"]).await;
    let strict = app.signed_in_by(acme.owner.user(), acme.id, true).await;
    let asked = strict.patch(ORG, json!({"require_mfa": true})).await.expect(200);
    assert_eq!((&asked["require_mfa"], &asked["require_verified_email"]), (&json!(true), &json!(false)));

    for path in MATTERS {
        let refused = acme.owner.get(path).await.expect_problem(403, "mfa_required");
        assert!(refused["detail"].as_str().unwrap().contains("POST /api/v1/me/totp"), "{refused}");
        acme.member.get(path).await.expect_problem(403, "mfa_required");
        strict.get(path).await.expect(200);
        key.get(path).await.expect(200);
        globex.owner.get(path).await.expect(200);
    }
    acme.owner.get("/api/v1/me").await.expect(200);
    acme.owner.patch(ORG, json!({"require_mfa": false})).await.expect_problem(403, "mfa_required");
    strict.patch(ORG, json!({"require_mfa": false})).await.expect(200);
    acme.owner.get(ORG).await.expect(200);
}

#[tokio::test]
async fn an_org_may_ask_its_members_for_a_confirmed_address_and_a_refresh_tells_of_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let key = app.api_key(&acme, &["org:read"]).await;
    let early = sign_in(&app, &acme).await;
    app.database.confirm_email(acme.owner.user()).await;
    let unaware = bearer(&app, &early).patch(ORG, json!({"require_verified_email": true})).await;
    unaware.expect_problem(422, "invalid");
    let owner = bearer(&app, &sign_in(&app, &acme).await);
    owner.patch(ORG, json!({"require_verified_email": true})).await.expect(200);

    for path in MATTERS {
        bearer(&app, &early).get(path).await.expect_problem(403, "email_not_verified");
        acme.member.get(path).await.expect_problem(403, "email_not_verified");
        owner.get(path).await.expect(200);
        key.get(path).await.expect(200);
        globex.member.get(path).await.expect(200);
    }
    let refresh = json!({"refresh_token": early["refresh_token"]});
    let later = app.anon().post("/api/v1/auth/refresh", refresh).await.expect(200);
    bearer(&app, &later).get(ORG).await.expect(200);
}

#[tokio::test]
async fn what_an_org_asks_is_audited_with_what_it_asked_before() {
    let app = TestApp::start_with(PROXIED).await;
    let (acme, globex) = (app.org().await, app.org().await);
    ask(&acme, json!({"name": "Acme Ltd", "allowed_ips": ["203.0.113.0/24"]})).await;
    ask(&acme, json!({"name": "Acme Ltd"})).await;
    let told = app.database.audited(acme.id, "org.updated").await;
    assert_eq!(told.len(), 1, "what changed nothing is no event: {told:?}");
    let unasked = json!({"require_mfa": false, "require_verified_email": false});
    let with = |name: &str, allowed_ips: Value| {
        let mut all = unasked.clone();
        all["name"] = name.into();
        all["allowed_ips"] = allowed_ips;
        all
    };
    assert_eq!(told[0]["before"], with(&acme.slug, json!([])));
    assert_eq!(told[0]["after"], with("Acme Ltd", json!(["203.0.113.0/24"])));
    assert_eq!((&told[0]["actor"], &told[0]["ip"]), (&json!(acme.owner.user().uuid()), &json!(OFFICE)));
    assert_eq!(app.database.audited(globex.id, "org.updated").await, [json!(null); 0]);
}

#[tokio::test]
async fn an_allow_list_holds_on_the_other_replica_within_a_second_even_when_its_notification_is_lost() {
    for lost in [false, true] {
        let here = TestApp::start_with(PROXIED).await;
        if lost {
            here.database.cut_notify().await;
        }
        let there = here.replica().await;
        let (acme, globex) = (here.org().await, here.org().await);
        let test = here.api_key_in(&acme, "test", &["org:read"]).await.at(&there.base);
        let (member, other) = (acme.member.at(&there.base), globex.member.at(&there.base));
        for who in [&test, &member, &other] {
            who.get("/api/v1/limits").await.expect(200);
        }
        ask(&acme, json!({"allowed_ips": [OFFICE]})).await;
        for (what, who) in [("a member", &member), ("a test key", &test)] {
            within_a_second(what, async || who.get("/api/v1/limits").await.status == 403).await;
        }
        other.get("/api/v1/limits").await.expect(200);
    }
}
