//! The hash chain: sealed after commit, computed again by whoever reads it, and broken by nothing unnoticed.

use super::support::{Binary, Database, Org, TestApp, until};
use insula::{
    audit::{self, Break, Verified},
    ids::OrgId,
    worker,
};
use sha2::{Digest as _, Sha256};

async fn verified(app: &TestApp, org: OrgId) -> (Verified, Vec<Break>) {
    let mut breaks = Vec::new();
    let found = audit::verify(&app.state.platform, org, |found| breaks.push(found)).await.unwrap();
    assert_eq!(found.breaks, breaks.len() as u64);
    (found, breaks)
}

async fn with_events(app: &TestApp, many: usize) -> Org {
    let org = app.org().await;
    for _ in 0..many {
        app.done(org.id, "thing.done").await;
    }
    app.seal().await;
    org
}

#[tokio::test]
async fn an_org_can_compute_its_chain_from_what_it_reads() {
    let app = TestApp::start().await;
    let (acme, globex) = (with_events(&app, 7).await, with_events(&app, 2).await);
    for org in [&acme, &globex] {
        let page = org.owner.get("/api/v1/audit-events?limit=100").await.expect(200);
        let mut events = page["data"].as_array().unwrap().clone();
        events.sort_by_key(|event| event["seq"].as_i64().unwrap());
        let mut previous = [0; 32].to_vec();
        for (at, event) in events.iter_mut().enumerate() {
            assert_eq!(event["seq"], at + 1, "each org counts for itself, from 1");
            let hash = event.as_object_mut().unwrap().remove("hash").unwrap();
            // Names and numbers of these events are such that serde writes the form of RFC 8785.
            let text = serde_json::to_string(event).unwrap();
            previous = Sha256::new().chain_update(&previous).chain_update(text).finalize().to_vec();
            assert_eq!(hash, audit::hex(&previous), "{event}");
        }
        let (found, breaks) = verified(&app, org.id).await;
        assert_eq!(breaks, []);
        assert_eq!((found.sealed, found.unsealed), (events.len() as u64, 0));
        assert_eq!(found.head, audit::hex(&previous));
    }
}

#[tokio::test]
async fn writers_wait_for_nobody_and_who_commits_late_is_sealed_late() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.seal().await;
    let (before, early) = (app.database.sealed(acme.id).await, app.doing(acme.id, "thing.begun_early").await);
    app.clock.advance(std::time::Duration::from_secs(1));

    let writers = (0..3).map(|writer| {
        let (app, orgs) = (&app, [acme.id, globex.id]);
        async move {
            for round in 0..20 {
                app.done(orgs[(writer + round) % 2], "thing.done").await;
            }
        }
    });
    let sealers = (0..2).map(|_| async {
        for _ in 0..15 {
            worker::seal_audit(&app.state.platform).await.unwrap();
        }
    });
    futures::join!(futures::future::join_all(writers), futures::future::join_all(sealers));
    until("all but the early one are sealed", async || {
        worker::seal_audit(&app.state.platform).await.unwrap();
        app.database.sealed(acme.id).await == before + 30
    })
    .await;
    early.commit().await.unwrap();
    app.seal().await;

    for org in [&acme, &globex] {
        let (found, breaks) = verified(&app, org.id).await;
        assert_eq!(breaks, [], "{}", org.slug);
        assert_eq!(found.unsealed, 0);
    }
    let late = app.database.count("select seq from audit_events where action = 'thing.begun_early'").await;
    assert_eq!(late, before + 31, "what happened first was committed last");
}

#[tokio::test]
async fn one_seals_at_a_time_and_what_waits_is_told() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.seal().await;
    let held = app.database.hold_sealer().await;
    app.done(acme.id, "thing.done").await;
    assert_eq!(worker::seal_audit(&app.state.platform).await.unwrap(), 0, "another replica is at it");
    let (found, breaks) = verified(&app, acme.id).await;
    assert_eq!((found.unsealed, found.oldest_unsealed.is_some(), &breaks[..]), (1, true, &[][..]));
    drop(held);
    app.seal().await;
    assert_eq!(verified(&app, acme.id).await.0.unsealed, 0);
}

/// What somebody with every right could do to the events of an org, and what is said of it; `N` is the last seq.
fn tampering(last: i64) -> Vec<(&'static str, Vec<Break>)> {
    vec![
        (
            "update audit_events set after = '{\"price\": 0}' where {org} and seq = 5",
            vec![Break::WrongHash { seq: 5 }],
        ),
        (
            "update audit_events set ip = '192.0.2.1' where {org} and seq = 2",
            vec![Break::WrongHash { seq: 2 }],
        ),
        (
            "update audit_events set after = null where {org} and seq = 6; \
             update audit_events set actor_id = gen_random_uuid() where {org} and seq = 8",
            vec![Break::WrongHash { seq: 6 }, Break::WrongHash { seq: 8 }],
        ),
        ("delete from audit_events where {org} and seq = 5", vec![Break::Missing { from: 5, to: 5 }]),
        (
            "delete from audit_events where {org} and seq in (1, 2, 3)",
            vec![Break::Missing { from: 1, to: 3 }],
        ),
        (
            "delete from audit_events where {org} and seq = {last}",
            vec![Break::CutOff { last: last - 1, head: last }],
        ),
        ("delete from audit_events where {org}", vec![Break::CutOff { last: 0, head: last }]),
        (
            "update audit_events set seq = 0 where {org} and seq = 5; \
             update audit_events set seq = 5 where {org} and seq = 7; \
             update audit_events set seq = 7 where {org} and seq = 0",
            [5, 6, 7, 8].map(|seq| Break::WrongHash { seq }).to_vec(),
        ),
        (
            "insert into audit_events (org_id, id, at, actor_type, action, target_type, seq, hash) \
             select org_id, gen_random_uuid(), at, 'system', 'nothing.done', 'org', {last} + 1, hash \
             from audit_events where {org} and seq = 4",
            vec![Break::WrongHash { seq: last + 1 }, Break::BeyondHead { last: last + 1, head: last }],
        ),
        (
            "insert into audit_events (org_id, id, at, actor_type, action, target_type, seq, hash) \
             select org_id, gen_random_uuid(), at, 'system', 'nothing.done', 'org', 0, hash \
             from audit_events where {org} and seq = 4",
            vec![Break::Misplaced { seq: 0 }],
        ),
        // The whole end of the chain made to fit, but for what the sealer knows.
        ("update audit_heads set hash = sha256('') where {org}", vec![Break::WrongHead { seq: last }]),
        ("delete from audit_heads where {org}", vec![Break::BeyondHead { last, head: 0 }]),
    ]
}

#[tokio::test]
async fn whatever_is_done_to_a_sealed_event_is_told_with_its_place() {
    let app = TestApp::start().await;
    let globex = with_events(&app, 3).await;
    let acme = with_events(&app, 9).await;
    let last = app.database.sealed(acme.id).await;
    assert!(last >= 9);
    for (statements, expected) in tampering(last) {
        let org = with_events(&app, 9).await;
        assert_eq!(verified(&app, org.id).await.1, [], "before");
        let statements = statements
            .replace("{org}", &format!("org_id = '{}'", org.id.uuid()))
            .replace("{last}", &last.to_string());
        app.database.run(statements.as_str()).await;
        assert_eq!(verified(&app, org.id).await.1, expected, "{statements}");

        if statements.starts_with("delete from audit_heads") {
            // No event is harmed by it, and the next one sealed makes another head.
            continue;
        }
        // What is broken stays so, and stops nobody else's chain, nor its own.
        app.done(org.id, "thing.done").await;
        app.done(globex.id, "thing.done").await;
        app.seal().await;
        let (_, breaks) = verified(&app, org.id).await;
        assert!(!breaks.is_empty(), "{statements} is forgotten once more is sealed");
        assert_eq!(verified(&app, globex.id).await.1, [], "{statements}");
    }
    assert_eq!(verified(&app, acme.id).await.1, []);
}

#[tokio::test]
async fn the_command_line_tells_each_org_and_fails_where_one_is_broken() {
    let app = TestApp::start().await;
    let (acme, globex) = (with_events(&app, 9).await, with_events(&app, 2).await);
    let sealed = app.database.sealed(globex.id).await;

    let (code, said) = verify(&app.database, &[]).await;
    assert_eq!(code, 0, "{said}");
    for org in [&acme, &globex] {
        assert!(said.contains(&format!("{} {}: ", org.id, org.slug)), "{said}");
    }
    assert!(said.contains(&format!("{}: {sealed} events sealed, head ", globex.slug)), "{said}");
    assert!(said.contains(", 0 not sealed yet\n") && said.contains(", 0 with a broken chain."), "{said}");

    let tamper = "update audit_events set after = '{}' where action = 'thing.done' and org_id =";
    app.database.run(format!("{tamper} '{}' and seq = 7", acme.id.uuid())).await;
    let held = app.database.hold_sealer().await;
    app.done(globex.id, "thing.done").await;
    let (code, said) = verify(&app.database, &[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("{} BROKEN: seq 7 is not what was sealed", acme.id)), "{said}");
    assert!(!said.contains(&format!("{} BROKEN", globex.id)), "{said}");
    assert!(
        said.contains("1 not sealed yet, the oldest for ") && said.contains("1 with a broken chain."),
        "{said}"
    );
    drop(held);

    for (org, code) in [(acme.slug.clone(), 1), (acme.id.to_string(), 1), (globex.slug.clone(), 0)] {
        let (was, said) = verify(&app.database, &["--org", &org]).await;
        assert_eq!(was, code, "{org}: {said}");
        assert_eq!(said.lines().filter(|line| line.contains("events sealed")).count(), 1, "{said}");
    }
    let (code, said) = verify(&app.database, &["--org", "nowhere"]).await;
    assert!(code == 1 && said.contains(r#"the organisation "nowhere": not found"#), "{code}: {said}");
}

async fn verify(database: &Database, args: &[&str]) -> (i32, String) {
    let (app, platform) = (database.url("insula_app"), database.url("insula_platform"));
    let settings = [
        ("INSULA_DATABASE__APP_URL", app.as_str()),
        ("INSULA_DATABASE__PLATFORM_URL", &platform),
        ("INSULA_AUTH__MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    Binary::run(&[&["audit", "verify"], args].concat(), &settings).await
}
