//! `insula tiers`: tiers are written to a file, compared with it, and put in force by it, whole or not at all.

use super::support::{Binary, Dir, TestApp, within_a_second};
use insula::tenancy::PLATFORM;
use serde_json::{Value, json};
use std::{fs, time::Duration};
use time::format_description::well_known::Rfc3339;

const TIERS: &str = "/operator/v1/tiers";

/// A file of tiers, and the program that is run on it.
struct Desk<'a> {
    app: &'a TestApp,
    dir: Dir,
}

impl<'a> Desk<'a> {
    /// With a file that was exported just now.
    async fn of(app: &'a TestApp) -> Self {
        let desk = Self { app, dir: Dir::new() };
        let (code, said) = desk.run(&["export"], "tiers.toml").await;
        assert_eq!(code, 0, "{said}");
        desk
    }

    async fn run(&self, args: &[&str], file: &str) -> (i32, String) {
        let urls = ["insula_app", "insula_platform"].map(|role| self.app.database.url(role));
        let settings =
            [("INSULA_DATABASE__APP_URL", urls[0].as_str()), ("INSULA_DATABASE__PLATFORM_URL", &urls[1])];
        let path = self.dir.path().join(file);
        let (command, options) = args.split_first().unwrap();
        Binary::run(&[&["tiers", command, path.to_str().unwrap()], options].concat(), &settings).await
    }

    async fn plan(&self, options: &[&str]) -> (i32, String) {
        self.run(&[&["plan"], options].concat(), "tiers.toml").await
    }

    async fn apply(&self, options: &[&str]) -> (i32, String) {
        self.run(&[&["apply", "--reason", "reviewed"], options].concat(), "tiers.toml").await
    }

    /// As somebody with an editor does.
    fn edit(&self, edit: impl FnOnce(&mut toml::Table)) {
        let mut file: toml::Table = self.dir.read("tiers.toml").parse().unwrap();
        edit(&mut file);
        fs::write(self.dir.path().join("tiers.toml"), file.to_string()).unwrap();
    }

    fn set_quota(&self, tier: &str, quota: i64) {
        self.edit(|file| file["tiers"][tier]["policies"][0]["quota"] = quota.into());
    }
}

fn user(quota: i64) -> Value {
    json!({"name": "user", "scope": "user", "quota": quota, "window_seconds": 60})
}

fn startup() -> toml::Value {
    toml::Value::try_from(json!({"name": "Startup", "policies": [user(7)]})).unwrap()
}

fn change(policies: &Value) -> Value {
    json!({"name": "Free", "reason": "meanwhile", "policies": policies})
}

#[tokio::test]
async fn what_was_exported_changes_nothing_when_it_is_applied() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let policies = json!([
        {"name": "user", "scope": "user", "quota": 120, "window_seconds": 60, "burst": 7, "strict": true},
        {"name": "busy", "scope": "org", "quota": 4, "unit": "concurrent", "mode": "shadow"},
        {"name": "month", "scope": "org", "quota": 1_000_000, "period": "month"},
    ]);
    let gold = json!({"slug": "gold", "name": "Gold: \"no\" # 1", "policies": policies, "reason": "asked for",
                      "entitlements": {"sso": true, "regions": ["no", "1.0", "null"], "deep": {"on": [[]]}}});
    operator.post(TIERS, gold).await.expect(201);
    let before = operator.get(TIERS).await.expect(200);
    let desk = Desk::of(&app).await;
    for file in ["tiers.toml", "tiers.yaml", "tiers.yml"] {
        let (code, said) = desk.run(&["export"], file).await;
        assert_eq!(code, 0, "{said}");
        let (code, said) = desk.run(&["plan", "--prune"], file).await;
        assert_eq!(
            (code, said.as_str()),
            (0, "Nothing to change: the tiers are as the file says.\n"),
            "{file}"
        );
        let (code, said) = desk.run(&["plan", "--prune", "--json"], file).await;
        assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()["changes"].clone()), (0, json!([])));
        let (code, said) = desk.run(&["apply", "--prune", "--reason", "none"], file).await;
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(operator.get(TIERS).await.expect(200), before, "versions too");
    let (code, said) = desk.run(&["export"], "tiers.json").await;
    assert!(code == 1 && said.contains(".toml, .yaml or .yml"), "{said}");
}

#[tokio::test]
async fn a_change_is_planned_with_whom_it_touches_and_once_applied_holds_on_every_replica_within_a_second() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let (acme, globex, operator) = (app.org_on("free").await, app.org_on("pro").await, app.operator().await);
    let there = replica.bearer(acme.owner.token.as_ref().unwrap());
    let limits = async || {
        let mut headers = Vec::new();
        for client in [&acme.owner, &there, &globex.owner] {
            headers.push(client.get("/api/v1/org").await.header("ratelimit-policy").to_owned());
        }
        headers
    };
    let before = limits().await;
    assert!(before[0].starts_with(r#""user";q=120;w=60"#) && before[0] == before[1], "{before:?}");
    let desk = Desk::of(&app).await;
    desk.set_quota("free", 50);
    desk.edit(|file| {
        file["tiers"]["pro"]["name"] = "Professional".into();
        file["tiers"].as_table_mut().unwrap().insert("startup".into(), startup());
    });

    let (code, said) = desk.plan(&[]).await;
    assert_eq!(code, 2, "{said}");
    for line in [
        "change free: 1 organisations and 0 members",
        "  ~ policy user: burst 120 -> 50, quota 120 -> 50  LOWERED",
        "change pro: 1 organisations and 0 members",
        "  ~ name: \"Pro\" -> \"Professional\"",
        "create startup",
        "3 tiers differ. 2 organisations and 0 members are on them; 1 organisations and 0 members get lower limits.",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let (code, said) = desk.plan(&["--json"]).await;
    let plan: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &plan["changes"][0]["diff"]["lowered"]), (2, &json!(["user"])));
    assert_eq!(plan["lowered"], json!({"orgs": 1, "members": 0}));
    let actions: Vec<&Value> = plan["changes"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["change", "change", "create"]);
    assert_eq!(limits().await, before, "a plan changes nothing");

    let (code, said) = desk.apply(&[]).await;
    assert_eq!(code, 0, "{said}");
    within_a_second("both replicas enforce it", async || {
        let now = limits().await;
        now[..2].iter().all(|header| header.starts_with(r#""user";q=50;w=60"#)) && now[2] == before[2]
    })
    .await;
    assert_eq!(desk.plan(&[]).await.0, 0, "it is as the file says now");
    let version = operator.get(&format!("{TIERS}/free/versions/2")).await.expect(200);
    assert_eq!((&version["reason"], &version["author"]["type"]), (&json!("reviewed"), &json!("system")));
    assert_eq!(operator.get(&format!("{TIERS}/startup")).await.expect(200)["is_public"], false);
    for (action, count) in [("tier.replaced", 2), ("tier.created", 1)] {
        let audited = app.database.audited(PLATFORM, action).await;
        assert_eq!(audited.len(), count);
        assert_eq!(
            (&audited[0]["kind"], &audited[0]["after"]["reason"]),
            (&json!("system"), &json!("reviewed"))
        );
    }
}

#[tokio::test]
async fn of_a_file_with_a_fault_nothing_is_applied_and_every_fault_is_told_with_its_place() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let before = operator.get(TIERS).await.expect(200);
    let desk = Desk::of(&app).await;
    desk.set_quota("enterprise", 5);
    desk.set_quota("pro", 5);
    desk.set_quota("free", 0);
    desk.edit(|file| {
        file["tiers"]["free"].as_table_mut().unwrap().insert("colour".into(), "red".into());
        file["tiers"].as_table_mut().unwrap().insert("1st".into(), startup());
    });
    for (code, said) in [desk.apply(&[]).await, desk.apply(&["--force"]).await, desk.plan(&[]).await] {
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("/tiers/free/colour: ") && said.contains("/tiers/1st/slug: "), "{said}");
    }
    desk.edit(|file| drop(file["tiers"]["free"].as_table_mut().unwrap().remove("colour")));
    let (code, said) = desk.apply(&[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("/tiers/free/policies/0/quota: must be at least 1"), "{said}");
    assert_eq!(operator.get(TIERS).await.expect(200), before);
    let (code, said) = desk.run(&["apply", "--reason", ""], "tiers.toml").await;
    assert!(code == 2 && said.contains("1 to 500"), "{said}");
    let (code, said) = Binary::run(&["tiers", "plan", "tiers.toml"], &[]).await;
    assert!(code == 1 && said.contains("INSULA_DATABASE__APP_URL"), "not the code of changes: {code} {said}");
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_not_overwritten_unless_forced() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let path = |slug: &str| format!("{TIERS}/{slug}");
    let desk = Desk::of(&app).await;
    operator.put(&path("free"), change(&json!([user(33)]))).await.expect(200);
    let mut later = json!({"name": "Pro", "reason": "next month", "policies": [user(44)]});
    later["effective_at"] = (app.clock.now() + Duration::from_mins(10)).format(&Rfc3339).unwrap().into();
    operator.put(&path("pro"), later).await.expect(200);
    let new = json!({"slug": "startup", "name": "Startup", "policies": [user(9)], "reason": "meanwhile"});
    operator.post(TIERS, new).await.expect(201);
    let before = operator.get(TIERS).await.expect(200);

    desk.set_quota("enterprise", 500_000);
    desk.set_quota("pro", 55);
    desk.edit(|file| drop(file["tiers"].as_table_mut().unwrap().insert("startup".into(), startup())));
    let obstacles = [
        "free: the file was written at version 1, and version 2 holds now",
        "pro: takes back version 2, announced for ",
        "startup: version 1 holds, of which the file's versions say nothing",
    ];
    let (code, said) = desk.apply(&[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(obstacles.iter().all(|obstacle| said.contains(obstacle)), "{said}");
    assert!(!said.contains("enterprise:"), "nobody touched that one: {said}");
    assert_eq!(operator.get(TIERS).await.expect(200), before, "enterprise neither");
    let (code, said) = desk.plan(&[]).await;
    assert!(code == 2 && said.contains("  ! the file was written at version 1"), "{said}");

    let (code, said) = desk.apply(&["--force"]).await;
    assert_eq!(code, 0, "{said}");
    for (slug, quota) in [("free", 120), ("pro", 55), ("startup", 7), ("enterprise", 500_000)] {
        let tier = operator.get(&path(slug)).await.expect(200);
        assert_eq!(
            (&tier["policies"][0]["quota"], &tier["announced"]),
            (&json!(quota), &Value::Null),
            "{slug}"
        );
    }
    let (code, said) = Desk::of(&app).await.plan(&["--prune"]).await;
    assert_eq!(code, 0, "a fresh file is up to date: {said}");
}

#[tokio::test]
async fn tiers_that_the_file_lacks_are_deleted_only_when_that_is_asked_for_and_nobody_is_on_them() {
    let app = TestApp::start().await;
    let (acme, operator) = (app.org_on("pro").await, app.operator().await);
    let new = json!({"slug": "startup", "name": "Startup", "policies": [user(9)], "reason": "asked for"});
    operator.post(TIERS, new).await.expect(201);
    let desk = Desk::of(&app).await;
    desk.set_quota("free", 50);
    desk.edit(|file| {
        for slug in ["startup", "pro", "sandbox"] {
            file["tiers"].as_table_mut().unwrap().remove(slug).unwrap();
        }
    });
    let before = operator.get(TIERS).await.expect(200);
    let (code, said) = desk.apply(&["--prune", "--force"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("pro: 1 organisations and 0 members are on it"), "{said}");
    assert!(said.contains("sandbox: organisations are put on sandbox by the platform itself"), "{said}");
    assert_eq!(operator.get(TIERS).await.expect(200), before, "nor is what nothing stands against");

    let (code, said) = desk.apply(&[]).await;
    assert_eq!(code, 0, "{said}");
    let quota = async |slug: &str| {
        let tier = operator.get(&format!("{TIERS}/{slug}")).await.expect(200);
        tier["policies"][0]["quota"].clone()
    };
    assert_eq!((quota("free").await, quota("startup").await), (json!(50), json!(9)), "none was deleted");

    let desk = Desk::of(&app).await;
    desk.edit(|file| drop(file["tiers"].as_table_mut().unwrap().remove("startup")));
    let (code, said) = desk.plan(&["--prune"]).await;
    assert!(
        code == 2 && said.contains("delete startup: 0 organisations and 0 members\n  - policy user"),
        "{said}"
    );
    let (code, said) = desk.apply(&["--prune"]).await;
    assert_eq!(code, 0, "{said}");
    operator.get(&format!("{TIERS}/startup")).await.expect_problem(404, "not_found");
    let deleted = app.database.audited(PLATFORM, "tier.deleted").await;
    assert_eq!(
        (&deleted[0]["before"]["name"], &deleted[0]["after"]["reason"]),
        (&json!("Startup"), &json!("reviewed"))
    );
    acme.owner.get("/api/v1/org").await.expect(200);
}
