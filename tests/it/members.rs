//! Who is in an organisation, as what, and who may change that.

use super::support::{Org, Persona, TestApp, cog, pointers, within_a_second};
use futures::future::join;
use serde_json::{Value, json};
use std::time::Duration;

const USERS: &str = "/api/v1/users";

fn path(of: &Persona) -> String {
    format!("{USERS}/{}", of.user())
}

async fn emails(by: &Persona, query: &str) -> Vec<String> {
    let page = by.get(&format!("{USERS}?{query}")).await.expect(200);
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["email"].as_str().unwrap().split('@').next().unwrap().to_owned()).collect()
}

async fn roles(by: &Persona, of: &Persona) -> Value {
    by.get(&path(of)).await.expect(200)["roles"].clone()
}

#[tokio::test]
async fn members_are_found_by_role_standing_and_the_beginning_of_address_or_name() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    acme.owner.patch(&path(&acme.viewer), json!({"status": "suspended"})).await.expect(200);
    for (query, expected) in [
        ("sort=email", &["admin1", "member2", "owner", "viewer3"][..]),
        ("sort=-email&limit=1", &["viewer3"]),
        ("role=admin", &["admin1"]),
        ("role=nobody", &[]),
        ("status=suspended", &["viewer3"]),
        ("status=active&sort=email&role=member", &["member2"]),
        ("q=admin1@org0.ex", &["admin1"]),
        ("q=Oliv", &["owner"]),
        ("q=liv", &[]),
        ("q=%25", &[]),
        ("q=Some&sort=email", &["admin1", "member2", "viewer3"]),
    ] {
        assert_eq!(emails(&acme.member, query).await, expected, "{query}");
    }
    let first = acme.viewer.at(&app.base);
    first.get(USERS).await.expect_problem(403, "member_suspended");
    let one = acme.member.get(&path(&acme.owner)).await;
    assert_eq!(one.header("etag"), "\"1\"");
    let one = one.expect(200);
    assert_eq!(
        (&one["name"], &one["status"], &one["tier"]),
        (&json!("Olivia Owner"), &json!("active"), &json!(null))
    );
    acme.member.get(&path(&globex.owner)).await.expect_problem(404, "not_found");
    acme.owner
        .patch(&path(&globex.viewer), json!({"roles": ["admin"]}))
        .await
        .expect_problem(404, "not_found");
    acme.owner.delete(&path(&globex.viewer)).await.expect_problem(404, "not_found");
    assert_eq!(roles(&globex.owner, &globex.viewer).await, json!(["viewer"]));
}

#[tokio::test]
async fn other_roles_hold_from_the_next_request_on_and_are_audited() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    acme.viewer.post("/api/v1/products", cog()).await.expect_problem(403, "permission_denied");
    let changed =
        acme.admin.patch(&path(&acme.viewer), json!({"roles": ["viewer", "member", "member"]})).await;
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(changed.expect(200)["roles"], json!(["member", "viewer"]));
    acme.viewer.post("/api/v1/products", cog()).await.expect(201);
    acme.admin.patch(&path(&acme.viewer), json!({"roles": ["viewer"]})).await.expect(200);
    acme.viewer.delete("/api/v1/products/x").await.expect_problem(403, "permission_denied");
    globex.viewer.get("/api/v1/products").await.expect(200);

    let told = app.last_audited(&acme, "member.roles_changed").await;
    assert_eq!(told.actor_type, "user");
    assert_eq!(told.before, Some(json!({"roles": ["member", "viewer"]})));
    assert_eq!(told.after, Some(json!({"roles": ["viewer"]})));
    // What changes nothing is no change.
    let lines = app.audited(acme.id).await.len();
    let same = acme.admin.patch(&path(&acme.viewer), json!({"roles": ["viewer"], "status": "active"})).await;
    assert_eq!(same.header("etag"), "\"3\"");
    assert_eq!(app.audited(acme.id).await.len(), lines);
    let late = acme.admin.patch_if(&path(&acme.viewer), "\"2\"", json!({"roles": ["member"]})).await;
    late.expect_problem(412, "stale");
}

#[tokio::test]
async fn nobody_gives_or_takes_more_than_they_hold_nor_touches_who_holds_more() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let beyond = [
        (&acme.viewer, json!({"roles": ["owner"]}), "owner"),
        (&acme.admin, json!({"roles": ["admin", "owner"]}), "owner"),
        (&acme.viewer, json!({"roles": ["operator"]}), "operator"),
        (&acme.owner, json!({"roles": ["viewer"]}), "owner"),
        (&acme.owner, json!({"status": "suspended"}), "owner"),
        (&acme.owner, json!({"tier": "free"}), "owner"),
    ];
    for (of, patch, role) in beyond {
        let problem = acme.admin.patch(&path(of), patch.clone()).await.expect_problem(403, "beyond_your_own");
        assert_eq!(problem["role"], role, "{patch}");
        assert!(!problem["permissions"].as_array().unwrap().is_empty());
    }
    acme.admin.delete(&path(&acme.owner)).await.expect_problem(403, "beyond_your_own");
    acme.owner
        .patch(&path(&acme.viewer), json!({"roles": ["operator"]}))
        .await
        .expect_problem(403, "beyond_your_own");
    assert_eq!(roles(&acme.owner, &acme.owner).await, json!(["owner"]));
    assert_eq!(roles(&acme.owner, &acme.viewer).await, json!(["viewer"]));

    // An equal is no more than oneself.
    let peer = app.member(acme.id, &acme.slug, "admin").await;
    acme.admin.patch(&path(&peer), json!({"roles": ["member"]})).await.expect(200);
    peer.patch(&path(&acme.admin), json!({"roles": ["member"]}))
        .await
        .expect_problem(403, "permission_denied");
    globex.admin.get(&path(&globex.owner)).await.expect(200);
}

#[tokio::test]
async fn a_key_changes_members_within_its_scopes_and_makes_no_admins() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let narrow = app.api_key(&acme, &["users:read", "users:update", "users:delete"]).await;
    narrow.get(USERS).await.expect(200);
    narrow
        .patch(&path(&acme.viewer), json!({"status": "suspended"}))
        .await
        .expect_problem(403, "beyond_your_own");

    let viewing = [
        "org:read",
        "users:read",
        "roles:read",
        "categories:read",
        "products:read",
        "orders:read",
        "jobs:read",
        "events:read",
        "schedules:read",
        "files:read",
    ];
    let viewers = app.api_key(&acme, &[&viewing[..], &["users:update", "users:delete"]].concat()).await;
    viewers.patch(&path(&acme.viewer), json!({"status": "suspended"})).await.expect(200);
    viewers
        .patch(&path(&acme.viewer), json!({"roles": ["member"]}))
        .await
        .expect_problem(403, "beyond_your_own");
    viewers
        .patch(&path(&acme.member), json!({"status": "suspended"}))
        .await
        .expect_problem(403, "beyond_your_own");
    assert_eq!(app.last_audited(&acme, "member.suspended").await.actor_type, "api_key");
    viewers
        .patch(&path(&globex.viewer), json!({"status": "suspended"}))
        .await
        .expect_problem(404, "not_found");
    viewers.delete(&path(&acme.viewer)).await.expect(204);

    let everything = acme.admin.get("/api/v1/permissions").await.expect(200);
    let all: Vec<&str> = everything["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|permission| permission["permission"].as_str().unwrap())
        .collect();
    let mighty = app.api_key(&acme, &all).await;
    mighty.patch(&path(&acme.member), json!({"roles": ["viewer"]})).await.expect(200);
    mighty.patch(&path(&acme.member), json!({"roles": ["admin"]})).await.expect_problem(403, "user_required");
}

#[tokio::test]
async fn to_give_a_role_that_changes_members_takes_a_fresh_sign_in() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let other = app.org().await;
    app.clock.advance(Duration::from_secs(301));
    for role in ["admin", "owner"] {
        let stale = acme.owner.patch(&path(&acme.viewer), json!({"roles": [role]})).await;
        stale.expect_problem(401, "step_up_required");
        assert!(stale.header("www-authenticate").contains("insufficient_user_authentication"));
    }
    acme.owner.patch(&path(&acme.viewer), json!({"roles": ["member"]})).await.expect(200);
    // What they hold already is not given.
    acme.owner.patch(&path(&acme.admin), json!({"roles": ["admin", "viewer"]})).await.expect(200);
    let fresh = app.signed_in(acme.owner.user(), acme.id).await;
    fresh.patch(&path(&acme.viewer), json!({"roles": ["admin"]})).await.expect(200);
    other.owner.get(USERS).await.expect(200);
}

#[tokio::test]
async fn an_org_is_never_left_without_an_active_owner() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    app.join(&acme.owner, &globex, "viewer").await;
    let own = path(&acme.owner);
    for patch in [json!({"roles": ["admin"]}), json!({"status": "suspended"})] {
        acme.owner.patch(&own, patch).await.expect_problem(409, "last_owner");
    }
    acme.owner.delete(&own).await.expect_problem(409, "last_owner");
    acme.owner.delete(&format!("/api/v1/me/orgs/{}", acme.id)).await.expect_problem(409, "last_owner");

    acme.owner.patch(&path(&acme.admin), json!({"roles": ["owner"]})).await.expect(200);
    acme.owner.patch(&path(&acme.admin), json!({"status": "suspended"})).await.expect(200);
    // A suspended owner answers for nothing.
    acme.owner.delete(&own).await.expect_problem(409, "last_owner");
    acme.owner.patch(&path(&acme.admin), json!({"status": "active"})).await.expect(200);
    acme.owner.patch(&own, json!({"roles": ["viewer"]})).await.expect(200);
    acme.admin
        .patch(&path(&acme.admin), json!({"roles": ["viewer"]}))
        .await
        .expect_problem(409, "last_owner");
    assert_eq!(roles(&globex.owner, &globex.owner).await, json!(["owner"]), "none of this was about them");
}

#[tokio::test]
async fn of_two_owners_who_demote_each_other_at_once_one_stays() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let globex = app.org().await;
    let one = app.member(acme.id, &acme.slug, "owner").await;
    let two = app.member(acme.id, &acme.slug, "owner").await;
    acme.owner.delete(&path(&acme.owner)).await.expect(204);
    let demote = json!({"roles": ["admin"]});
    for round in 0..50 {
        let (first, second) =
            join(one.patch(&path(&two), demote.clone()), two.patch(&path(&one), demote.clone())).await;
        let mut answers = [first.status, second.status];
        answers.sort_unstable();
        assert_eq!(answers, [200, 403], "round {round}: {} {}", first.text, second.text);
        let owners = emails(&acme.viewer, "role=owner").await;
        assert_eq!(owners.len(), 1, "round {round}");
        let (still, demoted) = if first.status == 200 { (&one, &two) } else { (&two, &one) };
        still.patch(&path(demoted), json!({"roles": ["owner"]})).await.expect(200);
    }
    assert_eq!(emails(&globex.viewer, "role=owner").await, ["owner"]);
}

#[tokio::test]
async fn of_two_owners_who_step_down_at_once_one_stays() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let two = app.member(acme.id, &acme.slug, "owner").await;
    for round in 0..20 {
        let down = json!({"roles": ["viewer"]});
        let (first, second) =
            join(acme.owner.patch(&path(&acme.owner), down.clone()), two.patch(&path(&two), down)).await;
        let mut answers = [first.status, second.status];
        answers.sort_unstable();
        assert_eq!(answers, [200, 409], "round {round}: {} {}", first.text, second.text);
        let (still, other) = if first.status == 200 { (&two, &acme.owner) } else { (&acme.owner, &two) };
        still.patch(&path(other), json!({"roles": ["owner"]})).await.expect(200);
    }
}

/// Asks the database for nothing where all is remembered.
const REMEMBERED: &str = "/api/v1/limits";

#[tokio::test]
async fn who_is_suspended_or_removed_is_refused_at_once_here_and_within_a_second_elsewhere() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org().await, here.org().await);
    here.join(&acme.viewer, &globex, "viewer").await;
    let (viewer, elsewhere) = (&acme.viewer, acme.viewer.at(&there.base));
    let in_time = async |status: u16| {
        within_a_second("the other replica", async || elsewhere.get(REMEMBERED).await.status == status).await;
    };
    for who in [viewer, &elsewhere] {
        who.get(REMEMBERED).await.expect(200);
    }
    acme.admin.patch(&path(viewer), json!({"status": "suspended"})).await.expect(200);
    viewer.get(REMEMBERED).await.expect_problem(403, "member_suspended");
    in_time(403).await;
    elsewhere.get("/api/v1/me").await.expect_problem(403, "member_suspended");

    acme.admin.patch(&path(viewer), json!({"status": "active"})).await.expect(200);
    viewer.get(REMEMBERED).await.expect(200);
    in_time(200).await;

    acme.admin.delete(&path(viewer)).await.expect(204);
    viewer.get(REMEMBERED).await.expect_problem(403, "not_a_member");
    in_time(403).await;
    elsewhere.get("/api/v1/products").await.expect_problem(403, "not_a_member");
    acme.admin.get(&path(viewer)).await.expect_problem(404, "not_found");
    // A member of the other organisation they still are.
    here.signed_in(viewer.user(), globex.id).await.get(REMEMBERED).await.expect(200);
    let told: Vec<String> = here.audited(acme.id).await.into_iter().map(|line| line.action).collect();
    for action in ["member.suspended", "member.restored", "member.removed"] {
        assert!(told.iter().any(|known| known == action), "{told:?}");
    }
}

async fn policies(of: &Persona) -> String {
    let reply = of.get("/api/v1/org").await;
    reply.expect(200);
    reply.header("ratelimit-policy").to_owned()
}

async fn reading(of: &Persona, policy: &str) -> Value {
    let limits = of.get("/api/v1/limits").await.expect(200);
    limits["data"].as_array().unwrap().iter().find(|reading| reading["policy"] == policy).unwrap().clone()
}

#[tokio::test]
async fn a_member_on_another_tier_has_its_limits_on_users_at_once_and_the_org_keeps_its_own() {
    let here = TestApp::start().await;
    let there = here.replica().await;
    let (acme, globex) = (here.org_on("free").await, here.org_on("free").await);
    let free = r#""user";q=120;w=60, "org";q=600;w=60"#;
    let (member, elsewhere) = (&acme.member, acme.member.at(&there.base));
    for who in [member, &elsewhere] {
        assert_eq!(policies(who).await, free);
    }
    for _ in 0..50 {
        member.get("/api/v1/products").await.expect(200);
    }
    assert_eq!(reading(member, "user").await["used"], 101);

    let changed = acme.admin.patch(&path(member), json!({"tier": "enterprise"})).await.expect(200);
    assert_eq!(changed["tier"], "enterprise");
    assert_eq!(policies(member).await, r#""user";q=12000;w=60, "org";q=600;w=60"#);
    let user = reading(member, "user").await;
    assert_eq!((&user["limit"], &user["burst"], &user["used"]), (&json!(12_000), &json!(3_000), &json!(102)));
    assert_eq!(user["source"], "tier:enterprise@v1");
    assert_eq!(reading(member, "org").await["source"], "tier:free@v1");
    within_a_second("the other replica", async || policies(&elsewhere).await.contains("q=12000")).await;
    for who in [&acme.owner, &acme.viewer, &globex.member] {
        assert_eq!(policies(who).await, free);
    }

    // More than the org they do not get: what is left of its 600 goes, and then nobody gets more.
    while member.get("/api/v1/products").await.status == 200 {}
    let refused = member.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    assert_eq!(refused["violated_policies"], json!(["org"]));
    acme.viewer.get("/api/v1/products").await.expect_problem(429, "rate_limited");
    globex.viewer.get("/api/v1/products").await.expect(200);
    here.clock.advance(Duration::from_mins(1));

    acme.admin.patch(&path(member), json!({"tier": null})).await.expect(200);
    assert_eq!(policies(member).await, free);
    let told = here.last_audited(&acme, "member.tier_changed").await;
    assert_eq!((told.before, told.after), (Some(json!({"tier": "enterprise"})), Some(json!({"tier": null}))));
}

#[tokio::test]
async fn a_change_of_a_member_that_cannot_be_is_pointed_at() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    for (patch, pointer) in [
        (json!({"roles": ["viewer", "wizard"]}), "/roles/1"),
        (json!({"roles": []}), "/roles"),
        (json!({"roles": null}), "/roles"),
        (json!({"tier": "gold"}), "/tier"),
        // The platform's own, and no plan to be had.
        (json!({"tier": "platform"}), "/tier"),
        (json!({"status": "odd"}), "/status"),
        (json!({"status": null}), "/status"),
        (json!({"email": "x@example.com"}), "/email"),
    ] {
        let problem = acme.owner.patch(&path(&acme.viewer), patch).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    assert_eq!(roles(&acme.owner, &acme.viewer).await, json!(["viewer"]));
    globex.viewer.get(USERS).await.expect(200);
}

#[tokio::test]
async fn operators_who_change_an_org_are_audited_there_and_at_the_platform() {
    let app = TestApp::start().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org().await, app.operator().await);
    let org = format!("/operator/v1/orgs/{}", acme.id);
    for change in [
        json!({"status": "suspended", "reason": "unpaid"}),
        json!({"status": "suspended", "reason": "still unpaid"}),
        json!({"status": "active", "tier": "pro", "reason": "paid"}),
    ] {
        operator.patch(&org, change).await.expect(200);
    }
    let lines = async |place: &Org| {
        let told = app.audited(place.id).await.into_iter().filter(|line| line.actor_type == "operator");
        told.map(|line| format!("{} {}", line.action, line.after.unwrap())).collect::<Vec<_>>()
    };
    let expected = [
        r#"org.suspended {"reason":"unpaid","status":"suspended"}"#,
        r#"org.restored {"reason":"paid","status":"active"}"#,
        r#"org.tier_changed {"reason":"paid","tier":"pro"}"#,
    ];
    assert_eq!(lines(&acme).await, expected);
    assert_eq!(lines(&globex).await, [""; 0]);
    let platform = app.audited(insula::tenancy::PLATFORM).await;
    let by_operators = platform.iter().filter(|line| line.actor_type == "operator");
    // That they called at all is a line of its own.
    let there: Vec<_> = by_operators.filter(|line| line.action != "operator.called").collect();
    assert_eq!(there.len(), 3);
    operator.patch(&org, json!({"status": "deleted", "reason": "x"})).await.expect_problem(422, "invalid");
}
