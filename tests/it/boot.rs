//! Nothing is served by a role that is too strong, over a schema that is not there, or from a database that is not.

use super::support::{Binary, Database, Private, config};
use insula::{app::App, clock::Clock};
use secrecy::ExposeSecret as _;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

async fn refusal(database: &Database, settings: &str) -> String {
    let built = App::build(config(database, settings), Clock::frozen()).await;
    let Err(refused) = built else { panic!("it should not be served") };
    format!("{refused:#}")
}

/// What boot says to `name` as the role that serves tenants.
async fn refusal_of(database: &Database, name: &str) -> String {
    let said = refusal(database, &format!("[database]\napp_url = {:?}", database.url(name))).await;
    let beginning =
        format!("the role {name} could step around row-level security, so nothing is served: it ");
    assert!(said.starts_with(&beginning), "{said}");
    assert!(said.ends_with("`insula bootstrap` makes roles that can't"), "{said}");
    said
}

#[tokio::test]
async fn a_role_above_row_level_security_is_refused() {
    let database = Database::new().await;
    for (name, attributes, power) in [
        ("boot_super", "superuser", "is a member of boot_super, a superuser or bypassrls role"),
        ("boot_bypass", "bypassrls", "is a member of boot_bypass, a superuser or bypassrls role"),
        ("boot_climber", "in role boot_bypass", "is a member of boot_bypass, a superuser or bypassrls role"),
        ("boot_sleeper", "noinherit in role boot_bypass", "is a member of boot_bypass, a superuser or"),
        ("boot_father", "createrole", "may create roles"),
        ("boot_heir", "in role insula_owner", "owns the table products"),
    ] {
        database.role(name, attributes).await;
        let said = refusal_of(&database, name).await;
        assert!(said.contains(power), "{said}");
    }
}

#[tokio::test]
async fn a_role_that_owns_one_table_or_may_make_one_is_refused() {
    let database = Database::new().await;
    database.role("boot_owner", "").await;
    database.run("create table theirs (id int); alter table theirs owner to boot_owner").await;
    assert!(refusal_of(&database, "boot_owner").await.contains(": it owns the table theirs. "));

    database.role("boot_maker", "").await;
    database.run("grant create on schema public to boot_maker").await;
    assert!(refusal_of(&database, "boot_maker").await.contains(": it may create in the schema public. "));
}

/// The platform role sees every organisation: whoever is a member of it does too, if only after `set role`.
#[tokio::test]
async fn an_app_role_that_is_a_member_of_the_platform_role_is_refused() {
    let database = Database::new().await;
    for name in ["boot_operator", "boot_quiet", "insula_platform"] {
        match name {
            "boot_operator" => database.role(name, "in role insula_platform").await,
            "boot_quiet" => database.role(name, "noinherit in role insula_platform").await,
            _ => {}
        }
        let said = refusal(&database, &format!("[database]\napp_url = {:?}", database.url(name))).await;
        assert!(said.contains(&format!("the role {name} ")) && said.contains("insula_platform"), "{said}");
    }
}

#[tokio::test]
async fn pending_migrations_are_refused_by_name() {
    let database = Database::unmigrated().await;
    database.run("revoke create on schema public from public").await;
    let said = refusal(&database, "").await;
    assert!(said.contains("migrations are pending (foundation, orgs people, gate"), "{said}");
    assert!(said.ends_with("run `insula migrate` first"), "{said}");
}

#[tokio::test]
async fn a_database_out_of_reach_is_waited_for_and_then_named() {
    let database = Database::new().await;
    let nowhere = "[database]\nconnect_seconds = 1\napp_url = \"postgres://insula_app@127.0.0.1:1/insula\"";
    let started = Instant::now();
    let said = refusal(&database, nowhere).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&started.elapsed()), "{said}");
    for part in ["INSULA_DATABASE__APP_URL", "127.0.0.1:1", "\"insula_app\"", "tried for 1 s", "refused"] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
}

/// A load balancer in front of nothing, say.
#[tokio::test]
async fn a_database_that_accepts_and_never_answers_is_not_waited_for_longer() {
    let database = Database::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://insula_app@{}/insula", silent.local_addr().unwrap());
    let started = Instant::now();
    let said = refusal(&database, &format!("[database]\nconnect_seconds = 1\napp_url = {url:?}")).await;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(said.contains("INSULA_DATABASE__APP_URL") && said.contains("timed out"), "{said}");
}

#[tokio::test]
async fn bootstrap_and_migrate_may_be_run_again_and_what_they_made_is_served() {
    let private = Private::new().await;
    let admin = private.superuser_url();
    let owner = private.database().url("insula_owner");
    let settings = [("INSULA_DATABASE__OWNER_URL", owner.as_str())];
    let bootstrap = ["bootstrap", "--admin-url", admin.expose_secret()];
    for time in ["the first time", "again"] {
        let (code, said) = Binary::run(&bootstrap, &[]).await;
        assert_eq!(code, 0, "{time}: {said}");
        assert!(said.contains("Next: `insula migrate`."), "{time}: {said}");
    }
    for time in ["the first time", "again"] {
        let (code, said) = Binary::run(&["migrate"], &settings).await;
        assert_eq!(code, 0, "{time}: {said}");
        assert!(said.contains("The schema is up to date."), "{time}: {said}");
    }
    App::build(config(&private.database(), ""), Clock::frozen()).await.unwrap();
}
