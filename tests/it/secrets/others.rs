//! What programs, careless clients and the house itself do with secrets.

use super::run::{Run, TOKENS};
use crate::support::{Binary, Database, Persona, Private, Reply};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::json;

/// API keys.
pub async fn programs(base: &str, run: &mut Run) {
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
        let reply = bob.post(&format!("{path}/rotate"), json!({"overlap_seconds": 60})).await;
        reply.expect(201);
        let [next] = run.shown(&format!("rotate a {mode} key"), &reply, ["key"]);
        run.answered(
            "products by the next key",
            &Persona::new(base, Some(next)).get("/api/v1/products").await,
        );
        let reply = bob.post(&format!("{path}/rotate"), json!({})).await;
        run.refused("rotate again", &reply, 409, "key_rotated");
        for path in [&path, "/api/v1/api-keys", "/api/v1/audit-events"] {
            run.told(path, &bob.get(path).await, 200);
        }
        bob.delete(&path).await.expect(204);
        let reply = program.get("/api/v1/products").await;
        reply.expect_problem(401, "invalid_api_key");
        run.answered("products by a revoked key", &reply);
    }
}

/// What webhooks are signed with.
pub async fn webhooks(base: &str, run: &mut Run) {
    let password = run.password("password of walter");
    let walter = run.signs_up(base, "walter@example.com", &password).await;
    let new = json!({"url": "https://hooks.example.com/insula", "events": ["order.placed"]});
    let reply = walter.post_as("one", "/api/v1/webhooks", new.clone()).await;
    let made = reply.expect(201);
    let [secret] = run.shown("make a webhook", &reply, ["secret"]);
    run.keep_bytes("key of a webhook", &STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap());
    let reply = walter.post_as("one", "/api/v1/webhooks", new).await;
    run.refused("make it again", &reply, 409, "already_created");
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
    let reply = walter.post(&format!("{path}/rotate-secret"), json!({"overlap_seconds": 60})).await;
    reply.expect(200);
    let [next] = run.shown("rotate the secret of a webhook", &reply, ["secret"]);
    run.keep_bytes("next key of a webhook", &STANDARD.decode(next.trim_start_matches("whsec_")).unwrap());
    let change = json!({"description": "The warehouse"});
    run.told("change a webhook", &walter.patch(&path, change).await, 200);
    for path in [&path, "/api/v1/webhooks", "/api/v1/events/history", "/api/v1/audit-events"] {
        run.told(path, &walter.get(path).await, 200);
    }
    walter.delete(&path).await.expect(204);
}

/// Secrets in every place where they do not belong.
pub async fn clumsy_clients(base: &str, run: &mut Run) {
    let anon = Persona::new(base, None);
    // Sixteen digits, as whatever is searched for by its end.
    let number = 1_000_000_000_000_000 + rand::random::<u64>() % 8_000_000_000_000_000;
    run.keep("password that is a number", &number.to_string());
    let password = run.password("misplaced password");
    let signed_in = run.password("password of judy");
    let judy = run.signs_up(base, "judy@example.com", &signed_in).await;
    for (who, operation, field) in [
        (&anon, "auth/login", "password"),
        (&anon, "auth/register", "password"),
        (&anon, "auth/refresh", "refresh_token"),
        (&anon, "auth/login/totp", "challenge"),
        (&anon, "auth/login/totp", "code"),
        (&anon, "auth/password/forgot", "email"),
        (&anon, "auth/password/reset", "token"),
        (&anon, "auth/password/reset", "password"),
        (&anon, "auth/email/verify", "token"),
        (&anon, "auth/invitations/accept", "token"),
        (&anon, "auth/invitations/accept", "password"),
        (&judy, "auth/step-up", "password"),
        (&judy, "me/password", "current_password"),
        (&judy, "me/password", "new_password"),
        (&judy, "me/email", "password"),
    ] {
        let path = format!("/api/v1/{operation}");
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
                let request = who.request(Method::POST, &path).header("content-type", content_type);
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
pub async fn the_house_itself(postgres: &Private, database: &Database, master: &[u8; 32], run: &mut Run) {
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

    keep_seeds(database, master, run).await;
    let encoded = STANDARD.encode(master);
    let settings = [
        ("INSULA_DATABASE__APP_URL", urls[0].as_str()),
        ("INSULA_DATABASE__PLATFORM_URL", &urls[1]),
        ("INSULA_AUTH__MASTER_KEY", &encoded),
        ("INSULA_LOG__FILTER", "trace"),
    ];
    for command in [&["keys", "rotate", "--force"][..], &["keys", "list"], &["audit", "verify"]] {
        let (code, said) = Binary::run(command, &settings).await;
        assert_eq!(code, 0, "{said}");
        run.answers.push((format!("insula {command:?}"), said));
    }
    keep_seeds(database, master, run).await;
    // One that no mail server is reached by.
    let wrong = format!("https://insula:{}@127.0.0.1", run.password("password of the mail server"));
    let unusable = [&settings[..], &[("INSULA_MAIL__SMTP_URL", &wrong)]].concat();
    let (code, said) = Binary::run(&["serve"], &unusable).await;
    assert!(code != 0 && said.contains("INSULA_MAIL__SMTP_URL"), "{code} {said}");
    run.answers.push(("insula serve".to_owned(), said));
}

/// Of the keys that sign or will: the database has none of the others any more.
async fn keep_seeds(database: &Database, master: &[u8; 32], run: &mut Run) {
    for (kid, seed) in database.signing_seeds(master).await {
        run.keep_bytes(&format!("seed of the signing key {kid}"), &seed);
    }
}
