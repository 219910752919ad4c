//! Whatever changes something is in the audit: every operation of the document is done, and its request looked for.

use super::{
    isolation::make,
    support::{
        ACCEPT, AuthenticatorApp, Database, Document, Operation, Org, PASSWORD, Persona, Reply, TestApp, cog,
        import, labour, png, product, until, upload,
    },
};
use insula::{ids::ProductId, worker};
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Operations that change something and are not in the audit, and why not.
const NOT_RECORDED: [(&str, &str); 8] = [
    ("POST /api/v1/auth/refresh", "continues a session, and is recorded where it ends one"),
    ("POST /api/v1/auth/password/forgot", "only asks for a mail, whether or not there is anybody to get it"),
    ("POST /api/v1/me/email/verification", "only asks for a mail"),
    ("POST /api/v1/roles/explain", "only asks"),
    ("POST /api/v1/limits/plan", "only asks"),
    ("POST /api/v1/roles/{id}/preview", "only asks what would be"),
    ("POST /api/v1/me/totp", "begins what is recorded once it is confirmed"),
    ("POST /api/v1/events/ticket", "stands for what the caller has already, for half a minute"),
];

/// What transactions write without a line of the audit and an event beside, and why.
const UNTOLD: [(&str, &str); 20] = [
    ("api_keys", "when a key was used last"),
    ("audit_events", "the platform's own, which nobody listens to"),
    ("audit_events audit_heads", "sealing"),
    ("audit_events control_log", "the platform's own, which nobody listens to"),
    ("audit_events refresh_tokens", "of people without an organisation: who would be told?"),
    ("control_log members org_control", "the tests' own way to make members"),
    ("event_heads events", "numbering"),
    ("event_heads events webhook_deliveries", "numbering, and whom it is told to"),
    ("job_files", "that a file may come: the job is told when it is enqueued"),
    ("jobs", "whose turn it is, and how far it has come; and the tests' own way to make jobs"),
    ("live_connections", "how many listen"),
    ("loose_files", "that bytes may be left: the file is told when it is one"),
    ("mails", "that a mail was sent"),
    ("org_control", "the tests' own way to a tier"),
    ("permission_uses", "what was used"),
    ("refresh_tokens", "a session goes on"),
    ("usage_minutes usage_route_minutes", "what was asked for"),
    ("webhook_deliveries", "what was to be sent to a webhook that is deleted goes by and by"),
    ("webhook_endpoints webhook_secrets", "what is left of a webhook that is deleted, which was told then"),
    ("webhook_secrets", "what signs nothing any more"),
];

#[tokio::test]
async fn every_operation_that_changes_something_is_recorded_or_named_here() {
    let database = Database::new().await;
    database.watch().await;
    let app = TestApp::start_on(database, "").await;
    let document = Document::of(&app).await;
    let mut tried = 0;
    for operation in document.operations() {
        if operation.method == "get" {
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
    work_and_sweep(&app).await;
    let mut untold = app.database.written_untold().await;
    untold.retain(|tables| UNTOLD.iter().all(|(known, _)| known != tables));
    assert!(untold.is_empty(), "what a transaction changes is told in it, or named above: {untold:?}");
}

/// What is done besides requests.
async fn work_and_sweep(app: &TestApp) {
    let owner = app.org().await.owner;
    let order = make(app, &owner, "", "/api/v1/orders").await;
    let sold = owner.get(&order).await.expect(200)["lines"][0]["product_id"].clone();
    owner.delete(&format!("/api/v1/products/{}", sold.as_str().unwrap())).await.expect(204);
    owner.delete(&make(app, &owner, "", "/api/v1/products").await).await.expect(204);
    let age = "set session_replication_role = replica; \
               update products set deleted_at = deleted_at - interval '31 days'";
    app.database.run(age).await;
    let rows = format!("{}\n{}\n", product("A", 1), product("A", 2));
    let asked = import(&owner, "application/x-ndjson", rows).await;
    asked.expect(202);
    let _work = labour::work_for_real(app);
    until("the import is done", async || {
        owner.get(asked.header("location")).await.expect(200)["status"] == "succeeded"
    })
    .await;
    worker::sweep_rows(&app.state).await.unwrap();
    let purged = format!(
        "select count(*) from events where type = 'product.purged' and target = '{}'",
        uuid_in(&sold)
    );
    assert_eq!(app.database.count(purged).await, 1, "what orders name is purged as well");
}

fn uuid_in(product: &Value) -> Uuid {
    product.as_str().unwrap().parse::<ProductId>().unwrap().uuid()
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
        "POST /api/v1/auth/invitations/accept"
        | "POST /api/v1/auth/password/reset"
        | "POST /api/v1/auth/email/verify" => by_mail(app, operation, &acme).await,
        _ if SHOP.iter().any(|collection| path.starts_with(collection)) => {
            in_the_shop(app, operation, owner).await
        }
        _ if operation.is_public() => operation.call(&app.anon(), path).await,
        _ => operation.call(owner, &of_own(app, operation, owner).await).await,
    }
}

/// With what was mailed.
async fn by_mail(app: &TestApp, operation: &Operation<'_>, acme: &Org) -> Reply {
    match operation.to_string().as_str() {
        "POST /api/v1/auth/invitations/accept" => {
            let invitation = json!({"email": "nora@example.com", "roles": ["viewer"]});
            acme.owner.post("/api/v1/invitations", invitation).await.expect(201);
            let token = app.mailed_token("nora@example.com").await;
            app.anon().post(ACCEPT, json!({"token": token, "name": "Nora", "password": PASSWORD})).await
        }
        "POST /api/v1/auth/password/reset" => {
            let forgot = json!({"email": acme.email()});
            app.anon().post("/api/v1/auth/password/forgot", forgot).await.expect(202);
            let token = app.mailbox().token_for(&acme.email(), "reset_password").await;
            let reset = json!({"token": token, "password": "another horse battery"});
            operation.call_with(&app.anon(), operation.path, Some(reset)).await
        }
        "POST /api/v1/auth/email/verify" => {
            let token = app.mailbox().token_for(&acme.email(), "verify_email").await;
            operation.call_with(&app.anon(), operation.path, Some(json!({"token": token}))).await
        }
        other => panic!("{other} needs no mail"),
    }
}

const SHOP: [&str; 3] = ["/api/v1/categories", "/api/v1/products", "/api/v1/orders"];

async fn in_the_shop(app: &TestApp, operation: &Operation<'_>, owner: &Persona) -> Reply {
    let (name, path) = (operation.to_string(), operation.path);
    match name.as_str() {
        "POST /api/v1/orders" => {
            let product = owner.post("/api/v1/products", cog()).await.expect(201);
            owner.post(path, json!({"lines": [{"product_id": product["id"], "quantity": 1}]})).await
        }
        "POST /api/v1/orders/{id}/fulfil" | "POST /api/v1/orders/{id}/refund" => {
            let order = make(app, owner, &name, "/api/v1/orders").await;
            owner.post(&format!("{order}/pay"), json!({})).await.expect(200);
            owner.post(&path.replace("/api/v1/orders/{id}", &order), json!({})).await
        }
        "POST /api/v1/products" => owner.post(path, cog()).await,
        "POST /api/v1/categories" => owner.post(path, json!({"name": "Tools"})).await,
        "POST /api/v1/products/{id}/restore" => {
            let product = make(app, owner, &name, "/api/v1/products").await;
            owner.delete(&product).await.expect(204);
            owner.post(&format!("{product}/restore"), json!({})).await
        }
        "POST /api/v1/products/{id}/images" => {
            let product = make(app, owner, &name, "/api/v1/products").await;
            owner.post(&format!("{product}/images"), json!({"file_id": owner.picture().await["id"]})).await
        }
        "PATCH /api/v1/products/{id}/images/{image_id}"
        | "DELETE /api/v1/products/{id}/images/{image_id}" => {
            let image = make(app, owner, &name, "/api/v1/products/{id}/images").await;
            operation
                .call_with(owner, &image, (operation.method == "patch").then(|| json!({"alt": "A cog"})))
                .await
        }
        "PATCH /api/v1/products/{id}" | "PATCH /api/v1/categories/{id}" => {
            operation
                .call_with(owner, &of_own(app, operation, owner).await, Some(json!({"name": "Renamed"})))
                .await
        }
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
