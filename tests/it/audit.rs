//! Who did what: that each change is recorded, by whom it is read, and that nobody unwrites it.

use super::support::{Org, PASSWORD, Reply, TestApp, id};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use insula::{
    ids::{OrgId, SessionId, UserId},
    tenancy::PLATFORM,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};
use std::time::Duration;
use uuid::Uuid;

const EVENTS: &str = "/api/v1/audit-events";
const TIER: &str = "/operator/v1/tiers/free";

async fn sign_in(app: &TestApp, org: &Org) -> Reply {
    let login = json!({"email": format!("owner@{}.example", org.slug), "password": PASSWORD});
    app.anon().post("/api/v1/auth/login", login).await
}

/// Of whom and in which session a sign-in's access token speaks.
fn session_of(signed_in: &Value) -> (UserId, SessionId) {
    let claims = signed_in["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let text = |claim: &str| claims[claim].as_str().unwrap().to_owned();
    (text("sub").parse().unwrap(), text("sid").parse().unwrap())
}

fn tier(reason: &str) -> Value {
    let policy = json!({"name": "user", "scope": "user", "quota": 300, "window_seconds": 60});
    json!({"name": "Free", "policies": [policy], "reason": reason})
}

#[tokio::test]
async fn admins_and_owners_read_who_did_what_in_their_own_org() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let reply = sign_in(&app, &acme).await;
    let (user, session) = session_of(&reply.expect(200));
    app.seal().await;

    for reader in [&acme.owner, &acme.admin] {
        let page = reader.get(&format!("{EVENTS}?target_id={session}")).await.expect(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 1, "{page}");
        let event = &page["data"][0];
        assert_eq!(event["org"], acme.id.to_string());
        assert_eq!(event["actor"], json!({"type": "user", "id": user.to_string()}));
        assert_eq!(event["action"], "session.started");
        assert_eq!(event["target"], json!({"type": "session", "id": session.to_string()}));
        assert_eq!((&event["before"], &event["after"]["mfa"]), (&Value::Null, &json!(false)));
        assert_eq!(event["ip"], "127.0.0.1");
        assert_eq!(event["request_id"], reply.header("x-request-id"));
        assert!(
            event["seq"].as_i64().unwrap() >= 1 && event["hash"].as_str().unwrap().len() == 64,
            "{event}"
        );

        let path = format!("{EVENTS}/{}", id(event));
        assert_eq!(&reader.get(&path).await.expect(200), event);
        globex.owner.get(&path).await.expect_problem(404, "not_found");
    }
    for other in [&acme.member, &acme.viewer] {
        other.get(EVENTS).await.expect_problem(403, "permission_denied");
    }
    let theirs = globex.owner.get(&format!("{EVENTS}?limit=100")).await.expect(200);
    let orgs: Vec<&Value> = theirs["data"].as_array().unwrap().iter().map(|event| &event["org"]).collect();
    assert!(!orgs.is_empty() && orgs.iter().all(|org| **org == globex.id.to_string()), "{theirs}");
}

#[tokio::test]
async fn the_audit_is_read_from_the_newest_on_and_narrowed_by_who_what_whom_and_when() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let begun = app.clock.now();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        app.clock.advance(Duration::from_secs(1));
        let (user, session) = session_of(&sign_in(&app, &acme).await.expect(200));
        sessions.insert(0, (user, session.to_string()));
    }
    let user = sessions[0].0;
    let targets = async |query: &str| -> Vec<String> {
        let page = acme.owner.get(&format!("{EVENTS}?limit=3{query}")).await.expect(200);
        let events = page["data"].as_array().unwrap().iter();
        events.map(|event| event["target"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let newest: Vec<String> = sessions.iter().map(|(_, session)| session.clone()).collect();
    assert_eq!(targets("").await, newest, "the newest first");
    assert_eq!(targets(&format!("&actor_id={user}")).await, newest);
    assert_eq!(targets("&action=session.started").await, newest);
    assert_eq!(targets(&format!("&target_id={}", newest[1])).await, newest[1..2]);
    assert_eq!(targets("&action=org.created").await, [acme.id.to_string()]);
    assert_eq!(targets("&action=nothing.done").await, [""; 0]);
    assert_eq!(targets(&format!("&actor_id={}", globex.owner.user())).await, [""; 0]);
    let second = (begun + Duration::from_secs(2)).unix_timestamp_nanos();
    let second = time::OffsetDateTime::from_unix_timestamp_nanos(second).unwrap();
    let second = second.format(&time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(targets(&format!("&created_after={second}")).await, newest[..1]);
    assert_eq!(
        targets(&format!("&created_before={second}&created_after={}", moment(begun))).await,
        newest[2..]
    );

    // Page by page, nothing twice and nothing left out.
    let mut seen = Vec::new();
    let mut next = format!("{EVENTS}?limit=2&actor_id={user}");
    loop {
        let page = acme.owner.get(&next).await.expect(200);
        seen.extend(page["data"].as_array().unwrap().iter().map(|event| id(event).to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("{EVENTS}?limit=2&actor_id={user}&cursor={cursor}");
    }
    let all = acme.owner.get(&format!("{EVENTS}?limit=100&actor_id={user}")).await.expect(200);
    let all: Vec<&str> = all["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(seen, all);
    for wrong in
        ["actor_id=nobody", "actor_id=org_01jd8yq3c5f4x7t9k2m6n8p0rs", "created_after=today", "actor=x"]
    {
        assert_eq!(acme.owner.get(&format!("{EVENTS}?{wrong}")).await.status, 400, "{wrong}");
    }
}

fn moment(at: time::OffsetDateTime) -> String {
    at.format(&time::format_description::well_known::Rfc3339).unwrap()
}

#[tokio::test]
async fn what_is_recorded_stays_for_whoever_serves() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.seal().await;
    let columns = "org_id, id, at, actor_type, action, target_type";
    let values = format!("'{}', gen_random_uuid(), now(), 'system', 'a.b', 'c'", acme.id.uuid());
    let refused = [
        "update audit_events set after = '{}'".to_owned(),
        "update audit_events set actor_id = null".to_owned(),
        "delete from audit_events".to_owned(),
        "truncate audit_events".to_owned(),
        "delete from audit_heads".to_owned(),
    ];
    let for_the_app = [
        "update audit_events set seq = 7".to_owned(),
        "update audit_heads set seq = 7".to_owned(),
        format!("insert into audit_events ({columns}, seq) values ({values}, 7)"),
        format!("insert into audit_events ({columns}, hash) values ({values}, '')"),
        format!("insert into audit_heads values ('{}', 7, '')", acme.id.uuid()),
    ];
    for (role, statements) in
        [("insula_app", [&refused[..], &for_the_app].concat()), ("insula_platform", refused.to_vec())]
    {
        let mut connection = app.database.connect(role).await;
        for statement in statements {
            let tried = format!("begin; set local app.org_id = '{}'; {statement}", acme.id.uuid());
            let error = connection.execute(sqlx::raw_sql(AssertSqlSafe(tried))).await.unwrap_err();
            let code = error.as_database_error().unwrap().code().unwrap().into_owned();
            assert_eq!(code, "42501", "{role}: {statement}: {error}");
            connection.execute("rollback").await.unwrap();
        }
    }
    // What they may: record, and seal.
    let record = format!(
        "begin; set local app.org_id = '{}'; insert into audit_events ({columns}) values ({values}); commit",
        acme.id.uuid()
    );
    let mut connection = app.database.connect("insula_app").await;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(record))).await.unwrap();
    app.seal().await;
}

/// What a request must have left in the audit.
struct Done {
    reply: Reply,
    action: &'static str,
    org: OrgId,
    actor: (&'static str, Option<Uuid>),
    target: (&'static str, String),
}

impl Done {
    fn by_user(
        reply: Reply,
        org: OrgId,
        user: UserId,
        action: &'static str,
        target: (&'static str, String),
    ) -> Self {
        Self { reply, action, org, actor: ("user", Some(user.uuid())), target }
    }
}

#[tokio::test]
async fn each_act_leaves_its_actor_target_address_and_request() {
    let app = TestApp::start().await;
    let mut done = Vec::new();
    signing_in_and_out(&app, &mut done).await;
    running_the_platform(&app, &mut done).await;
    leaving_for_good(&app, &mut done).await;

    for Done { reply, action, org, actor, target } in done {
        let recorded = app.database.recorded_of(&reply).await;
        let [event] = &recorded.iter().filter(|event| event.action == action).collect::<Vec<_>>()[..] else {
            panic!("{action} is not recorded once: {recorded:?}")
        };
        assert_eq!(event.org_id, org, "{action}");
        assert_eq!((event.actor_type.as_str(), event.actor_id), actor, "{action}");
        assert_eq!(
            (event.target_type.as_str(), event.target.clone()),
            (target.0, Some(target.1)),
            "{action}"
        );
        assert_eq!(event.ip.as_deref(), Some("127.0.0.1"), "{action}");
    }
}

async fn signing_in_and_out(app: &TestApp, done: &mut Vec<Done>) {
    let (acme, globex) = (app.org().await, app.org().await);
    let owner = acme.owner.user();
    app.join(&acme.owner, &globex, "viewer").await;
    let started = |session: SessionId| ("session", session.uuid().to_string());

    let new = json!({"email": "new@example.com", "password": PASSWORD, "name": "New", "org_name": "New"});
    for action in ["org.created", "session.started"] {
        let mut new = new.clone();
        new["email"] = format!("{action}@example.com").into();
        let reply = app.anon().post("/api/v1/auth/register", new).await;
        let signed_up = reply.expect(201);
        let (user, session) = session_of(&signed_up);
        let org: OrgId = id(&signed_up["org"]).parse().unwrap();
        let target = if action == "org.created" { ("org", org.uuid().to_string()) } else { started(session) };
        done.push(Done::by_user(reply, org, user, action, target));
    }

    let reply = sign_in(app, &acme).await;
    let signed_in = reply.expect(200);
    let (_, session) = session_of(&signed_in);
    done.push(Done::by_user(reply, acme.id, owner, "session.started", started(session)));

    let desk = app.bearer(signed_in["access_token"].as_str().unwrap());
    let reply = desk.post("/api/v1/auth/switch", json!({"org": globex.slug})).await;
    reply.expect(200);
    done.push(Done::by_user(reply, globex.id, owner, "session.switched", started(session)));

    let reply = desk.post("/api/v1/auth/logout", json!({})).await;
    reply.expect(204);
    done.push(Done::by_user(reply, acme.id, owner, "session.ended", started(session)));

    let stolen = sign_in(app, &acme).await.expect(200);
    let refresh = json!({"refresh_token": stolen["refresh_token"]});
    app.anon().post("/api/v1/auth/refresh", refresh.clone()).await.expect(200);
    app.clock.advance(Duration::from_secs(11));
    let reply = app.anon().post("/api/v1/auth/refresh", refresh).await;
    reply.expect_problem(401, "invalid_refresh_token");
    done.push(Done::by_user(reply, acme.id, owner, "session.token_reused", started(session_of(&stolen).1)));
}

async fn running_the_platform(app: &TestApp, done: &mut Vec<Done>) {
    let operator = app.operator().await;
    let actor = ("operator", Some(operator.user().uuid()));
    let reply = operator.put(TIER, tier("they asked")).await;
    reply.expect(200);
    done.push(Done {
        reply,
        action: "tier.replaced",
        org: PLATFORM,
        actor,
        target: ("tier", "free".to_owned()),
    });
}

async fn leaving_for_good(app: &TestApp, done: &mut Vec<Done>) {
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.member, &globex, "viewer").await;
    let me = acme.member.user();
    let leave =
        acme.member.request(reqwest::Method::DELETE, "/api/v1/me").json(&json!({"password": PASSWORD}));
    let reply = Reply::of(leave).await;
    reply.expect(204);
    let recorded = app.database.recorded_of(&reply).await;
    let mut told: Vec<OrgId> = recorded.iter().map(|event| event.org_id).collect();
    told.sort();
    assert_eq!(told, [acme.id, globex.id], "each org of theirs is told");
    assert!(
        recorded
            .iter()
            .all(|event| event.action == "account.deleted" && event.target == Some(me.uuid().to_string()))
    );
    let other =
        acme.viewer.request(reqwest::Method::DELETE, "/api/v1/me").json(&json!({"password": PASSWORD}));
    let reply = Reply::of(other).await;
    reply.expect(204);
    let viewer = acme.viewer.user();
    done.push(Done::by_user(reply, acme.id, viewer, "account.deleted", ("user", viewer.uuid().to_string())));
}

#[tokio::test]
async fn a_changed_tier_is_recorded_as_it_was_and_as_it_is_and_why() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let before = operator.get(TIER).await.expect(200);
    operator.put(TIER, tier("they asked for more")).await.expect(200);
    // An edit that is refused leaves nothing.
    operator.put_if(TIER, "\"1\"", tier("too late")).await.expect_problem(412, "stale");
    let row = app
        .database
        .count(
            "select count(*) from audit_events where action = 'tier.replaced'
             and before ->> 'version' = '1' and after ->> 'version' = '2' and after ->> 'reason' = 'they asked for more'
             and after -> 'policies' -> 0 ->> 'quota' = '300'",
        )
        .await;
    assert_eq!((row, &before["version"]), (1, &json!(1)));
    assert_eq!(
        app.database.count("select count(*) from audit_events where action = 'tier.replaced'").await,
        1
    );
}
