//! Signing in as people do, the codes of their apps, and what that leaves behind.

use super::{Org, PASSWORD, Persona, Reply, TestApp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use insula::{clock::Clock, ids::OrgId};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use totp_rs::{Builder, Secret};

/// An authenticator app that holds one account.
pub struct AuthenticatorApp {
    secret: String,
    pub recovery_codes: Vec<String>,
}

impl AuthenticatorApp {
    pub fn new(enrolment: &Value) -> Self {
        Self { secret: enrolment["secret"].as_str().unwrap().to_owned(), recovery_codes: Vec::new() }
    }

    /// What it shows now.
    pub fn code(&self, app: &TestApp) -> String {
        self.code_at(app.clock.now())
    }

    /// For a server whose clock goes.
    pub fn code_now(&self) -> String {
        self.code_at(Clock::system().now())
    }

    fn code_at(&self, at: OffsetDateTime) -> String {
        let secret = Secret::try_from_base32(&self.secret).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        totp.generate(at.unix_timestamp().try_into().unwrap()).to_string()
    }

    /// What it was given to keep, as bytes.
    pub fn secret(&self) -> Vec<u8> {
        Secret::try_from_base32(&self.secret).unwrap().as_bytes().to_vec()
    }

    /// A code it does not show now, nor just before or after.
    pub fn wrong_code(&self, app: &TestApp) -> String {
        let right = self.code(app).parse::<u32>().unwrap();
        format!("{:06}", (right + 500_000) % 1_000_000)
    }
}

impl Org {
    /// The e-mail address of its owner.
    pub fn email(&self) -> String {
        format!("owner@{}.example", self.slug)
    }
}

impl TestApp {
    pub async fn log_in(&self, email: &str, password: &str) -> Reply {
        self.anon().post("/api/v1/auth/login", json!({"email": email, "password": password})).await
    }

    /// The session of an org's owner, as signing in answers it.
    pub async fn session(&self, org: &Org) -> Value {
        self.log_in(&org.email(), PASSWORD).await.expect(200)
    }

    /// The challenge that an owner with a second factor is answered.
    pub async fn challenge(&self, org: &Org) -> String {
        let problem = self.log_in(&org.email(), PASSWORD).await.expect_problem(401, "mfa_required");
        problem["challenge"].as_str().unwrap().to_owned()
    }

    pub async fn meet(&self, challenge: &str, code: &str) -> Reply {
        self.anon().post("/api/v1/auth/login/totp", json!({"challenge": challenge, "code": code})).await
    }

    pub async fn refresh(&self, session: &Value) -> Reply {
        self.anon().post("/api/v1/auth/refresh", json!({"refresh_token": session["refresh_token"]})).await
    }

    pub fn holder(&self, session: &Value) -> Persona {
        self.bearer(session["access_token"].as_str().unwrap())
    }

    /// Sets up a second factor, whose next code is fresh.
    pub async fn enrol(&self, who: &Persona) -> AuthenticatorApp {
        let mut app = AuthenticatorApp::new(&who.post("/api/v1/me/totp", json!({})).await.expect(201));
        let code = json!({"code": app.code(self)});
        let confirmed = who.post("/api/v1/me/totp/confirm", code).await.expect(200);
        let codes = confirmed["recovery_codes"].as_array().unwrap();
        app.recovery_codes = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
        self.clock.advance(std::time::Duration::from_secs(30));
        app
    }

    /// How often an action is in an org's audit.
    pub async fn audited_times(&self, org: OrgId, action: &str) -> i64 {
        let mut platform = self.state.platform.begin().await.unwrap();
        sqlx::query_scalar("select count(*) from audit_events where org_id = $1 and action = $2")
            .bind(org.uuid())
            .bind(action)
            .fetch_one(&mut *platform)
            .await
            .unwrap()
    }

    /// The templates of the mails to an address, oldest first, less the one that signing up sends.
    pub async fn mails_to(&self, email: &str) -> Vec<String> {
        let mut platform = self.state.platform.begin().await.unwrap();
        sqlx::query_scalar("select template from mails where recipient = $1 and template <> 'verify_email' order by created_at, id")
            .bind(email)
            .fetch_all(&mut *platform)
            .await
            .unwrap()
    }
}

/// What an access token says, unverified.
pub fn claims(session: &Value) -> Value {
    let payload = session["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A DELETE that says something.
pub async fn delete_with(who: &Persona, path: &str, body: Value) -> Reply {
    Reply::of(who.request(Method::DELETE, path).json(&body)).await
}
