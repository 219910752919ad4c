//! Secrets are shown where they are meant to be shown, and nowhere else: a run full of canaries, and then a search
//! through everything it wrote.

use super::support::{Binary, Database, Persona, Private, Reply};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use insula::audit::hex;
use reqwest::Method;
use serde_json::json;

/// A password that nobody else has.
fn canary(name: &str) -> String {
    format!("canary-{name}-{:032x}", rand::random::<u128>())
}

/// What the clients of a run know, sent and were told.
#[derive(Default)]
struct Run {
    /// By what they are.
    secrets: Vec<(String, String)>,
    /// By the request that they answered, less what it was right to show.
    answers: Vec<(String, String)>,
}

impl Run {
    /// A fresh password.
    fn password(&mut self, name: &str) -> String {
        let password = canary(name);
        self.keep(name, &password);
        password
    }

    fn keep(&mut self, name: &str, secret: &str) {
        self.secrets.push((name.to_owned(), secret.to_owned()));
    }

    /// Nothing secret is in this answer.
    fn answered(&mut self, request: &str, reply: &Reply) {
        self.answers.push((request.to_owned(), format!("{:?} {}", reply.headers, reply.text)));
    }

    /// These members of the answer are secrets, shown here alone.
    fn shown<const N: usize>(&mut self, request: &str, reply: &Reply, members: [&str; N]) -> [String; N] {
        let body = reply.json();
        let mut rest = format!("{:?} {}", reply.headers, reply.text);
        let secrets = members.map(|member| body[member].as_str().unwrap().to_owned());
        for (member, secret) in members.iter().zip(&secrets) {
            assert!(rest.contains(secret));
            rest = rest.replace(secret, "(shown)");
            self.keep(&format!("{member} of {request}"), secret);
        }
        self.answers.push((request.to_owned(), rest));
        secrets
    }

    /// Every secret of the run that `text` holds, or enough of one to use it.
    fn found_in(&self, text: &str) -> Vec<&str> {
        let found =
            self.secrets.iter().filter(|(_, secret)| needles(secret).iter().any(|part| text.contains(part)));
        found.map(|(name, _)| name.as_str()).collect()
    }
}

/// How a secret might be written down: as it is, cut, in base64 and, from a column of bytes, in hex.
fn needles(secret: &str) -> Vec<String> {
    let tail = &secret[secret.len().saturating_sub(16)..];
    vec![secret.to_owned(), tail.to_owned(), STANDARD.encode(secret), hex(tail.as_bytes())]
}

#[tokio::test]
async fn no_secret_is_in_the_logs_the_errors_the_audit_or_any_table() {
    let (postgres, database) = Private::migrated().await;
    // A server that writes down each statement and its parameters, for whoever comes.
    for setting in
        ["log_statement = 'all'", "log_parameter_max_length_on_error = -1", "log_min_messages = 'debug1'"]
    {
        database.run(format!("alter database insula set {setting}")).await;
    }
    let mut run = Run::default();
    let (mut served, base) = serve(&database, &mut run).await;
    people(&base, &mut run).await;
    programs(&base, &mut run).await;
    clumsy_clients(&base, &mut run).await;
    the_house_itself(&postgres, &database, &mut run).await;
    // And something that nobody foresaw.
    database.run("alter function gate_user_by_email(text) rename to gone").await;
    let password = run.password("password of a 500");
    let login = json!({"email": "ada@example.com", "password": password});
    let reply = Persona::new(&base, None).post("/api/v1/auth/login", login).await;
    reply.expect_problem(500, "internal");
    run.answered("a login that breaks", &reply);
    served.signal("TERM");
    served.ended().await;

    // Whoever finds nothing anywhere has searched nowhere.
    let (log, postgres_log) = (format!("{}{}", served.stdout(), served.stderr()), postgres.log());
    assert!(log.contains(r#""level":"TRACE""#) && log.contains("internal error"), "not all was logged");
    assert!(postgres_log.contains("ada@example.com"), "Postgres did not log its parameters");
    assert_ne!(database.mentions("ada@example.com").await, [""; 0]);
    assert!(
        run.secrets.len() >= 25 && run.answers.len() >= 35,
        "{} {}",
        run.secrets.len(),
        run.answers.len()
    );

    assert_eq!(run.found_in(&log), [""; 0], "in the log");
    assert_eq!(run.found_in(&postgres_log), [""; 0], "in the log of Postgres");
    for (request, answer) in &run.answers {
        assert_eq!(run.found_in(answer), [""; 0], "in the answer to {request}: {answer}");
    }
    for (name, secret) in &run.secrets {
        for needle in needles(secret) {
            assert_eq!(database.mentions(&needle).await, [""; 0], "the {name} is in a table");
        }
    }
}

/// At the loudest that the log can be.
async fn serve(database: &Database, run: &mut Run) -> (Binary, String) {
    let mut url = |role: &str| {
        let password = run.password(&format!("database password of {role}"));
        database.url(role).replacen(role, &format!("{role}:{password}"), 1)
    };
    let (app, platform) = (url("insula_app"), url("insula_platform"));
    let master = STANDARD.encode(rand::random::<[u8; 32]>());
    run.keep("master key", &master);
    let mut served = Binary::start(
        &["serve"],
        &[
            ("INSULA_DATABASE__APP_URL", &app),
            ("INSULA_DATABASE__PLATFORM_URL", &platform),
            ("INSULA_AUTH__MASTER_KEY", &master),
            ("INSULA_HTTP__LISTEN", "127.0.0.1:0"),
            ("INSULA_LIMITS__IP__QUOTA_PER_MINUTE", "60000"),
            ("INSULA_LIMITS__IP__BURST", "30000"),
            ("INSULA_LOG__FILTER", "trace"),
        ],
    );
    let base = served.base().await;
    (served, base)
}

const TOKENS: [&str; 2] = ["access_token", "refresh_token"];

/// Signing up, in and out, and leaving.
async fn people(base: &str, run: &mut Run) {
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
    let reply = leave(&password).await;
    reply.expect_problem(409, "last_owner");
    run.answered("leaving", &reply);
    // Theft: the whole session ends.
    let reply = refresh(&first).await;
    reply.expect_problem(401, "invalid_refresh_token");
    run.answered("refresh with a used token", &reply);
    let reply = ada.get("/api/v1/me").await;
    reply.expect_problem(401, "session_ended");
    run.answered("me, after the session", &reply);
}

/// API keys.
async fn programs(base: &str, run: &mut Run) {
    let anon = Persona::new(base, None);
    let password = run.password("password of bob");
    let new = json!({"email": "bob@example.com", "password": password, "name": "Bob", "org_name": "Bobs"});
    let reply = anon.post("/api/v1/auth/register", new).await;
    reply.expect(201);
    let [access, _] = run.shown("register of bob", &reply, TOKENS);
    let bob = Persona::new(base, Some(access));
    for mode in ["live", "test"] {
        let new = json!({"name": "shop", "mode": mode, "scopes": ["products:read", "api_keys:read"]});
        let reply = bob.post("/api/v1/api-keys", new).await;
        let made = reply.expect(201);
        let [key] = run.shown(&format!("create a {mode} key"), &reply, ["key"]);
        let program = Persona::new(base, Some(key));
        for path in ["/api/v1/products", "/api/v1/api-keys", "/api/v1/me", "/api/v1/orders"] {
            run.answered(&format!("{path} by key"), &program.get(path).await);
        }
        let path = format!("/api/v1/api-keys/{}", made["id"].as_str().unwrap());
        run.answered("the key", &bob.get(&path).await);
        bob.delete(&path).await.expect(204);
        let reply = program.get("/api/v1/products").await;
        reply.expect_problem(401, "invalid_api_key");
        run.answered("products by a revoked key", &reply);
    }
}

/// Secrets in every place where they do not belong.
async fn clumsy_clients(base: &str, run: &mut Run) {
    let anon = Persona::new(base, None);
    // Sixteen digits, as whatever is searched for by its end.
    let number = 1_000_000_000_000_000 + rand::random::<u64>() % 8_000_000_000_000_000;
    run.keep("password that is a number", &number.to_string());
    let password = run.password("misplaced password");
    for (operation, field) in [("login", "password"), ("register", "password"), ("refresh", "refresh_token")]
    {
        let path = format!("/api/v1/auth/{operation}");
        let email = "x@example.com";
        for body in [
            json!({"email": email, field: number}).to_string(),
            json!({"email": email, field: -(i64::try_from(number).unwrap())}).to_string(),
            json!({"email": email, field: [password]}).to_string(),
            json!({"email": email, field: {"is": password}}).to_string(),
            json!({"email": {"is": password}, field: password}).to_string(),
            json!({"email": password, field: password, "name": "", "org_name": ""}).to_string(),
            json!({"email": email, field: password, "passwort": password}).to_string(),
            json!({"email": email, field: password, "org": [password]}).to_string(),
            json!([email, password]).to_string(),
            json!(password).to_string(),
            number.to_string(),
            format!("{{\"email\": \"{email}\", \"{field}\": \"{password}"),
            format!("{{\"email\": \"{email}\", \"{field}\": {password}}}"),
            format!("email={email}&{field}={password}"),
            format!("{{\"{field}\": \"{password}\\u0000\"}}"),
        ] {
            for content_type in ["application/json", "text/plain"] {
                let request = anon.request(Method::POST, &path).header("content-type", content_type);
                let reply = Reply::of(request.body(body.clone())).await;
                assert!((400..500).contains(&reply.status), "{path} {body}: {}", reply.text);
                run.answered(&format!("{operation} {body}"), &reply);
            }
        }
    }
    let token = run.password("token of nobody");
    let basic = STANDARD.encode(format!("ada@example.com:{token}"));
    run.keep("basic credentials", &basic);
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("Bearer insula_live_{token}")),
        ("authorization", format!("Bearer eyJhbGciOiJFZERTQSJ9.{token}.{token}")),
        ("authorization", format!("Basic {basic}")),
        ("authorization", token.clone()),
        ("cookie", format!("session={token}")),
        ("x-api-key", token.clone()),
        ("proxy-authorization", format!("Bearer {token}")),
    ] {
        let reply = Reply::of(anon.request(Method::GET, "/api/v1/me").header(name, value)).await;
        assert_eq!(reply.status, 401, "{name}");
        run.answered(&format!("a {name} header"), &reply);
    }
    for path in ["/api/v1/products", "/api/v1/me", "/api/v1/auth/login", "/nowhere", "/docs", "/health/ready"]
    {
        let reply = anon.get(&format!("{path}?access_token={token}&password={token}")).await;
        run.answered(&format!("{path} with a token in its query"), &reply);
    }
}

/// What its own commands know.
async fn the_house_itself(postgres: &Private, database: &Database, run: &mut Run) {
    let admin = postgres.superuser_url();
    let passwords: Vec<_> = ["OWNER", "APP", "PLATFORM"]
        .map(|role| {
            (format!("INSULA_BOOTSTRAP__{role}_PASSWORD"), run.password(&format!("password of {role}")))
        })
        .to_vec();
    let mut settings: Vec<(&str, &str)> =
        passwords.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    settings.push(("INSULA_LOG__FILTER", "trace"));
    // Statements of the administrator are logged by the database that they are given to.
    database.run("alter database postgres set log_statement = 'all'").await;
    let admin = secrecy::ExposeSecret::expose_secret(&admin).to_owned();
    let (code, said) = Binary::run(&["bootstrap", "--admin-url", &admin], &settings).await;
    assert_eq!(code, 0, "{said}");
    run.answers.push(("insula bootstrap".to_owned(), said));
    assert!(postgres.log().contains("alter role insula_app password"), "bootstrap set no password");

    let urls = [database.url("insula_app"), database.url("insula_platform")];
    let (code, said) = Binary::run(
        &["operator", "eve@example.com"],
        &[
            ("INSULA_DATABASE__APP_URL", &urls[0]),
            ("INSULA_DATABASE__PLATFORM_URL", &urls[1]),
            ("INSULA_AUTH__MASTER_KEY", &STANDARD.encode([0; 32])),
            ("INSULA_LOG__FILTER", "trace"),
        ],
    )
    .await;
    assert_eq!(code, 0, "{said}");
    let password = said.lines().find_map(|line| line.split_once("shown this once: ")).unwrap().1.to_owned();
    run.answers.push(("insula operator".to_owned(), said.replacen(&password, "(shown)", 1)));
    run.keep("password of the operator", &password);
}
