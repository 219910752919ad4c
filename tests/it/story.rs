//! A company's first days, as its people and their programs live them: over HTTP alone, against `insula dev`.

use super::support::{
    ACCEPT, AuthenticatorApp, Binary, Dev, Dir, Persona, Reply, claims, id, until, within_a_second,
};
use reqwest::Method;
use serde_json::{Value, json};

const ME: &str = "/api/v1/me";
const PRODUCTS: &str = "/api/v1/products";
const INVITATIONS: &str = "/api/v1/invitations";

#[tokio::test]
async fn a_company_grows_is_robbed_suspended_and_left() {
    let dir = Dir::new();
    let mut dev = Dev::start(&dir, &[], &[]).await;

    let mut ada = ada_signs_up_and_confirms_her_address(&dev).await;
    let (mut bob, mut carol) = she_invites_bob_and_carol(&dev, &ada).await;
    bob_works_and_rules_nobody(&bob, &carol).await;
    let program = a_program_gets_a_key_and_another(&ada).await;
    let mut codes = ada_sets_up_a_second_factor(&mut ada).await;
    everybody_is_asked_for_one_for_a_while(&ada, [&bob, &carol], &program).await;
    a_thief_copies_a_refresh_token_and_loses_it(&mut ada, &mut codes).await;
    ada_forgets_her_password(&dev, &mut ada, &mut codes).await;
    the_operator_rotates_the_signing_keys(&dev, &bob, &mut carol).await;
    the_operator_suspends_the_company(&dev, [&ada, &bob, &carol], &program).await;
    bob_founds_a_company_and_is_shown_out_of_the_first(&ada, &mut bob).await;
    bob_hands_his_company_over_and_is_gone(&dev, &bob, &mut carol).await;
    all_of_it_is_in_the_audit(&ada, &dir).await;

    dev.binary.signal("TERM");
    assert_eq!(dev.binary.ended().await.code(), Some(0), "{}", dev.binary.stderr());
}

/// A client that keeps what it needs to stay signed in.
struct Client {
    base: String,
    email: &'static str,
    password: &'static str,
    session: Value,
}

impl Client {
    fn who(&self) -> Persona {
        Persona::new(&self.base, Some(text(&self.session, "access_token")))
    }

    async fn get(&self, path: &str) -> Reply {
        self.who().get(path).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.who().post(path, body).await
    }

    fn refresh_token(&self) -> String {
        text(&self.session, "refresh_token")
    }

    async fn refresh(&mut self) {
        self.session = refresh(&self.base, &self.refresh_token()).await.expect(200);
    }

    async fn log_in(&self) -> Reply {
        let login = json!({"email": self.email, "password": self.password});
        Persona::new(&self.base, None).post("/api/v1/auth/login", login).await
    }

    /// With a recovery code: those of an app are good once in half a minute.
    async fn sign_in_with_both(&mut self, codes: &mut Vec<String>) {
        let asked = self.log_in().await.expect_problem(401, "mfa_required");
        let answer = json!({"challenge": asked["challenge"], "code": codes.pop().unwrap()});
        let reply = Persona::new(&self.base, None).post("/api/v1/auth/login/totp", answer).await;
        self.session = reply.expect(200);
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

fn anybody(dev: &Dev) -> Persona {
    Persona::new(dev.base(), None)
}

async fn sign_up(dev: &Dev, email: &'static str, name: &str, company: &str) -> Client {
    let password = "a horse of some staple";
    let new = json!({"email": email, "password": password, "name": name, "org_name": company});
    let session = anybody(dev).post("/api/v1/auth/register", new).await.expect(201);
    Client { base: dev.base().to_owned(), email, password, session }
}

async fn refresh(base: &str, token: &str) -> Reply {
    Persona::new(base, None).post("/api/v1/auth/refresh", json!({"refresh_token": token})).await
}

/// The token in the `nth` mail of a kind to somebody.
async fn mailed(dev: &Dev, to: &str, template: &str, nth: usize) -> String {
    let mut tokens = Vec::new();
    until(&format!("{to} gets {template}, the {nth}th"), async || {
        let mails = anybody(dev).get("/dev/mail.json").await.expect(200);
        let theirs = mails["data"].as_array().unwrap().iter();
        let theirs = theirs.filter(|mail| mail["to"] == to && mail["template"] == template);
        tokens = theirs.map(|mail| text(mail, "token")).collect();
        tokens.len() == nth
    })
    .await;
    // Newest first.
    tokens.remove(0)
}

async fn ada_signs_up_and_confirms_her_address(dev: &Dev) -> Client {
    let mut ada = sign_up(dev, "ada@lovelace.example", "Ada Lovelace", "Lovelace Ltd").await;
    assert_eq!(ada.session["org"]["slug"], "lovelace-ltd");
    let me = ada.get(ME).await.expect(200);
    assert_eq!((&me["email_verified"], &me["roles"]), (&json!(false), &json!(["owner"])));
    let token = json!({"token": mailed(dev, ada.email, "verify_email", 1).await});
    anybody(dev).post("/api/v1/auth/email/verify", token.clone()).await.expect(204);
    anybody(dev).post("/api/v1/auth/email/verify", token).await.expect_problem(422, "invalid");
    assert_eq!(claims(&ada.session)["email_verified"], false);
    ada.refresh().await;
    assert_eq!(claims(&ada.session)["email_verified"], true);
    assert_eq!(ada.get(ME).await.expect(200)["email_verified"], true);
    ada
}

/// Bob is new, and Carol has a company of her own.
async fn she_invites_bob_and_carol(dev: &Dev, ada: &Client) -> (Client, Client) {
    let mut carol = sign_up(dev, "carol@shannon.example", "Carol Shannon", "Shannon Ltd").await;
    let bob = json!({"email": "bob@lovelace.example", "roles": ["member"]});
    ada.post(INVITATIONS, bob).await.expect(201);
    // That she may give this role takes a fresh sign-in, which she has.
    let invited = ada.post(INVITATIONS, json!({"email": carol.email, "roles": ["admin"]})).await.expect(201);

    let token = mailed(dev, "bob@lovelace.example", "invitation", 1).await;
    let password = "bob has a long password";
    let acceptance = json!({"token": token, "name": "Bob Babbage", "password": password});
    let session = anybody(dev).post(ACCEPT, acceptance).await.expect(201);
    assert_eq!(session["org"]["slug"], "lovelace-ltd");
    let bob = Client { base: dev.base().to_owned(), email: "bob@lovelace.example", password, session };

    // Carol has lost her mail.
    let lost = mailed(dev, carol.email, "invitation", 1).await;
    ada.post(&format!("{INVITATIONS}/{}/resend", id(&invited)), json!({})).await.expect(200);
    let token = mailed(dev, carol.email, "invitation", 2).await;
    carol.post(ACCEPT, json!({"token": lost})).await.expect_problem(401, "invalid_invitation");
    carol.session = carol.post(ACCEPT, json!({"token": token})).await.expect(200);
    let orgs = carol.session["orgs"].as_array().unwrap().iter().map(|org| text(org, "slug"));
    assert_eq!(orgs.collect::<Vec<_>>(), ["shannon-ltd", "lovelace-ltd"]);
    assert_eq!(carol.get(ME).await.expect(200)["roles"], json!(["admin"]));
    (bob, carol)
}

async fn bob_works_and_rules_nobody(bob: &Client, carol: &Client) {
    let product = json!({"sku": "ENGINE-1", "name": "Engine", "price": {"amount": 99_900, "currency": "EUR"}, "stock": 3});
    bob.post(PRODUCTS, product).await.expect(201);
    let seen = bob.get(PRODUCTS).await.expect(200);
    assert_eq!(seen["data"][0]["sku"], "ENGINE-1");
    let friend = json!({"email": "friend@lovelace.example", "roles": ["viewer"]});
    bob.post(INVITATIONS, friend.clone()).await.expect_problem(403, "permission_denied");
    let invited = carol.post(INVITATIONS, friend).await.expect(201);
    carol.who().delete(&format!("{INVITATIONS}/{}", id(&invited))).await.expect(204);
}

/// Answers the one that is left.
async fn a_program_gets_a_key_and_another(ada: &Client) -> Persona {
    let new = json!({"name": "shop", "scopes": ["products:read"]});
    let made = ada.post("/api/v1/api-keys", new).await.expect(201);
    let rotate = format!("/api/v1/api-keys/{}/rotate", id(&made));
    let next = ada.post(&rotate, json!({"overlap_seconds": 3_600})).await.expect(201);
    let [old, new] = [&made, &next].map(|key| Persona::new(&ada.base, Some(text(key, "key"))));
    for program in [&old, &new] {
        program.get(PRODUCTS).await.expect(200);
    }
    ada.who().delete(&format!("/api/v1/api-keys/{}", id(&next))).await.expect(204);
    new.get(PRODUCTS).await.expect_problem(401, "invalid_api_key");
    old.get(PRODUCTS).await.expect(200);
    old
}

/// Answers her recovery codes.
async fn ada_sets_up_a_second_factor(ada: &mut Client) -> Vec<String> {
    let phone = AuthenticatorApp::new(&ada.post("/api/v1/me/totp", json!({})).await.expect(201));
    let code = json!({"code": phone.code_now()});
    let confirmed = ada.post("/api/v1/me/totp/confirm", code).await.expect(200);
    let codes = confirmed["recovery_codes"].as_array().unwrap().iter();
    let mut codes = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
    ada.sign_in_with_both(&mut codes).await;
    assert_eq!(claims(&ada.session)["amr"], json!(["pwd", "otp"]));
    assert_eq!(ada.get("/api/v1/me/totp").await.expect(200)["recovery_codes_left"], 9);
    codes
}

async fn everybody_is_asked_for_one_for_a_while(ada: &Client, others: [&Client; 2], program: &Persona) {
    let asks = async |asks: bool| {
        let org = ada.who().patch("/api/v1/org", json!({"require_mfa": asks})).await.expect(200);
        assert_eq!(org["require_mfa"], asks);
    };
    asks(true).await;
    for other in others {
        other.get(PRODUCTS).await.expect_problem(403, "mfa_required");
        other.get(ME).await.expect(200);
    }
    ada.get(PRODUCTS).await.expect(200);
    program.get(PRODUCTS).await.expect(200);
    asks(false).await;
    for other in others {
        other.get(PRODUCTS).await.expect(200);
    }
}

async fn a_thief_copies_a_refresh_token_and_loses_it(ada: &mut Client, codes: &mut Vec<String>) {
    let stolen = ada.refresh_token();
    ada.refresh().await;
    ada.refresh().await;
    ada.get(ME).await.expect(200);
    refresh(&ada.base, &stolen).await.expect_problem(401, "invalid_refresh_token");
    // Who of the two is the thief nobody can know.
    within_a_second("her session has ended", async || ada.get(ME).await.status == 401).await;
    ada.get(ME).await.expect_problem(401, "session_ended");
    refresh(&ada.base, &ada.refresh_token()).await.expect_problem(401, "invalid_refresh_token");

    let ended = claims(&ada.session)["sid"].take();
    ada.sign_in_with_both(codes).await;
    let told = ada.get("/api/v1/audit-events?action=session.token_reused").await.expect(200);
    let [event] = &told["data"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(event["target"], json!({"type": "session", "id": ended}));
    assert_eq!(event["actor"]["id"], ada.session["user"]["id"]);
}

async fn ada_forgets_her_password(dev: &Dev, ada: &mut Client, codes: &mut Vec<String>) {
    let forgot = "/api/v1/auth/password/forgot";
    anybody(dev).post(forgot, json!({"email": ada.email})).await.expect(202);
    let token = mailed(dev, ada.email, "reset_password", 1).await;
    let password = "the engine weaves algebra";
    let reset = json!({"token": token, "password": password});
    anybody(dev).post("/api/v1/auth/password/reset", reset).await.expect(204);
    ada.get(ME).await.expect_problem(401, "session_ended");
    ada.log_in().await.expect_problem(401, "invalid_credentials");
    ada.password = password;
    // Whoever reads her mail has not got her phone.
    ada.sign_in_with_both(codes).await;
}

async fn operator(dev: &Dev) -> Persona {
    let known = &dev.demo["operator"];
    let login = json!({"email": known["email"], "password": known["password"], "org": "platform"});
    let session = anybody(dev).post("/api/v1/auth/login", login).await.expect(200);
    Persona::new(dev.base(), Some(text(&session, "access_token")))
}

async fn the_operator_rotates_the_signing_keys(dev: &Dev, bob: &Client, carol: &mut Client) {
    let keys = async || anybody(dev).get("/.well-known/jwks.json").await.expect(200);
    let (before, operator) = (keys().await, operator(dev).await);
    let rotation = json!({"force": true, "reason": "a drill"});
    let rotated = operator.post("/operator/v1/keys/rotate", rotation).await.expect(200);
    let states = rotated["data"].as_array().unwrap().iter().map(|key| text(key, "state"));
    assert_eq!(states.collect::<Vec<_>>(), ["current", "standby", "previous"]);
    assert_ne!(keys().await, before);
    // Signed before, and signed after.
    bob.get(PRODUCTS).await.expect(200);
    carol.refresh().await;
    carol.get(PRODUCTS).await.expect(200);
    operator.get("/operator/v1/keys").await.expect(200);
}

async fn the_operator_suspends_the_company(dev: &Dev, people: [&Client; 3], program: &Persona) {
    let operator = operator(dev).await;
    let found = operator.get("/operator/v1/orgs?q=lovelace-ltd&sort=slug").await.expect(200);
    let org = format!("/operator/v1/orgs/{}", id(&found["data"][0]));
    let everybody: Vec<Persona> = people.iter().map(|person| person.who()).chain([program.clone()]).collect();
    operator.patch(&org, json!({"status": "suspended", "reason": "unpaid"})).await.expect(200);
    for who in &everybody {
        who.get(PRODUCTS).await.expect_problem(403, "org_suspended");
    }
    dev.key().get(PRODUCTS).await.expect(200);
    operator.patch(&org, json!({"status": "active", "reason": "paid"})).await.expect(200);
    for who in &everybody {
        who.get(PRODUCTS).await.expect(200);
    }
}

async fn bob_founds_a_company_and_is_shown_out_of_the_first(ada: &Client, bob: &mut Client) {
    let founded = bob.post("/api/v1/me/orgs", json!({"name": "Babbage Ltd"})).await.expect(201);
    assert_eq!((&founded["slug"], &founded["roles"]), (&json!("babbage-ltd"), &json!(["owner"])));

    let found = ada.get("/api/v1/users?q=bob").await.expect(200);
    let member = format!("/api/v1/users/{}", id(&found["data"][0]));
    ada.who().patch(&member, json!({"status": "suspended"})).await.expect(200);
    bob.get(PRODUCTS).await.expect_problem(403, "member_suspended");
    ada.who().delete(&member).await.expect(204);
    bob.get(PRODUCTS).await.expect_problem(403, "not_a_member");
    let here = json!({"email": bob.email, "password": bob.password, "org": "lovelace-ltd"});
    let login = "/api/v1/auth/login";
    Persona::new(&bob.base, None).post(login, here).await.expect_problem(403, "not_a_member");

    bob.session = bob.log_in().await.expect(200);
    assert_eq!(bob.session["org"]["id"], founded["id"]);
    assert_eq!(bob.session["orgs"].as_array().unwrap().len(), 1);
}

async fn bob_hands_his_company_over_and_is_gone(dev: &Dev, bob: &Client, carol: &mut Client) {
    let export = bob.get("/api/v1/me/export").await;
    assert!(export.header("content-disposition").starts_with("attachment"));
    let export = export.expect(200);
    assert_eq!(export["user"]["email"], bob.email);
    assert_eq!(export["memberships"][0]["org"]["slug"], "babbage-ltd");

    let leave = async || {
        let request = bob.who().request(Method::DELETE, ME).json(&json!({"password": bob.password}));
        Reply::of(request).await
    };
    bob.post(INVITATIONS, json!({"email": carol.email, "roles": ["admin"]})).await.expect(201);
    let token = mailed(dev, carol.email, "invitation", 3).await;
    carol.session = carol.post(ACCEPT, json!({"token": token})).await.expect(200);
    assert_eq!(carol.session["org"]["slug"], "babbage-ltd");
    let refused = leave().await.expect_problem(409, "last_owner");
    assert!(text(&refused, "detail").contains("babbage-ltd"), "{refused}");
    let found = bob.get("/api/v1/users?q=carol").await.expect(200);
    let member = format!("/api/v1/users/{}", id(&found["data"][0]));
    bob.who().patch(&member, json!({"roles": ["owner"]})).await.expect(200);

    leave().await.expect(204);
    bob.get(ME).await.expect_problem(401, "session_ended");
    refresh(&bob.base, &bob.refresh_token()).await.expect_problem(401, "invalid_refresh_token");
    bob.log_in().await.expect_problem(401, "invalid_credentials");
    let left = carol.get("/api/v1/users").await.expect(200);
    let [member] = &left["data"].as_array().unwrap()[..] else { panic!("{left}") };
    assert_eq!((&member["email"], &member["roles"]), (&json!(carol.email), &json!(["owner"])));
}

/// As an auditor asks who has the server's settings and nothing else.
async fn all_of_it_is_in_the_audit(ada: &Client, dir: &Dir) {
    for action in [
        "org.created",
        "invitation.resent",
        "member.joined",
        "api_key.rotated",
        "api_key.revoked",
        "totp.enabled",
        "org.updated",
        "session.token_reused",
        "password.reset",
        "org.suspended",
        "org.restored",
        "member.suspended",
        "member.removed",
    ] {
        let told = ada.get(&format!("/api/v1/audit-events?action={action}")).await.expect(200);
        assert_ne!(told["data"], json!([]), "{action}");
    }
    // Where the private server of `insula dev` listens: the fifth line of what Postgres says of itself.
    let pid_file = dir.read("postgres/data/postmaster.pid");
    let socket_dir = pid_file.lines().nth(4).unwrap();
    let url =
        |role: &str| format!("postgres://{role}@localhost:5432/insula?host={socket_dir}&sslmode=disable");
    let (urls, master) = ([url("insula_app"), url("insula_platform")], dir.read("master.key"));
    let settings = [
        ("INSULA_DATABASE__APP_URL", urls[0].as_str()),
        ("INSULA_DATABASE__PLATFORM_URL", &urls[1]),
        ("INSULA_AUTH__MASTER_KEY", &master),
        ("INSULA_LOG__FILTER", "warn"),
    ];
    let (code, said) = Binary::run(&["audit", "verify"], &settings).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(" lovelace-ltd: ") && said.contains(", 0 with a broken chain."), "{said}");
}
