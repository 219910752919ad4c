//! What tokens are signed with: two keys from the start, rotated without a failed request, revoked within a second.

use super::support::{
    Binary, Database, Forge, Org, PASSWORD, Persona, TestApp, config, nobodys_kid, until, within_a_second,
};
use futures::future::join_all;
use insula::{app::App, clock::Clock, config::Unusable, trail::Trail};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const ME: &str = "/api/v1/me";
const KEYS: &str = "/operator/v1/keys";
const ROTATE: &str = "/operator/v1/keys/rotate";
const PROMISED: Duration = Duration::from_secs(1);

async fn rotate(operator: &Persona, how: &[&str]) -> Value {
    let mut rotation = json!({"reason": "a test"});
    for flag in how {
        rotation[flag] = json!(true);
    }
    operator.post(ROTATE, rotation).await.expect(200)
}

/// What the keys of a list are called, by their state.
fn named(keys: &Value, state: &str) -> Vec<String> {
    let keys = keys["data"].as_array().unwrap().iter().filter(|key| key["state"] == state);
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn published(app: &TestApp) -> BTreeSet<String> {
    let jwks = app.anon().get("/.well-known/jwks.json").await.expect(200);
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(persona: &Persona) -> String {
    jsonwebtoken::decode_header(persona.token.as_deref().unwrap()).unwrap().kid.unwrap()
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_may_be_remembered_until_then() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let reply = app.anon().get("/.well-known/jwks.json").await;
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    let keys = operator.get(KEYS).await.expect(200);
    let (current, standby) = (named(&keys, "current"), named(&keys, "standby"));
    assert_eq!((current.len(), standby.len(), named(&keys, "previous").len()), (1, 1, 0));
    assert_eq!(published(&app).await, BTreeSet::from([current[0].clone(), standby[0].clone()]));
    assert_eq!(kid(&acme.owner), current[0]);

    app.clock.advance(Duration::from_secs(299));
    let early = operator.post(ROTATE, json!({"reason": "too early"})).await;
    let problem = early.expect_problem(409, "standby_too_young");
    assert!(problem["detail"].as_str().unwrap().contains("wait 1 s"), "{problem}");
    app.clock.advance(Duration::from_secs(1));
    let keys = rotate(&operator, &[]).await;
    assert_eq!((named(&keys, "current"), named(&keys, "previous")), (standby, current));
    assert_eq!(published(&app).await.len(), 3);
    let newcomer = app.signed_in(acme.viewer.user(), acme.id).await;
    assert_eq!([kid(&newcomer)], *named(&keys, "current"));
    for persona in [&newcomer, &acme.owner] {
        persona.get(ME).await.expect(200);
    }

    // The new standby is young in its turn, unless somebody knows better.
    operator.post(ROTATE, json!({"reason": "again"})).await.expect_problem(409, "standby_too_young");
    rotate(&operator, &["force"]).await;
    assert_eq!(published(&app).await.len(), 4);
}

#[tokio::test]
async fn only_an_operator_who_has_just_signed_in_rotates_and_gives_a_reason() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    acme.owner.post(ROTATE, json!({"reason": "mine"})).await.expect_problem(403, "operators_only");
    acme.owner.get(KEYS).await.expect_problem(403, "operators_only");
    for unexplained in [json!({}), json!({"reason": ""}), json!({"reason": "x", "kid": "x"})] {
        operator.post(ROTATE, unexplained).await.expect_problem(422, "invalid");
    }
    let before = published(&app).await;
    app.clock.advance(Duration::from_secs(301));
    let stale = operator.post(ROTATE, json!({"reason": "the yearly one"})).await;
    stale.expect_problem(401, "step_up_required");
    operator.get(KEYS).await.expect(200);
    assert_eq!(published(&app).await, before);
    let fresh = app.member(insula::tenancy::PLATFORM, "platform", "operator").await;
    rotate(&fresh, &[]).await;
}

#[tokio::test]
async fn a_rotation_is_audited_with_who_and_why_and_nothing_secret() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let before = operator.get(KEYS).await.expect(200);
    let after = rotate(&operator, &["force", "revoke"]).await;
    let told = app
        .database
        .text(
            "select jsonb_build_object('actor', actor_type, 'id', actor_id, 'target', target, 'ip', ip is not null,
                                       'before', before, 'after', after)::text
             from audit_events where action = 'signing_key.rotated'",
        )
        .await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let (current, standby) = (&named(&before, "current")[0], &named(&before, "standby")[0]);
    assert_eq!(
        told,
        json!({
            "actor": "operator", "id": operator.user().uuid().to_string(), "target": standby, "ip": true,
            "before": {"current": current, "standby": standby},
            "after": {"current": standby, "standby": named(&after, "standby")[0], "revoked": [current],
                      "forced": true, "reason": "a test"},
        })
    );
}

/// Everybody is served by both replicas, in turn.
async fn work(
    replicas: [String; 2],
    org: String,
    stop: CancellationToken,
    done: Arc<AtomicU64>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let login = json!({"email": format!("owner@{org}.example"), "password": PASSWORD});
    let at = |base: &str, token: Option<&str>| Persona::new(base, token.map(ToOwned::to_owned));
    let mut session = at(&replicas[0], None).post("/api/v1/auth/login", login).await.expect(200);
    for turn in 0.. {
        let (here, there) = (&replicas[turn % 2], &replicas[(turn + 1) % 2]);
        let token = session["access_token"].as_str().unwrap().to_owned();
        let mut replies =
            vec![at(there, Some(&token)).get(ME).await, at(here, Some(&token)).get("/api/v1/products").await];
        let refresh = json!({"refresh_token": session["refresh_token"]});
        let refreshed = at(here, None).post("/api/v1/auth/refresh", refresh).await;
        if refreshed.status == 200 {
            session = refreshed.json();
        }
        replies.push(refreshed);
        let failed = replies.iter().filter(|reply| reply.status != 200);
        failures.extend(failed.map(|reply| format!("turn {turn}: {}", reply.text)));
        done.fetch_add(3, Ordering::SeqCst);
        if stop.is_cancelled() {
            break;
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_keys_are_rotated_again_and_again() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (orgs, operator) = ([here.org().await, here.org().await, here.org().await], here.operator().await);
    let (stop, done) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let workers = orgs.iter().map(|org| {
        let replicas = [here.base.clone(), there.base.clone()];
        tokio::spawn(work(replicas, org.slug.clone(), stop.clone(), Arc::clone(&done)))
    });
    let workers: Vec<_> = workers.collect();
    let at_work = async || {
        let before = done.load(Ordering::SeqCst);
        until("requests are answered", async || done.load(Ordering::SeqCst) > before + 20).await;
    };
    at_work().await;
    let mut signed = BTreeSet::new();
    for rotation in 0..5 {
        let keys = rotate(&operator.at([&here.base, &there.base][rotation % 2]), &["force"]).await;
        signed.insert(named(&keys, "current")[0].clone());
        at_work().await;
    }
    // Faster than anybody is told.
    for _ in 0..3 {
        rotate(&operator, &["force"]).await;
    }
    at_work().await;
    stop.cancel();
    let failures: Vec<String> =
        join_all(workers).await.into_iter().flat_map(|failures| failures.unwrap()).collect();
    assert_eq!(failures, [""; 0], "of {} requests", done.load(Ordering::SeqCst));
    assert_eq!(signed.len(), 5, "each signed in its turn");
    // What was signed with the first of nine keys is good to its end.
    for org in &orgs {
        org.owner.at(&there.base).get(ME).await.expect(200);
    }
}

#[tokio::test]
async fn a_replica_that_is_told_nothing_asks_for_a_key_that_it_does_not_know() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex, operator) = (here.org().await, here.org().await, here.operator().await);
    here.database.cut_bus().await;
    for _ in 0..2 {
        rotate(&operator, &["force"]).await;
    }
    let newcomers = join_all([&acme, &globex].map(|org| here.signed_in(org.viewer.user(), org.id))).await;
    assert!(!published(&there).await.contains(&kid(&newcomers[0])));
    for newcomer in &newcomers {
        newcomer.at(&there.base).get(ME).await.expect(200);
    }
    assert_eq!(published(&there).await, published(&here).await);
}

#[tokio::test]
async fn however_many_strangers_show_unknown_keys_one_of_them_asks_in_a_second() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let forge = Forge::of(&app).await;
    let strangers: Vec<Persona> =
        (0..20).map(|_| app.bearer(&Forge::stranger(&nobodys_kid()).token(&acme.viewer.claims()))).collect();
    let lock = app.database.lock("lock table signing_keys").await;
    let asking = tokio::spawn(async move { join_all(strangers.iter().map(|who| who.get(ME))).await });
    until("one asks", async || app.database.waiting().await > 0).await;
    // Nobody waits but those who show a key that may have been made a moment ago.
    acme.owner.get(ME).await.expect(200);
    let nonsense = app.bearer(&Forge::stranger("../../etc/passwd").token(&acme.viewer.claims()));
    nonsense.get(ME).await.expect_problem(401, "invalid_token");
    let mut old = acme.viewer.claims();
    old["exp"] = json!(app.clock.now().unix_timestamp());
    let old = app.bearer(&Forge::stranger(&nobodys_kid()).token(&old));
    old.get(ME).await.expect_problem(401, "token_expired");
    assert_eq!(app.database.waiting().await, 1, "asking for twenty");
    assert!(!asking.is_finished());
    lock.release().await;
    for reply in asking.await.unwrap() {
        reply.expect_problem(401, "invalid_token");
    }

    let started = Instant::now();
    for _ in 0..2 {
        let stranger = app.bearer(&Forge::stranger(&nobodys_kid()).token(&acme.viewer.claims()));
        stranger.get(ME).await.expect_problem(401, "invalid_token");
    }
    assert!(started.elapsed() > PROMISED, "asked twice within {:?}", started.elapsed());
    app.bearer(&forge.token(&acme.viewer.claims())).get(ME).await.expect(200);
}

#[tokio::test]
async fn tokens_of_a_previous_key_are_good_until_they_expire_and_the_key_goes_after_them() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org().await, app.operator().await);
    let old = kid(&acme.owner);
    let keys = rotate(&operator, &["force"]).await;
    assert_eq!(named(&keys, "previous"), std::slice::from_ref(&old));
    app.clock.advance(Duration::from_secs(899));
    acme.owner.get(ME).await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    acme.owner.get(ME).await.expect_problem(401, "token_expired");

    let removed = "select count(*) from audit_events where action = 'signing_key.removed'";
    let sweep = async || app.state.keyring.sweep(&Trail::of_the_house(app.clock.now())).await.unwrap();
    app.clock.advance(Duration::from_secs(299));
    sweep().await;
    assert_eq!(app.database.count(removed).await, 0);
    assert!(published(&app).await.contains(&old));
    app.clock.advance(Duration::from_secs(1));
    sweep().await;
    until("it is published no more", async || !published(&app).await.contains(&old)).await;
    assert_eq!(published(&app).await.len(), 2);
    assert_eq!(app.database.count(removed).await, 1);
    sweep().await;
    assert_eq!(app.database.count(removed).await, 1);
}

#[tokio::test]
async fn tokens_of_a_revoked_key_are_refused_everywhere_within_a_second_even_if_remembered() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex, operator) = (here.org().await, here.org().await, here.operator().await);
    let login = json!({"email": format!("owner@{}.example", acme.slug), "password": PASSWORD});
    let session = here.anon().post("/api/v1/auth/login", login).await.expect(200);
    let before = here.bearer(session["access_token"].as_str().unwrap());
    rotate(&operator, &["force"]).await;
    let stolen = Forge::of(&here).await;
    let later = here.signed_in(globex.viewer.user(), globex.id).await;
    let everybody = [&before, &later, &acme.viewer, &globex.owner];
    for persona in everybody {
        persona.get(ME).await.expect(200);
        persona.at(&there.base).get(ME).await.expect(200);
    }

    let keys = rotate(&operator, &["force", "revoke"]).await;
    assert_eq!(named(&keys, "previous"), [""; 0]);
    for persona in everybody {
        persona.get(ME).await.expect_problem(401, "invalid_token");
    }
    within_a_second("the other replica hears of it", async || {
        acme.viewer.at(&there.base).get(ME).await.status == 401
    })
    .await;
    // That these are gone is known: asked for, each would take the second that questions are apart.
    let started = Instant::now();
    for persona in everybody {
        persona.at(&there.base).get(ME).await.expect_problem(401, "invalid_token");
    }
    assert!(started.elapsed() < PROMISED * 2, "{:?}", started.elapsed());
    for app in [&here, &there] {
        let forged = app.bearer(&stolen.token(&acme.owner.claims()));
        forged.get(ME).await.expect_problem(401, "invalid_token");
        assert!(!published(app).await.contains(&stolen.kid));
    }
    operator.get(KEYS).await.expect_problem(401, "invalid_token");

    // Whoever has a refresh token goes on.
    let refresh = json!({"refresh_token": session["refresh_token"]});
    let session = there.anon().post("/api/v1/auth/refresh", refresh).await.expect(200);
    here.bearer(session["access_token"].as_str().unwrap()).get(ME).await.expect(200);
}

#[tokio::test]
async fn a_revoked_key_is_heard_of_while_operators_hold_every_connection_of_theirs() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, operator) = (here.org().await, here.operator().await);
    let owner = acme.owner.at(&there.base);
    owner.get(ME).await.expect(200);
    let held = join_all([there.state.platform.begin(), there.state.platform.begin()]).await;
    rotate(&operator, &["force", "revoke"]).await;
    within_a_second("it is heard of", async || owner.get(ME).await.status == 401).await;
    drop(held);
}

#[tokio::test]
async fn replicas_that_start_at_once_over_an_empty_database_agree_on_the_keys() {
    let database = Database::new().await;
    // All have seen that there are no keys before the first may add one.
    let lock = database.lock("lock table signing_keys in exclusive mode").await;
    let starting: Vec<_> = (0..4).map(|_| tokio::spawn(TestApp::start_on(database.clone(), ""))).collect();
    until("all want to add theirs", async || database.waiting().await == 4).await;
    lock.release().await;
    let apps: Vec<TestApp> = join_all(starting).await.into_iter().map(Result::unwrap).collect();
    let keys = published(&apps[0]).await;
    assert_eq!(keys.len(), 2);
    for app in &apps {
        assert_eq!(published(app).await, keys);
    }
    assert_eq!(database.count("select count(*) from signing_keys").await, 2);
    let acme = apps[0].org().await;
    for app in &apps {
        acme.owner.at(&app.base).get(ME).await.expect(200);
    }
}

#[tokio::test]
async fn whoever_reads_the_database_can_sign_nothing() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let first = Forge::of(&app).await;
    rotate(&operator, &["force"]).await;
    let second = Forge::of(&app).await;
    let table = app.database.text("select string_agg(signing_keys::text, ' ') from signing_keys").await;
    // As Postgres writes bytes.
    let hex = |bytes: &[u8]| format!("{bytes:02x?}").replace(['[', ',', ' ', ']'], "");
    for forge in [&first, &second] {
        assert!(table.contains(&hex(forge.x())), "the public half is there: {table}");
        assert!(!table.contains(&hex(&forge.seed)), "and the private one is: {table}");
    }
    let kept = "select count(*) from signing_keys where state = 'previous' and seed is not null";
    assert_eq!(app.database.count(kept).await, 0, "a retired key has no private half any more");
    let mut tenants = app.database.connect("insula_app").await;
    let denied = sqlx::query("select from signing_keys").execute(&mut tenants).await.unwrap_err();
    assert!(denied.to_string().contains("permission denied"), "{denied}");
}

const OTHER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[tokio::test]
async fn a_replica_with_another_master_key_does_not_start_and_says_which_setting_it_is() {
    let app = TestApp::start().await;
    let settings = format!("[auth]\nmaster_key = {OTHER_KEY:?}");
    let refused = App::build(config(&app.database, &settings), Clock::frozen()).await;
    let Err(refused) = refused else { panic!("it should not be served") };
    assert!(refused.is::<Unusable>());
    let said = refused.to_string();
    assert!(said.starts_with("INSULA_AUTH__MASTER_KEY: is not the one"), "{said}");
    assert!(!said.contains(OTHER_KEY), "{said}");

    for command in [&["serve"][..], &["keys", "rotate", "--force"]] {
        let (code, said) = insula(&app.database, OTHER_KEY, command).await;
        assert_eq!(code, 2, "{command:?}: {said}");
        assert!(said.contains("INSULA_AUTH__MASTER_KEY: is not the one"), "{command:?}: {said}");
    }
    assert_eq!(app.database.count("select count(*) from signing_keys").await, 2);
}

#[tokio::test]
async fn the_command_line_lists_and_rotates_the_keys_of_what_is_being_served() {
    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let app = TestApp::start().await;
    let (acme, operator): (Org, _) = (app.org().await, app.operator().await);
    let before = operator.get(KEYS).await.expect(200);
    let (code, said) = insula(&app.database, KEY, &["keys", "list"]).await;
    assert_eq!(code, 0, "{said}");
    for state in ["current", "standby"] {
        assert!(said.contains(&format!("{}  {state} ", named(&before, state)[0])), "{said}");
    }

    let (code, said) = insula(&app.database, KEY, &["keys", "rotate"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the standby has been published for"), "{said}");

    let (code, said) = insula(&app.database, KEY, &["keys", "rotate", "--force"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{}  current ", named(&before, "standby")[0])), "{said}");
    assert!(said.contains(&format!("{}  previous ", named(&before, "current")[0])), "{said}");
    until("it signs", async || {
        kid(&app.signed_in(acme.viewer.user(), acme.id).await) == named(&before, "standby")[0]
    })
    .await;
    acme.owner.get(ME).await.expect(200);

    let (code, said) = insula(&app.database, KEY, &["keys", "rotate", "--force", "--revoke"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("previous"), "{said}");
    until("its tokens are refused", async || acme.owner.get(ME).await.status == 401).await;
    let by_the_house = "select count(*) from audit_events
                        where action = 'signing_key.rotated' and actor_type = 'system' and actor_id is null";
    assert_eq!(app.database.count(by_the_house).await, 2);
}

async fn insula(database: &Database, master_key: &str, command: &[&str]) -> (i32, String) {
    let (app, platform) = (database.url("insula_app"), database.url("insula_platform"));
    let settings = [
        ("INSULA_DATABASE__APP_URL", app.as_str()),
        ("INSULA_DATABASE__PLATFORM_URL", &platform),
        ("INSULA_HTTP__LISTEN", "127.0.0.1:0"),
        ("INSULA_AUTH__MASTER_KEY", master_key),
    ];
    Binary::run(command, &settings).await
}
