//! The second factor: set up, asked for at sign-in, good once, and replaced by recovery codes where it is lost.

use super::support::{AuthenticatorApp, PASSWORD, TestApp, claims, delete_with, pointers};
use futures::future::join_all;
use serde_json::{Value, json};
use std::{collections::HashSet, time::Duration};

const TOTP: &str = "/api/v1/me/totp";
const STEP: Duration = Duration::from_secs(30);

fn code(code: impl Into<Value>) -> Value {
    json!({"code": code.into()})
}

#[tokio::test]
async fn once_confirmed_signing_in_takes_a_code_and_the_session_says_so() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let session = app.session(&acme).await;
    assert_eq!(claims(&session)["amr"], json!(["pwd"]));
    let ada = app.holder(&session);

    let begun = ada.post(TOTP, json!({})).await;
    assert_eq!(begun.header("location"), TOTP);
    let begun = begun.expect(201);
    let uri = begun["otpauth_uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/Insula:owner%40"), "{uri}");
    assert!(uri.contains(begun["secret"].as_str().unwrap()), "{uri}");
    let nothing = json!({"enrolled": false, "confirmed_at": null, "recovery_codes_left": 0});
    assert_eq!(ada.get(TOTP).await.expect(200), nothing);
    app.session(&acme).await;

    let phone = AuthenticatorApp::new(&begun);
    let confirm = "/api/v1/me/totp/confirm";
    let wrong = ada.post(confirm, code(phone.wrong_code(&app))).await.expect_problem(422, "invalid");
    assert_eq!(pointers(&wrong), ["/code"]);
    let confirmed = ada.post(confirm, code(phone.code(&app))).await.expect(200);
    let codes: HashSet<String> =
        confirmed["recovery_codes"].as_array().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(codes.len(), 10);
    let state = ada.get(TOTP).await.expect(200);
    assert_eq!((&state["enrolled"], &state["recovery_codes_left"]), (&json!(true), &json!(10)));
    ada.post(confirm, code(phone.code(&app))).await.expect_problem(409, "already_enrolled");
    ada.post(TOTP, json!({})).await.expect_problem(409, "already_enrolled");
    // The session that confirmed has shown both.
    assert_eq!(claims(&app.refresh(&session).await.expect(200))["amr"], json!(["pwd", "otp"]));

    app.clock.advance(STEP);
    let asked = app.log_in(&acme.email(), PASSWORD).await;
    let problem = asked.expect_problem(401, "mfa_required");
    assert!(asked.header("www-authenticate").contains("insufficient_user_authentication"));
    assert_eq!(problem["expires_in"], 300);
    let session = app.meet(problem["challenge"].as_str().unwrap(), &phone.code(&app)).await.expect(200);
    assert_eq!(claims(&session)["amr"], json!(["pwd", "otp"]));
    assert_eq!(claims(&app.refresh(&session).await.expect(200))["amr"], json!(["pwd", "otp"]));
    assert_eq!(app.holder(&session).get("/api/v1/me").await.expect(200)["email"], acme.email());

    assert_eq!(app.audited_times(acme.id, "totp.enabled").await, 1);
    assert_eq!(app.mails_to(&acme.email()).await, ["mfa_enabled"]);
    assert_eq!(app.audited_times(globex.id, "totp.enabled").await, 0);
    app.log_in(&globex.email(), PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_secret_that_was_never_confirmed_is_replaced_by_the_next() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let confirm = "/api/v1/me/totp/confirm";
    acme.owner.post(confirm, code("123456")).await.expect_problem(409, "not_enrolled");
    let first = AuthenticatorApp::new(&acme.owner.post(TOTP, json!({})).await.expect(201));
    let second = AuthenticatorApp::new(&acme.owner.post(TOTP, json!({})).await.expect(201));
    acme.owner.post(confirm, code(first.code(&app))).await.expect_problem(422, "invalid");
    acme.owner.post(confirm, code(second.code(&app))).await.expect(200);
}

#[tokio::test]
async fn whoever_holds_a_stolen_session_can_not_guess_their_way_into_an_enrolment() {
    let app = TestApp::start_with("[auth]\nlock_after_failures = 3").await;
    let acme = app.org().await;
    let phone = AuthenticatorApp::new(&acme.owner.post(TOTP, json!({})).await.expect(201));
    let confirm = "/api/v1/me/totp/confirm";
    for _ in 0..3 {
        acme.owner.post(confirm, code(phone.wrong_code(&app))).await.expect_problem(422, "invalid");
    }
    acme.owner.post(confirm, code(phone.code(&app))).await.expect_problem(429, "too_many_attempts");
}

#[tokio::test]
async fn a_code_is_good_once_wherever_it_is_shown() {
    let app = TestApp::start().await;
    let there = app.replica().await;
    let acme = app.org().await;
    let phone = app.enrol(&acme.owner).await;
    let step_up = async |code: &str| {
        let body = json!({"password": PASSWORD, "code": code});
        acme.owner.post("/api/v1/auth/step-up", body).await
    };

    // Twice at once, on two replicas, for two challenges.
    let shown = phone.code(&app);
    let challenges = [app.challenge(&acme).await, app.challenge(&acme).await];
    let both = join_all([app.meet(&challenges[0], &shown), there.meet(&challenges[1], &shown)]).await;
    let mut statuses: Vec<u16> = both.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    let challenge = app.challenge(&acme).await;
    app.meet(&challenge, &shown).await.expect_problem(401, "invalid_code");
    assert_eq!(pointers(&step_up(&shown).await.expect_problem(422, "invalid")), ["/code"]);
    delete_with(&acme.owner, TOTP, code(shown.clone())).await.expect_problem(422, "invalid");
    let renew = "/api/v1/me/totp/recovery-codes";
    acme.owner.post(renew, code(shown)).await.expect_problem(422, "invalid");

    // A step that was skipped is gone once a later one was shown.
    app.clock.advance(STEP);
    let skipped = phone.code(&app);
    app.clock.advance(STEP);
    step_up(&phone.code(&app)).await.expect(200);
    app.meet(&challenge, &skipped).await.expect_problem(401, "invalid_code");
}

#[tokio::test]
async fn a_code_is_good_for_its_step_and_the_ones_beside_it() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let phone = app.enrol(&acme.owner).await;
    for (later, status) in [(STEP, 200), (STEP * 2, 401)] {
        app.clock.advance(STEP * 3);
        let shown = phone.code(&app);
        app.clock.advance(later);
        assert_eq!(app.meet(&app.challenge(&acme).await, &shown).await.status, status, "{later:?}");
    }
}

#[tokio::test]
async fn a_challenge_is_good_for_five_tries_five_minutes_and_one_sign_in() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let phone = app.enrol(&acme.owner).await;
    for nonsense in ["", "insula_challenge_nonsense"] {
        app.meet(nonsense, &phone.code(&app)).await.expect_problem(401, "invalid_challenge");
    }

    let challenge = app.challenge(&acme).await;
    for _ in 0..5 {
        app.meet(&challenge, &phone.wrong_code(&app)).await.expect_problem(401, "invalid_code");
    }
    app.meet(&challenge, &phone.code(&app)).await.expect_problem(401, "invalid_challenge");

    let challenge = app.challenge(&acme).await;
    app.clock.advance(Duration::from_secs(299));
    app.meet(&challenge, &phone.code(&app)).await.expect(200);
    app.clock.advance(STEP);
    app.meet(&challenge, &phone.code(&app)).await.expect_problem(401, "invalid_challenge");

    let challenge = app.challenge(&acme).await;
    app.clock.advance(Duration::from_mins(5));
    app.meet(&challenge, &phone.code(&app)).await.expect_problem(401, "invalid_challenge");

    // One challenge, two good codes, at once.
    let challenge = app.challenge(&acme).await;
    let recovery = &phone.recovery_codes[0];
    let both = join_all([app.meet(&challenge, &phone.code(&app)), app.meet(&challenge, recovery)]).await;
    assert_eq!(both.iter().filter(|reply| reply.status == 200).count(), 1, "{both:?}");
}

#[tokio::test]
async fn a_challenge_remembers_which_org_was_asked_for() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "viewer").await;
    let phone = app.enrol(&acme.owner).await;
    let login = json!({"email": acme.email(), "password": PASSWORD, "org": globex.slug});
    let problem = app.anon().post("/api/v1/auth/login", login).await.expect_problem(401, "mfa_required");
    let session = app.meet(problem["challenge"].as_str().unwrap(), &phone.code(&app)).await.expect(200);
    assert_eq!(session["org"]["slug"], globex.slug);
    assert_eq!(app.audited_times(globex.id, "totp.enabled").await, 1, "every org of hers is told");
}

#[tokio::test]
async fn wrong_codes_count_like_wrong_passwords_and_a_right_password_alone_forgives_none() {
    let app = TestApp::start_with("[auth]\nlock_after_failures = 4").await;
    let acme = app.org().await;
    let phone = app.enrol(&acme.owner).await;
    for _ in 0..4 {
        let challenge = app.challenge(&acme).await;
        app.meet(&challenge, &phone.wrong_code(&app)).await.expect_problem(401, "invalid_code");
    }
    app.log_in(&acme.email(), PASSWORD).await.expect_problem(429, "too_many_attempts");
    let code = code(phone.code(&app));
    acme.owner
        .post("/api/v1/me/totp/recovery-codes", code.clone())
        .await
        .expect_problem(429, "too_many_attempts");
    delete_with(&acme.owner, TOTP, code).await.expect_problem(429, "too_many_attempts");
    assert_eq!(app.mails_to(&acme.email()).await, ["mfa_enabled", "account_locked"]);
}

#[tokio::test]
async fn a_recovery_code_stands_in_for_the_app_once() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let phone = app.enrol(&acme.owner).await;
    let lost = &phone.recovery_codes[3];
    let typed = lost.to_uppercase().replace('-', " ");
    let session = app.meet(&app.challenge(&acme).await, &typed).await.expect(200);
    assert_eq!(claims(&session)["amr"], json!(["pwd", "otp"]));
    let challenge = app.challenge(&acme).await;
    app.meet(&challenge, lost).await.expect_problem(401, "invalid_code");
    assert_eq!(acme.owner.get(TOTP).await.expect(200)["recovery_codes_left"], 9);

    let renewed = acme.owner.post("/api/v1/me/totp/recovery-codes", code(phone.code(&app))).await.expect(200);
    app.meet(&challenge, &phone.recovery_codes[4]).await.expect_problem(401, "invalid_code");
    app.meet(&challenge, renewed["recovery_codes"][4].as_str().unwrap()).await.expect(200);
    assert_eq!(app.audited_times(acme.id, "recovery_code.used").await, 2);
    assert_eq!(app.audited_times(acme.id, "recovery_codes.renewed").await, 1);
}

#[tokio::test]
async fn it_is_taken_off_with_a_code_and_a_fresh_sign_in_and_is_gone_everywhere() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    delete_with(&acme.owner, TOTP, code("123456")).await.expect_problem(409, "not_enrolled");
    let (phone, other) = (app.enrol(&acme.owner).await, app.enrol(&globex.owner).await);
    let session = app.meet(&app.challenge(&acme).await, &phone.code(&app)).await.expect(200);
    let wrong = delete_with(&acme.owner, TOTP, code(phone.wrong_code(&app))).await;
    assert_eq!(pointers(&wrong.expect_problem(422, "invalid")), ["/code"]);
    delete_with(&acme.owner, TOTP, code(other.code(&app))).await.expect_problem(422, "invalid");
    delete_with(&acme.owner, TOTP, code(phone.recovery_codes[0].clone())).await.expect(204);

    app.log_in(&acme.email(), PASSWORD).await.expect(200);
    assert_eq!(acme.owner.get(TOTP).await.expect(200)["enrolled"], false);
    assert_eq!(claims(&app.refresh(&session).await.expect(200))["amr"], json!(["pwd"]));
    assert_eq!(app.mails_to(&acme.email()).await, ["mfa_enabled", "mfa_disabled"]);
    assert_eq!(app.audited_times(acme.id, "totp.disabled").await, 1);
    app.log_in(&globex.email(), PASSWORD).await.expect_problem(401, "mfa_required");
}

#[tokio::test]
async fn neither_secret_nor_codes_nor_challenges_can_be_read_in_the_database() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let begun = acme.owner.post(TOTP, json!({})).await.expect(201);
    let phone = AuthenticatorApp::new(&begun);
    let confirmed = acme.owner.post("/api/v1/me/totp/confirm", code(phone.code(&app))).await.expect(200);
    app.clock.advance(STEP);
    let challenge = app.challenge(&acme).await;
    let secret = totp_rs::Secret::try_from_base32(begun["secret"].as_str().unwrap()).unwrap();
    let recovery = confirmed["recovery_codes"][0].as_str().unwrap();
    let plain = [
        secret.as_bytes(),
        challenge.as_bytes(),
        recovery.as_bytes(),
        begun["secret"].as_str().unwrap().as_bytes(),
    ];
    for table in ["totp", "recovery_codes", "login_challenges"] {
        let rows = app.database.text(format!("select string_agg({table}::text, ' ') from {table}")).await;
        for secret in plain {
            let hex = secret.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            let text = String::from_utf8_lossy(secret).into_owned();
            assert!(!rows.contains(&hex) && !rows.contains(&text), "{table} holds a secret in plain: {rows}");
        }
    }
}
