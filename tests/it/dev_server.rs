//! `insula dev` as a process: it comes up whole, keeps what it has, and leaves nothing behind.

use super::support::{Binary, Database, Dev, Dir, Persona, cog, processes_of, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// As a developer's week goes.
#[tokio::test]
async fn what_is_kept_in_the_data_dir_outlives_stops_and_kills_until_it_is_thrown_away() {
    let dir = Dir::new();
    let mut first = Dev::start(&dir, &[], &[]).await;
    tells_programs_all(&first).await;
    first.key().post("/api/v1/products", cog()).await.expect(201);
    let earlier = first.demo.clone();

    let asked = Instant::now();
    first.binary.signal("TERM");
    assert_eq!(first.binary.ended().await.code(), Some(0), "{}", first.binary.stderr());
    assert!(asked.elapsed() < Duration::from_secs(20));
    assert_eq!(processes_of(dir.path()), [] as [String; 0]);

    let mut second = Dev::start(&dir, &[], &[]).await;
    assert_eq!(second.demo["orgs"], earlier["orgs"], "ids, keys and passwords are the same");
    second.key().post("/api/v1/products", cog()).await.expect_problem(409, "sku_taken");
    a_second_one_is_refused(&second, &dir).await;
    second.binary.signal("KILL");
    assert!(!second.binary.ended().await.success());

    let mut third = Dev::start(&dir, &[], &[]).await;
    assert_eq!(third.demo["orgs"][0]["id"], earlier["orgs"][0]["id"]);
    third.key().post("/api/v1/products", cog()).await.expect_problem(409, "sku_taken");
    third.binary.signal("TERM");
    third.binary.ended().await;

    let mut fresh = Dev::start(&dir, &["--fresh"], &[]).await;
    assert_ne!(fresh.demo["orgs"][0]["id"], earlier["orgs"][0]["id"]);
    assert_ne!(fresh.demo["orgs"][0]["api_key"], earlier["orgs"][0]["api_key"]);
    fresh.key().post("/api/v1/products", cog()).await.expect(201);
    fresh.binary.signal("TERM");
    fresh.binary.ended().await;
    assert_eq!(processes_of(dir.path()), [] as [String; 0]);
}

async fn tells_programs_all(dev: &Dev) {
    let orgs = dev.demo["orgs"].as_array().unwrap();
    let slugs: Vec<_> = orgs.iter().map(|org| (&org["slug"], &org["tier"])).collect();
    assert_eq!(json!(slugs), json!([["acme", "pro"], ["globex", "free"], ["initech", "enterprise"]]));
    for org in orgs {
        let key = Persona::new(dev.base(), Some(org["api_key"].as_str().unwrap().to_owned()));
        assert_eq!(key.get("/api/v1/org").await.expect(200)["id"], org["id"]);
        let roles: Vec<_> = org["members"].as_array().unwrap().iter().map(|one| &one["role"]).collect();
        assert_eq!(json!(roles), json!(["owner", "admin", "member", "viewer"]));
        signs_in(dev, &org["members"][3]).await;
    }
    signs_in(dev, &dev.demo["operator"]).await;
    shows_mails(dev).await;
}

/// Those that the owners got as they signed up: nothing leaves the machine, nothing is hidden.
async fn shows_mails(dev: &Dev) {
    let anybody = Persona::new(dev.base(), None);
    let mut mails = Value::Null;
    until("the mails are written", async || {
        mails = anybody.get("/dev/mail.json").await.expect(200)["data"].take();
        mails.as_array().unwrap().len() == 3
    })
    .await;
    for mail in mails.as_array().unwrap() {
        assert_eq!(mail["template"], "verify_email");
        let token = json!({"token": mail["token"]});
        anybody.post("/api/v1/auth/email/verify", token).await.expect(204);
    }
    assert!(dev.binary.stdout().contains(&format!("{}/dev/mail", dev.base())), "{}", dev.binary.stdout());
}

async fn signs_in(dev: &Dev, who: &Value) {
    let login = json!({"email": who["email"], "password": who["password"]});
    let signed_in = Persona::new(dev.base(), None).post("/api/v1/auth/login", login).await.expect(200);
    assert!(signed_in["access_token"].is_string(), "{who}");
}

/// Whatever a second one in the same place was asked to throw away, the first one goes on.
async fn a_second_one_is_refused(first: &Dev, dir: &Dir) {
    for fresh in [&[][..], &["--fresh"]] {
        let place = ["dev", "--port", "0", "--data-dir", dir.path().to_str().unwrap()];
        let (code, said) = Binary::run(&[&place[..], fresh].concat(), &[]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("is held by another insula, pid"), "{said}");
        first.key().post("/api/v1/products", cog()).await.expect_problem(409, "sku_taken");
        assert!(dir.read("demo.json").contains("api_key"), "the first one's demo.json is gone");
    }
}

#[tokio::test]
async fn a_server_that_the_settings_name_is_used_and_none_is_started() {
    let (dir, database) = (Dir::new(), Database::new().await);
    let urls = ["app", "platform", "owner"].map(|role| database.url(&format!("insula_{role}")));
    let settings = [
        ("INSULA_DATABASE__APP_URL", urls[0].as_str()),
        ("INSULA_DATABASE__PLATFORM_URL", &urls[1]),
        ("INSULA_DATABASE__OWNER_URL", &urls[2]),
    ];
    let mut dev = Dev::start(&dir, &[], &settings).await;
    dev.key().get("/api/v1/products").await.expect(200);
    assert_eq!(database.count("select count(*) from orgs where slug in ('acme', 'globex')").await, 2);
    assert!(!dir.path().join("postgres").exists());
    assert!(!processes_of(dir.path()).iter().any(|line| line.contains("postgres")));
    dev.binary.signal("TERM");
    assert_eq!(dev.binary.ended().await.code(), Some(0), "{}", dev.binary.stderr());

    let place = ["dev", "--data-dir", dir.path().to_str().unwrap()];
    let (code, said) = Binary::run(&place, &settings[..1]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("set all three of INSULA_DATABASE__OWNER_URL"), "{said}");

    // A server that somebody has is not ours to empty.
    let (code, said) = Binary::run(&[&place[..], &["--fresh"]].concat(), &settings).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("--fresh"), "{said}");
    assert_eq!(database.count("select count(*) from orgs where slug = 'acme'").await, 1);
}
