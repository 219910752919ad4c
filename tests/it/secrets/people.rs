//! What people do: with their sessions, by mail, and with a second factor.

use super::run::{Run, TOKENS};
use crate::support::{ACCEPT, AuthenticatorApp, Persona, Reply, delete_with, id};
use reqwest::Method;
use serde_json::json;

/// Signing up, in and out, and leaving: the password of whoever did.
pub async fn people(base: &str, run: &mut Run) -> String {
    let anon = Persona::new(base, None);
    let (password, wrong) = (run.password("password"), run.password("wrong password"));
    let new =
        json!({"email": "ada@example.com", "password": password, "name": "Ada", "org_name": "Lovelace"});
    let reply = anon.post("/api/v1/auth/register", new.clone()).await;
    reply.expect(201);
    run.shown("register", &reply, TOKENS);
    let reply = anon.post("/api/v1/auth/register", new).await;
    reply.expect_problem(409, "email_taken");
    run.answered("register again", &reply);

    let login = async |password: &str| {
        anon.post("/api/v1/auth/login", json!({"email": "ada@example.com", "password": password})).await
    };
    let reply = login(&wrong).await;
    reply.expect_problem(401, "invalid_credentials");
    run.answered("login with the wrong password", &reply);
    let reply = login(&password).await;
    reply.expect(200);
    let [access, first] = run.shown("login", &reply, TOKENS);
    let ada = Persona::new(base, Some(access));

    let refresh =
        async |token: &str| anon.post("/api/v1/auth/refresh", json!({"refresh_token": token})).await;
    let reply = refresh(&first).await;
    reply.expect(200);
    let [_, second] = run.shown("refresh", &reply, TOKENS);
    let reply = refresh(&second).await;
    reply.expect(200);
    run.shown("refresh again", &reply, TOKENS);
    let reply = ada.post("/api/v1/auth/switch", json!({"org": "lovelace"})).await;
    reply.expect(200);
    run.shown("switch", &reply, TOKENS);
    for path in ["/api/v1/me", "/api/v1/me/export", "/api/v1/audit-events", "/api/v1/org"] {
        let reply = ada.get(path).await;
        reply.expect(200);
        run.answered(path, &reply);
    }
    let leave = async |password: &str| {
        Reply::of(ada.request(Method::DELETE, "/api/v1/me").json(&json!({"password": password}))).await
    };
    let reply = leave(&wrong).await;
    reply.expect_problem(422, "invalid");
    run.answered("leaving with the wrong password", &reply);
    // Theft: the whole session ends.
    let reply = refresh(&first).await;
    reply.expect_problem(401, "invalid_refresh_token");
    run.answered("refresh with a used token", &reply);
    let reply = ada.get("/api/v1/me").await;
    reply.expect_problem(401, "session_ended");
    run.answered("me, after the session", &reply);
    password
}

const GRACE: &str = "grace@example.com";

/// What goes by mail: confirming an address, a forgotten password, another address.
pub async fn mail_readers(base: &str, run: &mut Run) {
    let anon = Persona::new(base, None);
    let (first, second) = (run.password("password of grace"), run.password("password reset by grace"));
    run.signs_up(base, GRACE, &first).await;
    let token = run.mailed(GRACE, "verify-email").await;
    let verify = async |token: &str| anon.post("/api/v1/auth/email/verify", json!({"token": token})).await;
    run.told("verify", &verify(&token).await, 204);
    run.refused("verify again", &verify(&token).await, 422, "invalid");

    run.told("forgot", &anon.post("/api/v1/auth/password/forgot", json!({"email": GRACE})).await, 202);
    let token = run.mailed(GRACE, "reset-password").await;
    let reset = async |password: &str| {
        anon.post("/api/v1/auth/password/reset", json!({"token": token, "password": password})).await
    };
    run.refused("reset to the easiest", &reset("password1234").await, 422, "invalid");
    run.told("reset", &reset(&second).await, 204);
    run.refused("reset again", &reset(&second).await, 422, "invalid");
    let login = json!({"email": GRACE, "password": first});
    let reply = anon.post("/api/v1/auth/login", login).await;
    run.refused("login with the password before", &reply, 401, "invalid_credentials");
    let grace = run.signs_in(base, GRACE, &second).await;

    let (third, wrong) = (run.password("changed password of grace"), run.password("not that of grace"));
    for (current, new, status) in [(&wrong, &third, 422), (&second, &third, 204), (&second, &third, 422)] {
        let change = json!({"current_password": current, "new_password": new});
        run.told("change of password", &grace.post("/api/v1/me/password", change).await, status);
    }
    let renamed = "hopper@example.com";
    for (password, status) in [(&wrong, 422), (&third, 202)] {
        let wish = json!({"email": renamed, "password": password});
        run.told("change of address", &grace.post("/api/v1/me/email", wish).await, status);
    }
    for address in [GRACE, renamed] {
        let token = run.mailed(address, "confirm-email").await;
        run.told("confirm", &verify(&token).await, 204);
        run.refused("confirm again", &verify(&token).await, 422, "invalid");
    }
    run.signs_in(base, renamed, &third).await;
    run.told("export", &grace.get("/api/v1/me/export").await, 200);
    run.told("audit", &grace.get("/api/v1/audit-events?limit=100").await, 200);
}

/// The second factor, its recovery codes, and proving oneself anew.
pub async fn two_factors(base: &str, run: &mut Run) {
    let (email, anon) = ("heidi@example.com", Persona::new(base, None));
    let (password, wrong) = (run.password("password of heidi"), run.password("not that of heidi"));
    let heidi = run.signs_up(base, email, &password).await;
    let step_up = async |body| heidi.post("/api/v1/auth/step-up", body).await;
    run.refused("step up by a wrong one", &step_up(json!({"password": wrong})).await, 422, "invalid");
    let reply = step_up(json!({"password": password})).await;
    run.shown("step up", &reply, ["access_token"]);

    enrolment(run, &heidi, "first").await;
    let phone = enrolment(run, &heidi, "second").await;
    let confirm = json!({"code": phone.code_now()});
    let reply = heidi.post("/api/v1/me/totp/confirm", confirm).await;
    reply.expect(200);
    let mut codes = recovery_codes(run, "confirm", &reply).into_iter();
    let mut code = || codes.next().unwrap();

    let login = json!({"email": email, "password": password});
    let reply = anon.post("/api/v1/auth/login", login).await;
    reply.expect_problem(401, "mfa_required");
    let [challenge] = run.shown("login with a second factor", &reply, ["challenge"]);
    let meet = async |code: &str| {
        let body = json!({"challenge": challenge, "code": code});
        anon.post("/api/v1/auth/login/totp", body).await
    };
    // What is typed may be good elsewhere; forty letters at most.
    let foreign = run.password("wrong code");
    let typed = &foreign[foreign.len() - 40..];
    run.refused("a wrong code", &meet(typed).await, 401, "invalid_code");
    let first = code();
    let reply = meet(&first).await;
    reply.expect(200);
    run.shown("login by a recovery code", &reply, TOKENS);
    run.refused("a met challenge", &meet(&first).await, 401, "invalid_challenge");

    let both = |code: &str| json!({"password": password, "code": code});
    run.refused("step up by a used code", &step_up(both(&first)).await, 422, "invalid");
    let reply = step_up(both(&code())).await;
    run.shown("step up with both", &reply, ["access_token"]);
    let renew = json!({"code": code()});
    let reply = heidi.post("/api/v1/me/totp/recovery-codes", renew).await;
    reply.expect(200);
    let renewed = recovery_codes(run, "renewal", &reply);
    run.told("second factor", &heidi.get("/api/v1/me/totp").await, 200);
    let off = async |code: &str| delete_with(&heidi, "/api/v1/me/totp", json!({"code": code})).await;
    run.refused("taking it off by an old code", &off(&code()).await, 422, "invalid");
    run.told("taking it off", &off(&renewed[0]).await, 204);
    run.told("sessions", &heidi.get("/api/v1/me/sessions").await, 200);
    run.told("export", &heidi.get("/api/v1/me/export").await, 200);
    run.told("audit", &heidi.get("/api/v1/audit-events?limit=100").await, 200);
}

/// In which the secret is shown twice, and may be kept as bytes.
async fn enrolment(run: &mut Run, who: &Persona, which: &str) -> AuthenticatorApp {
    let reply = who.post("/api/v1/me/totp", json!({})).await;
    let phone = AuthenticatorApp::new(&reply.expect(201));
    // The longer one first: it holds the other.
    run.shown(&format!("{which} enrolment"), &reply, ["otpauth_uri", "secret"]);
    run.keep_bytes(&format!("secret of the {which} enrolment"), &phone.secret());
    phone
}

/// As they are shown, and as they may be kept.
fn recovery_codes(run: &mut Run, request: &str, reply: &Reply) -> Vec<String> {
    let codes = run.shown_all(request, reply, "recovery_codes");
    assert_eq!(codes.len(), 10);
    for code in &codes {
        run.keep("recovery code, in one", &code.replace('-', ""));
    }
    codes
}

/// Invitations, to somebody new and to ada, who has an account.
pub async fn guests(base: &str, password_of_ada: &str, run: &mut Run) {
    const INVITATIONS: &str = "/api/v1/invitations";
    let anon = Persona::new(base, None);
    let password = run.password("password of ivan");
    let ivan = run.signs_up(base, "ivan@example.com", &password).await;
    let accept = async |body| anon.post(ACCEPT, body).await;

    let nora = "nora@example.com";
    let reply = ivan.post(INVITATIONS, json!({"email": nora, "roles": ["member"]})).await;
    let invitation = run.told("invite", &reply, 201);
    let dead = run.mailed(nora, "accept-invitation").await;
    let path = format!("{INVITATIONS}/{}", id(&invitation));
    run.told("resend", &ivan.post(&format!("{path}/resend"), json!({})).await, 200);
    let token = run.mailed(nora, "accept-invitation").await;
    let password = run.password("password of nora");
    let with = |token: &str| json!({"token": token, "password": password, "name": "Nora"});
    run.refused("accept by a dead link", &accept(with(&dead)).await, 401, "invalid_invitation");
    let nameless = json!({"token": token, "password": password});
    run.refused("accept without a name", &accept(nameless).await, 422, "invalid");
    let reply = accept(with(&token)).await;
    reply.expect(201);
    let [access, _] = run.shown("accept as a newcomer", &reply, TOKENS);
    run.refused("accept again", &accept(with(&token)).await, 401, "invalid_invitation");
    let nora = Persona::new(base, Some(access));
    run.refused("invite as a member", &nora.post(INVITATIONS, json!({})).await, 403, "permission_denied");

    let ada = json!({"email": "ada@example.com", "roles": ["viewer"]});
    run.told("invite ada", &ivan.post(INVITATIONS, ada).await, 201);
    let token = run.mailed("ada@example.com", "accept-invitation").await;
    let wrong = run.password("not that of ada");
    let reply = accept(json!({"token": token, "password": wrong})).await;
    run.refused("accept with a wrong password", &reply, 401, "invalid_credentials");
    let reply = accept(json!({"token": token, "password": password_of_ada})).await;
    reply.expect(200);
    run.shown("accept as ada", &reply, TOKENS);
    for path in [INVITATIONS, &path, "/api/v1/users", "/api/v1/audit-events?limit=100"] {
        run.told(path, &ivan.get(path).await, 200);
    }
}
