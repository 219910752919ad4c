//! Whatever changes something is in the audit: every operation of the document is done, and its request looked for.

use super::{
    isolation::make,
    support::{
        ACCEPT, AuthenticatorApp, Document, Operation, Org, PASSWORD, Persona, Reply, TestApp, import, png,
        upload,
    },
};
use serde_json::json;
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Operations that change something and are not in the audit, and why not.
const NOT_RECORDED: [(&str, &str); 7] = [
    ("POST /api/v1/auth/refresh", "continues a session, and is recorded where it ends one"),
    ("POST /api/v1/auth/password/forgot", "only asks for a mail, whether or not there is anybody to get it"),
    ("POST /api/v1/me/email/verification", "only asks for a mail"),
    ("POST /api/v1/roles/explain", "only asks"),
    ("POST /api/v1/limits/plan", "only asks"),
    ("POST /api/v1/roles/{id}/preview", "only asks what would be"),
    ("POST /api/v1/me/totp", "begins what is recorded once it is confirmed"),
];

/// Of these the events are issue 7's.
const LATER: [&str; 3] = ["/api/v1/categories", "/api/v1/products", "/api/v1/orders"];

#[tokio::test]
async fn every_operation_that_changes_something_is_recorded_or_named_here() {
    let app = TestApp::start().await;
    let document = Document::of(&app).await;
    let mut tried = 0;
    for operation in document.operations() {
        let later = LATER.iter().any(|collection| operation.path.starts_with(collection));
        if operation.method == "get" || later {
            continue;
        }
        let reply = succeed(&app, &operation).await;
        assert!(
            reply.status < 300,
            "{operation}: teach `succeed` to have it done: {} {}",
            reply.status,
            reply.text
        );
        let mut recorded = app.database.recorded_of(&reply).await;
        // That an operator called says nothing of what changed.
        recorded.retain(|event| event.action != "operator.called");
        match NOT_RECORDED.iter().find(|(name, _)| *name == operation.to_string()) {
            None => {
                assert!(!recorded.is_empty(), "{operation} changes something, and the audit does not know");
            }
            Some((_, why)) => {
                assert!(recorded.is_empty(), "{operation} is recorded: drop its exception ({why})");
            }
        }
        tried += 1;
    }
    assert!(tried >= 10, "tried {tried}");
}

/// Has an operation done, by somebody who may.
async fn succeed(app: &TestApp, operation: &Operation<'_>) -> Reply {
    let acme = app.org().await;
    let name = operation.to_string();
    let (path, documented) = (operation.path, operation.body());
    let owner = &acme.owner;
    let code = |code: &str| Some(json!({"code": code}));
    match name.as_str() {
        "POST /api/v1/auth/login" => app.log_in(&acme.email(), PASSWORD).await,
        "POST /api/v1/auth/refresh" => app.refresh(&app.session(&acme).await).await,
        "POST /api/v1/auth/switch" => operation.call_with(owner, path, Some(json!({"org": acme.slug}))).await,
        "POST /api/v1/auth/login/totp" => {
            let authenticator = app.enrol(owner).await;
            let challenge = app.challenge(&acme).await;
            app.meet(&challenge, &authenticator.code(app)).await
        }
        "POST /api/v1/auth/invitations/accept" => {
            let invitation = json!({"email": "nora@example.com", "roles": ["viewer"]});
            owner.post("/api/v1/invitations", invitation).await.expect(201);
            let token = app.mailed_token("nora@example.com").await;
            app.anon().post(ACCEPT, json!({"token": token, "name": "Nora", "password": PASSWORD})).await
        }
        "POST /api/v1/auth/password/reset" => {
            let forgot = json!({"email": acme.email()});
            app.anon().post("/api/v1/auth/password/forgot", forgot).await.expect(202);
            let token = app.mailbox().token_for(&acme.email(), "reset_password").await;
            let reset = json!({"token": token, "password": "another horse battery"});
            operation.call_with(&app.anon(), path, Some(reset)).await
        }
        "POST /api/v1/auth/email/verify" => {
            let token = app.mailbox().token_for(&acme.email(), "verify_email").await;
            operation.call_with(&app.anon(), path, Some(json!({"token": token}))).await
        }
        "POST /api/v1/me/password" => {
            let change = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
            operation.call_with(owner, path, Some(change)).await
        }
        // Owners are needed by their org, and nobody leaves their only one.
        "DELETE /api/v1/me" => operation.call_with(&acme.member, path, documented).await,
        "DELETE /api/v1/me/orgs/{id}" => {
            app.join(&acme.member, &app.org().await, "viewer").await;
            operation.call(&acme.member, &format!("/api/v1/me/orgs/{}", acme.id)).await
        }
        // Some other session must be there to end.
        "DELETE /api/v1/me/sessions" => {
            app.signed_in(owner.user(), acme.id).await;
            operation.call(owner, path).await
        }
        "POST /api/v1/me/totp/confirm" => {
            let enrolment = owner.post("/api/v1/me/totp", json!({})).await.expect(201);
            let shown = AuthenticatorApp::new(&enrolment).code(app);
            operation.call_with(owner, path, code(&shown)).await
        }
        "DELETE /api/v1/me/totp" | "POST /api/v1/me/totp/recovery-codes" => {
            let authenticator = app.enrol(owner).await;
            operation.call_with(owner, path, code(&authenticator.code(app))).await
        }
        "PATCH /api/v1/org" => operation.call_with(owner, path, Some(json!({"name": "Renamed"}))).await,
        "POST /api/v1/org/reset" => {
            let key = app.api_key_in(&acme, "test", &["org:delete"]).await;
            operation.call(&key, path).await
        }
        "DELETE /api/v1/org" => {
            app.join(owner, &app.org().await, "viewer").await;
            operation.call_with(owner, path, Some(json!({"confirm": acme.slug}))).await
        }
        "PATCH /api/v1/api-keys/{id}" | "PATCH /api/v1/users/{id}" => changed(app, operation, &acme).await,
        "PATCH /operator/v1/orgs/{id}" => {
            operation.call(&app.operator().await, &format!("/operator/v1/orgs/{}", acme.id)).await
        }
        "POST /operator/v1/tiers" | "PUT /operator/v1/tiers/{slug}" => {
            operation.call(&app.operator().await, &path.replace("{slug}", "free")).await
        }
        "POST /operator/v1/overrides" | "DELETE /operator/v1/overrides/{id}" => {
            let expires_at = (app.clock.now() + Duration::from_mins(1)).format(&Rfc3339).unwrap();
            let exception = json!({"org": acme.slug, "policy": "user", "quota": 7, "expires_at": expires_at, "reason": "a sale"});
            let operator = app.operator().await;
            let made = operator.post("/operator/v1/overrides", exception).await;
            if operation.method == "post" { made } else { operator.delete(made.header("location")).await }
        }
        "DELETE /operator/v1/tiers/{slug}"
        | "DELETE /operator/v1/tiers/{slug}/announcement"
        | "POST /operator/v1/tiers/{slug}/revert" => of_tier(app, operation).await,
        "POST /api/v1/jobs/{id}/retry" => retried(app, owner, &name).await,
        "POST /operator/v1/jobs/{id}/cancel" | "POST /operator/v1/jobs/{id}/retry" => {
            steered(app, owner, operation).await
        }
        "POST /api/v1/files" => upload(owner, "cog.png", "image/png", png()).await,
        "POST /api/v1/imports" => import(owner, "application/x-ndjson", "").await,
        "POST /operator/v1/simulations" => simulation(app).await,
        "POST /operator/v1/simulations/{id}/cancel" => {
            let made = simulation(app).await.expect(202);
            let path = path.replace("{id}", made["id"].as_str().unwrap());
            operation.call_with(&app.operator().await, &path, Some(json!({}))).await
        }
        "POST /operator/v1/keys/rotate" => {
            let rotation = json!({"reason": "a drill", "force": true});
            operation.call_with(&app.operator().await, path, Some(rotation)).await
        }
        _ if operation.is_public() => operation.call(&app.anon(), path).await,
        _ => operation.call(owner, &of_own(app, operation, owner).await).await,
    }
}

/// The same by an operator, or only cancelled.
async fn steered(app: &TestApp, owner: &Persona, operation: &Operation<'_>) -> Reply {
    let made = make(app, owner, &operation.to_string(), "/api/v1/jobs").await;
    if operation.path.ends_with("retry") {
        owner.post(&format!("{made}/cancel"), json!({})).await.expect(200);
    }
    let path = operation.path.replace("{id}", made.rsplit('/').next().unwrap());
    operation.call_with(&app.operator().await, &path, Some(json!({}))).await
}

/// A job that was cancelled, and is to be done after all.
async fn retried(app: &TestApp, owner: &Persona, operation: &str) -> Reply {
    let made = make(app, owner, operation, "/api/v1/jobs").await;
    owner.post(&format!("{made}/cancel"), json!({})).await.expect(200);
    owner.post(&format!("{made}/retry"), json!({})).await
}

/// One that is asked for, of the last hour.
async fn simulation(app: &TestApp) -> Reply {
    let text = |at: OffsetDateTime| at.format(&Rfc3339).unwrap();
    let now = app.clock.now();
    let asked = json!({"tier": "free", "policies": [], "from": text(now - time::Duration::hours(1)), "to": text(now)});
    app.operator().await.post("/operator/v1/simulations", asked).await
}

/// A change that changes something, where the documented one may not.
async fn changed(app: &TestApp, operation: &Operation<'_>, acme: &Org) -> Reply {
    let path = of_own(app, operation, &acme.owner).await;
    let body =
        if path.contains("/users/") { json!({"roles": ["member"]}) } else { json!({"name": "Renamed"}) };
    operation.call_with(&acme.owner, &path, Some(body)).await
}

/// On a tier of its own, with two versions and a third announced.
async fn of_tier(app: &TestApp, operation: &Operation<'_>) -> Reply {
    let operator = app.operator().await;
    let slug = format!("tier-{}", operation.method);
    let new = json!({"slug": slug, "name": "One", "policies": [], "reason": "a drill"});
    operator.post("/operator/v1/tiers", new).await;
    let tier = format!("/operator/v1/tiers/{slug}");
    let mut change = json!({"name": "Two", "policies": [], "reason": "a drill"});
    operator.put(&tier, change.clone()).await.expect(200);
    let later = app.clock.now() + Duration::from_mins(1);
    change["effective_at"] = later.format(&Rfc3339).unwrap().into();
    operator.put(&tier, change).await.expect(200);
    operation.call(&operator, &operation.path.replace("{slug}", &slug)).await
}

/// The operation's path, of something that `by` has made.
async fn of_own(app: &TestApp, operation: &Operation<'_>, by: &Persona) -> String {
    match operation.path.split_once("/{") {
        Some((collection, rest)) => {
            let made = make(app, by, &operation.to_string(), collection).await;
            format!("{made}{}", rest.split_once('}').unwrap().1)
        }
        None => operation.path.to_owned(),
    }
}
