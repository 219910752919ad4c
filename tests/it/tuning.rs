//! An operator tunes a tier under a running client: edits, simulates, shadows, applies, watches and takes it back, over
//! HTTP alone, against `insula dev`.

use super::support::{Dev, Dir, Persona, until, within_a_second};
use insula::clock::Clock;
use serde_json::{Value, json};

const FREE: &str = "/operator/v1/tiers/free";
const SIMULATIONS: &str = "/operator/v1/simulations";

#[tokio::test]
async fn a_lower_limit_is_simulated_shadowed_applied_seen_by_a_client_and_taken_back() {
    let dir = Dir::new();
    let mut dev = Dev::start(&dir, &[], &[]).await;
    let operator = sign_in(&dev, "operator@platform.example", "platform-operator-password").await;
    let (busy, calm) = (sign_up(&dev, "busy").await, sign_up(&dev, "calm").await);
    let today = operator.get(FREE).await.expect(200)["policies"].clone();
    assert_eq!(policies_told_to(&busy).await, r#""user";q=120;w=60, "org";q=600;w=60"#);

    // What people do on a tier: one calls forty times, the other thrice.
    assert_eq!((admitted(&busy, 40).await, admitted(&calm, 3).await), (40, 3));

    // An hour's thirty would hurt just one of them.
    let lower = json!([user("user", 30), today[1].clone()]);
    let forecast = simulated(&operator, &lower).await;
    let of = |who: &Value| orgs(&forecast).find(|org| org["slug"] == *who).unwrap();
    let (theirs, calms) = (of(&slug(&busy).await), of(&slug(&calm).await));
    assert_eq!((&theirs["decisions"], &theirs["newly_hurt"]), (&json!(40), &json!(10)), "{forecast}");
    assert_eq!((&theirs["by_route"][0]["route"], &theirs["refused_really"]), (&json!("get_org"), &json!(0)));
    assert_eq!((&calms["decisions"], &calms["newly_hurt"]), (&json!(3), &json!(0)), "{forecast}");
    assert!(policies_told_to(&busy).await.starts_with(r#""user";q=120"#), "a simulation changes nothing");

    // In the shadow first: it is counted, and felt by nobody.
    let mut trial = user("user-30", 30);
    trial["mode"] = json!("shadow");
    apply(&operator, &json!([today[0], today[1], trial]), "what would thirty do?").await;
    assert_eq!(admitted(&busy, 35).await, 35);
    let seen = shadow_refusals(&operator).await;
    assert!(seen >= 5, "of thirty-five at once it would have refused five: {seen}");

    // Applied: the client's headers follow within a second, and nothing was started anew.
    let version = apply(&operator, &lower, "thirty are enough").await;
    within_a_second("the client's headers follow", async || {
        policies_told_to(&busy).await.starts_with(r#""user";q=30;w=3600"#)
    })
    .await;
    let refused = busy.get("/api/v1/org").await.expect_problem(429, "rate_limited");
    assert_eq!(refused["limits"][0]["source"], format!("tier:free@v{version}"));
    let why = busy.get(refused["explain_url"].as_str().unwrap()).await.expect(200);
    assert_eq!((&why["kind"], &why["policies"][0]["policy"]), (&json!("limit"), &json!("user")));
    calm.get("/api/v1/org").await.expect(200);

    // And taken back in one call.
    let back = json!({"version": 1, "reason": "too tight after all"});
    operator.post(&format!("{FREE}/revert"), back).await.expect(200);
    within_a_second("the client's headers follow back", async || {
        policies_told_to(&busy).await == r#""user";q=120;w=60, "org";q=600;w=60"#
    })
    .await;
    until("a minute's units come back", async || busy.get("/api/v1/org").await.status == 200).await;
    let versions = operator.get(&format!("{FREE}/versions")).await.expect(200);
    let reasons: Vec<_> =
        versions["data"].as_array().unwrap().iter().map(|one| one["reason"].clone()).collect();
    assert_eq!(reasons[..3], ["too tight after all", "thirty are enough", "what would thirty do?"]);

    dev.binary.signal("TERM");
    assert_eq!(dev.binary.ended().await.code(), Some(0), "{}", dev.binary.stderr());
}

/// So many an hour: what comes back meanwhile is no whole unit.
fn user(name: &str, quota: u32) -> Value {
    json!({"name": name, "scope": "user", "quota": quota, "window_seconds": 3_600})
}

fn orgs(forecast: &Value) -> impl Iterator<Item = &Value> {
    forecast["orgs"].as_array().unwrap().iter()
}

async fn sign_in(dev: &Dev, email: &str, password: &str) -> Persona {
    let login = json!({"email": email, "password": password});
    let session = Persona::new(dev.base(), None).post("/api/v1/auth/login", login).await.expect(200);
    persona(dev, &session)
}

async fn sign_up(dev: &Dev, name: &str) -> Persona {
    let new = json!({"email": format!("{name}@example.com"), "password": "a horse of some staple", "name": name,
                     "org_name": name});
    persona(dev, &Persona::new(dev.base(), None).post("/api/v1/auth/register", new).await.expect(201))
}

fn persona(dev: &Dev, session: &Value) -> Persona {
    Persona::new(dev.base(), Some(session["access_token"].as_str().unwrap().to_owned()))
}

async fn slug(of: &Persona) -> Value {
    of.get("/api/v1/me").await.expect(200)["org"]["slug"].clone()
}

/// How many of so many calls, for a unit each, are let through.
async fn admitted(who: &Persona, calls: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..calls {
        admitted += u32::from(who.get("/api/v1/org").await.status == 200);
    }
    admitted
}

/// As the headers of an answer that costs nothing say it.
async fn policies_told_to(who: &Persona) -> String {
    who.get("/api/v1/limits").await.header("ratelimit-policy").to_owned()
}

/// Puts these policies into force, and answers the tier's version.
async fn apply(operator: &Persona, policies: &Value, why: &str) -> Value {
    let tag = operator.get(FREE).await.header("etag").to_owned();
    let change = json!({"name": "Free", "policies": policies, "reason": why});
    operator.put_if(FREE, &tag, change).await.expect(200)["version"].clone()
}

/// What these policies would have done to all that was asked for so far.
async fn simulated(operator: &Persona, policies: &Value) -> Value {
    let now = Clock::system().now();
    let text = |at: time::OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339).unwrap();
    let asked = json!({"tier": "free", "policies": policies, "from": text(now - time::Duration::HOUR), "to": text(now)});
    let made = operator.post(SIMULATIONS, asked).await;
    made.expect(202);
    let path = made.header("location").to_owned();
    let mut result = Value::Null;
    until("the simulation is done", async || {
        result = operator.get(&path).await.expect(200);
        result["status"] == "succeeded"
    })
    .await;
    result
}

/// What a policy in shadow would have refused, as far as it is written down.
async fn shadow_refusals(operator: &Persona) -> u64 {
    let mut seen = 0;
    until("the use of the last second is written", async || {
        let usage = operator.get("/operator/v1/usage").await.expect(200);
        let policies = usage["policies"].as_array().unwrap();
        let trial = policies.iter().find(|policy| policy["policy"] == "user-30");
        seen = trial.map_or(0, |trial| trial["shadow_refused"].as_u64().unwrap());
        seen > 0
    })
    .await;
    seen
}
