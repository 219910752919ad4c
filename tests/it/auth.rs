//! What signing up and signing in promise, and who a token says you are.

use super::support::{PASSWORD, TestApp, id, pointers};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

const REGISTER: &str = "/api/v1/auth/register";
const LOGIN: &str = "/api/v1/auth/login";

fn account(email: &str, org_name: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "name": "Ada", "org_name": org_name})
}

#[tokio::test]
async fn signing_up_makes_an_org_with_a_sandbox_and_signs_its_owner_in() {
    let app = TestApp::start().await;
    let session =
        app.anon().post(REGISTER, account("Ada@example.com", "Acme & Söhne GmbH")).await.expect(201);
    let org = &session["org"];
    assert_eq!(
        (&org["slug"], &org["name"], &org["tier"], &org["status"]),
        (&json!("acme-s-hne-gmbh"), &json!("Acme & Söhne GmbH"), &json!("free"), &json!("active"))
    );
    assert_eq!(session["orgs"], json!([org]), "the sandbox is no org to sign in to");
    assert_eq!((&session["token_type"], &session["expires_in"]), (&json!("Bearer"), &json!(900)));

    let ada = app.bearer(session["access_token"].as_str().unwrap());
    let me = ada.get("/api/v1/me").await.expect(200);
    assert_eq!(me["roles"], json!(["owner"]));
    assert_eq!((&me["org"], &me["orgs"], &me["email"]), (org, &json!([org]), &json!("ada@example.com")));

    // The sandbox is there all the same: test keys lead to it.
    let key = json!({"name": "try", "mode": "test", "scopes": ["org:read"]});
    let key = ada.post("/api/v1/api-keys", key).await.expect(201);
    let sandbox = app.bearer(key["key"].as_str().unwrap()).get("/api/v1/org").await.expect(200);
    assert_ne!(sandbox["id"], org["id"]);
    assert_eq!(sandbox["tier"], "sandbox");
}

#[tokio::test]
async fn orgs_of_one_name_get_slugs_of_their_own() {
    let app = TestApp::start().await;
    let mut slugs = Vec::new();
    for email in ["a@example.com", "b@example.com", "c@example.com"] {
        let session = app.anon().post(REGISTER, account(email, "Blue Moon")).await.expect(201);
        slugs.push(session["org"]["slug"].as_str().unwrap().to_owned());
    }
    assert_eq!(slugs[0], "blue-moon");
    assert!(slugs[1..].iter().all(|slug| slug.starts_with("blue-moon-")), "{slugs:?}");
    assert_ne!(slugs[1], slugs[2]);
    // Nothing in a name is a reason to refuse it.
    let session = app.anon().post(REGISTER, account("d@example.com", "大船")).await.expect(201);
    assert_eq!(session["org"]["slug"], "org");
}

#[tokio::test]
async fn an_address_signs_up_once_in_whatever_case_and_nothing_is_left_of_the_second_try() {
    let app = TestApp::start().await;
    app.anon().post(REGISTER, account("ada@example.com", "First")).await.expect(201);
    for email in ["ada@example.com", "ADA@Example.COM"] {
        app.anon().post(REGISTER, account(email, "Second")).await.expect_problem(409, "email_taken");
    }
    let operator = app.operator().await;
    let found = operator.get("/operator/v1/orgs?q=first").await.expect(200);
    assert_eq!(found["data"].as_array().unwrap().len(), 2, "the org and its sandbox");
    assert_eq!(operator.get("/operator/v1/orgs?q=second").await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_signed_up_with_is_pointed_at() {
    let app = TestApp::start().await;
    for (field, value) in [
        ("password", json!("short")),
        ("password", json!("x".repeat(257))),
        ("email", json!("nobody")),
        ("email", json!("nobody@")),
        ("name", json!("")),
        ("org_name", json!("x".repeat(201))),
        ("role", json!("owner")),
    ] {
        let mut account = account("ada@example.com", "Acme");
        account[field] = value;
        let problem = app.anon().post(REGISTER, account).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [format!("/{field}")]);
    }
}

#[tokio::test]
async fn one_signs_in_to_the_first_org_joined_or_to_one_named_by_id_or_slug() {
    let app = TestApp::start().await;
    let (acme, globex, initech) = (app.org().await, app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "viewer").await;
    let email = format!("Owner@{}.example", acme.slug.to_uppercase());
    let anybody = app.anon();
    let login = async |org: Value| {
        anybody.post(LOGIN, json!({"email": email, "password": PASSWORD, "org": org})).await
    };
    for (asked, org) in [
        (Value::Null, &acme),
        (json!(acme.slug), &acme),
        (json!(globex.slug), &globex),
        (json!(globex.id.to_string()), &globex),
    ] {
        let session = login(asked).await.expect(200);
        assert_eq!(id(&session["org"]), org.id.to_string());
        assert_eq!(session["orgs"].as_array().unwrap().len(), 2);
        let me = app.bearer(session["access_token"].as_str().unwrap()).get("/api/v1/me").await.expect(200);
        assert_eq!((&me["org"], &me["id"]), (&session["org"], &json!(acme.owner.user().to_string())));
    }
    // An org one is no member of and an org that never was look the same.
    let strange = login(json!(initech.slug)).await;
    strange.expect_problem(403, "not_a_member");
    let missing = login(json!("nowhere")).await;
    assert_eq!(strange.without_request_id(), missing.without_request_id());
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let email = format!("owner@{}.example", acme.slug);
    let wrong = app.anon().post(LOGIN, json!({"email": email, "password": "not the password"})).await;
    wrong.expect_problem(401, "invalid_credentials");
    assert!(wrong.header("www-authenticate").starts_with("Bearer"));
    let unknown = json!({"email": "nobody@example.com", "password": PASSWORD});
    let unknown = app.anon().post(LOGIN, unknown).await;
    assert_eq!(wrong.without_request_id(), unknown.without_request_id());
}

#[tokio::test]
async fn the_published_keys_verify_a_token_and_nothing_more() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let published = app.anon().get("/.well-known/jwks.json").await.expect(200);
    for key in published["keys"].as_array().unwrap() {
        let mut members: Vec<&String> = key.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "no private parts");
    }
    let published: JwkSet = serde_json::from_value(published).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["insula-api"]);
    validation.set_issuer(&["http://insula.test"]);
    for (persona, org) in [(&acme.owner, &acme), (&globex.viewer, &globex)] {
        let token = persona.token.as_deref().unwrap();
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let key = DecodingKey::from_jwk(published.find(&kid).unwrap()).unwrap();
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], persona.user().to_string());
        assert_eq!(claims["org"], org.id.to_string());
        let mut names: Vec<&String> = claims.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(
            names,
            ["amr", "aud", "auth_time", "email_verified", "exp", "iat", "iss", "jti", "org", "sid", "sub"],
            "what a role may do is looked up"
        );
    }
}

#[tokio::test]
async fn me_is_a_person_with_the_roles_held_here() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.viewer, &globex, "admin").await;
    let me = acme.viewer.get("/api/v1/me").await.expect(200);
    assert_eq!(me["roles"], json!(["viewer"]), "not what is held elsewhere");
    assert_eq!(me["orgs"].as_array().unwrap().len(), 2);

    app.anon().get("/api/v1/me").await.expect_problem(401, "unauthenticated");
    app.bearer("nonsense").get("/api/v1/me").await.expect_problem(401, "invalid_token");
    let key = app.api_key(&acme, &["org:read"]).await;
    key.get("/api/v1/me").await.expect_problem(403, "user_required");
}
