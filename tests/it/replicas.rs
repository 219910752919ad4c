//! Several replicas, one limit: counted together through Redis, and kept when Redis is away.

use super::support::{Fleet, Org, Persona, until};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// So many a day for the whole org: what comes back during a test is no whole unit.
fn a_day(quota: u32) -> Value {
    json!([policy("org", "org", quota)])
}

/// The same, and nothing of it on credit.
fn strictly_a_day(quota: u32) -> Value {
    let mut policies = a_day(quota);
    policies[0]["strict"] = json!(true);
    policies
}

fn policy(name: &str, scope: &str, quota: u32) -> Value {
    json!({"name": name, "scope": scope, "quota": quota, "window_seconds": 86_400})
}

/// How many of `calls` pass, all at once, each for a unit; no other answer than yes or "too many" will do.
async fn passing(calls: usize, of: &Persona) -> usize {
    let replies = join_all((0..calls).map(|_| of.get("/api/v1/org"))).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    replies.iter().filter(|reply| reply.status == 200).count()
}

/// The same at each replica at the same time.
async fn passing_everywhere(calls: usize, fleet: &Fleet, of: &Persona) -> Vec<usize> {
    let everywhere = fleet.everywhere(of);
    join_all(everywhere.iter().map(|persona| passing(calls, persona))).await
}

/// The same until `quota` is used up: what one replica had leased and did not use, another may use afterwards.
async fn passing_until_full(quota: u64, fleet: &Fleet, of: &Persona) -> usize {
    let mut passed = 0;
    until(&format!("{quota} are used"), async || {
        passed += passing_everywhere(40, fleet, of).await.iter().sum::<usize>();
        passed >= usize::try_from(quota).unwrap()
    })
    .await;
    passed + passing_everywhere(5, fleet, of).await.iter().sum::<usize>()
}

/// A policy as `who` sees it.
async fn reading(of: &Persona, name: &str) -> Value {
    let limits = of.get("/api/v1/limits").await.expect(200);
    let all = limits["data"].as_array().unwrap();
    all.iter().find(|reading| reading["policy"] == name).unwrap().clone()
}

/// Waits until so much is used: what a replica has leased and does not use is handed back within a second.
async fn comes_to_be_used(units: u64, of: &Persona, name: &str) {
    until(&format!("{units} of {name} are used"), async || reading(of, name).await["used"] == units).await;
}

async fn two_orgs(fleet: &Fleet) -> (Org, Org) {
    (fleet.replicas[0].org_on("free").await, fleet.replicas[0].org_on("free").await)
}

#[tokio::test]
async fn three_replicas_admit_together_exactly_what_the_tier_says() {
    let fleet = Fleet::start(3, strictly_a_day(60)).await;
    let (acme, globex) = two_orgs(&fleet).await;

    assert_eq!(passing_until_full(60, &fleet, &acme.owner).await, 60);

    for globex in fleet.everywhere(&globex.member) {
        assert_eq!(reading(&globex, "org").await["used"], 0);
    }
    let refused = fleet.everywhere(&acme.viewer)[2].get("/api/v1/org").await;
    let problem = refused.expect_problem(429, "rate_limited");
    assert_eq!(problem["limits"][0]["used"], 60);
    assert_eq!(refused.header("ratelimit-policy"), r#""org";q=60;w=86400"#);
    assert_eq!(refused.header("ratelimit").split(';').nth(1), Some("r=0"));
    // 1440 s for a unit, of which the test has taken a few.
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1_300..=1_440).contains(&wait), "{wait}");
}

#[tokio::test]
async fn what_one_replica_refuses_burns_nothing_at_another() {
    let policies = json!([policy("user", "user", 2), policy("org", "org", 60)]);
    let fleet = Fleet::start(2, policies).await;
    let (acme, globex) = two_orgs(&fleet).await;
    let owner = fleet.everywhere(&acme.owner);
    let (here, there) = (&owner[0], &owner[1]);

    // Three units, of which the user never has more than two.
    let too_dear = here.post("/api/v1/products", super::support::cog()).await;
    assert_eq!(too_dear.expect_problem(429, "cost_exceeds_burst")["violated_policies"], json!(["user"]));
    assert_eq!(too_dear.header("retry-after"), "");
    assert_eq!(passing(1, here).await + passing(1, there).await, 2);
    assert_eq!(passing(10, here).await + passing(10, there).await, 0);

    for colleague in fleet.everywhere(&acme.member) {
        comes_to_be_used(2, &colleague, "org").await;
        comes_to_be_used(0, &colleague, "user").await;
    }
    assert_eq!(passing(3, &fleet.everywhere(&globex.owner)[1]).await, 2);
}

#[tokio::test]
async fn a_shadow_is_counted_together_and_refuses_nobody() {
    let mut trial = policy("trial", "org", 3);
    trial["mode"] = json!("shadow");
    let fleet = Fleet::start(2, json!([policy("org", "org", 10), trial])).await;
    let (acme, globex) = two_orgs(&fleet).await;

    assert_eq!(passing_everywhere(4, &fleet, &acme.owner).await, [4, 4]);
    for viewer in fleet.everywhere(&acme.viewer) {
        comes_to_be_used(3, &viewer, "trial").await;
        assert_eq!(reading(&viewer, "trial").await["violated"], true);
        comes_to_be_used(8, &viewer, "org").await;
    }
    comes_to_be_used(0, &globex.viewer, "trial").await;
}

#[tokio::test]
async fn while_redis_is_gone_each_replica_keeps_to_its_share_and_nobody_is_failed() {
    let mut fleet = Fleet::start(3, a_day(60)).await;
    let (acme, globex) = two_orgs(&fleet).await;
    assert_eq!(passing_everywhere(10, &fleet, &acme.owner).await, [10; 3]);

    fleet.stop_redis().await;
    // Five for each, for nobody knows how much the others had left; and what they had leased of the other 30.
    let passed = passing_everywhere(30, &fleet, &acme.owner).await;
    assert!((15..=45).contains(&passed.iter().sum::<usize>()), "{passed:?}");
    assert_eq!(passing_everywhere(30, &fleet, &globex.owner).await, [5; 3]);
    fleet.shows(20, &acme.viewer).await;

    fleet.start_redis().await;
    fleet.shows(60, &acme.viewer).await;
    let initech = fleet.replicas[1].org_on("free").await;
    let passed = passing_until_full(60, &fleet, &initech.owner).await;
    assert!((60..=75).contains(&passed), "five more for each on credit, at most: {passed}");
    // It came back with nothing in memory: who is older than it starts with nothing left.
    assert_eq!(passing_everywhere(5, &fleet, &acme.owner).await, [0; 3]);
}

#[tokio::test]
async fn what_was_admitted_while_redis_was_away_is_charged_when_it_answers_and_nobody_else_pays() {
    let fleet = Fleet::start_with(3, a_day(60), "timeout_milliseconds = 500").await;
    let (acme, globex) = two_orgs(&fleet).await;

    fleet.ask_redis(&["CLIENT", "PAUSE", "3000", "ALL"]).await;
    assert_eq!(passing_everywhere(30, &fleet, &acme.owner).await, [5; 3]);
    fleet.shows(60, &acme.viewer).await;
    for viewer in fleet.everywhere(&acme.viewer) {
        comes_to_be_used(15, &viewer, "org").await;
    }
    let passed = passing_until_full(45, &fleet, &acme.owner).await;
    assert!((45..=60).contains(&passed), "{passed}");
    assert_eq!(reading(&globex.viewer, "org").await["used"], 0);
}

#[tokio::test]
async fn a_redis_that_hangs_is_waited_for_once_and_used_again_when_it_answers() {
    let fleet = Fleet::start_with(2, a_day(60), "timeout_milliseconds = 1000").await;
    let (acme, globex) = two_orgs(&fleet).await;
    assert_eq!(passing(4, &acme.owner).await, 4);

    fleet.ask_redis(&["CLIENT", "PAUSE", "6000", "ALL"]).await;
    let hung = Instant::now();
    let mut passed = 0;
    for _ in 0..20 {
        passed += passing(1, &acme.owner).await;
    }
    // A fourth of the share of 30 for one that does not know what the other has left; and what was leased.
    assert!((8..=20).contains(&passed), "{passed}");
    assert!(hung.elapsed() < Duration::from_secs(4), "{:?}", hung.elapsed());
    assert_eq!(reading(&globex.owner, "org").await["limit"], 30);
    fleet.shows(60, &acme.owner).await;
}

#[tokio::test]
async fn a_replica_that_stops_hands_back_what_it_had_leased() {
    let mut fleet = Fleet::start(2, a_day(1_000)).await;
    let (acme, globex) = two_orgs(&fleet).await;
    let viewer = acme.viewer.at(&fleet.replicas[1].base);
    let mut passed = 0;
    until("it has leased ahead", async || {
        passed += u64::try_from(passing(20, &acme.owner).await).unwrap();
        reading(&viewer, "org").await["used"].as_u64().unwrap() > passed
    })
    .await;

    drop(fleet.replicas.remove(0));
    comes_to_be_used(passed, &viewer, "org").await;
    comes_to_be_used(0, &globex.viewer.at(&fleet.replicas[0].base), "org").await;
}

#[tokio::test]
async fn lost_data_admits_nothing_twice_and_spares_who_came_later() {
    let fleet = Fleet::start(2, strictly_a_day(60)).await;
    let (acme, globex) = two_orgs(&fleet).await;
    assert_eq!(passing_everywhere(20, &fleet, &acme.owner).await, [20; 2]);

    fleet.ask_redis(&["FLUSHALL"]).await;
    // What they had leased before is theirs, and counted.
    let passed = passing_everywhere(25, &fleet, &acme.owner).await;
    assert!(passed.iter().sum::<usize>() <= 20, "{passed:?}");
    assert_eq!(passing_everywhere(25, &fleet, &acme.owner).await, [0; 2]);
    assert_eq!(reading(&globex.owner, "org").await["used"], 60);

    let later = fleet.replicas[1].org_on("free").await;
    assert_eq!(passing_until_full(60, &fleet, &later.owner).await, 60);
}

#[tokio::test]
async fn a_new_version_of_the_tier_keeps_what_was_used_at_every_replica() {
    let fleet = Fleet::start(2, strictly_a_day(10)).await;
    let (acme, globex) = two_orgs(&fleet).await;
    // Which replica admits how many is by what each has leased ahead: one may have to wait for what the other hands back.
    assert_eq!(passing_until_full(10, &fleet, &acme.owner).await, 10);
    assert_eq!(passing(2, &globex.owner).await, 2);

    fleet.set_tier(strictly_a_day(20)).await;
    assert_eq!(passing_until_full(10, &fleet, &acme.owner).await, 10);

    // Twenty were used; of five nobody can owe more than five.
    fleet.set_tier(strictly_a_day(5)).await;
    assert_eq!(passing_everywhere(5, &fleet, &acme.owner).await, [0; 2]);
    comes_to_be_used(5, &acme.owner, "org").await;
    comes_to_be_used(2, &globex.owner, "org").await;
}

#[tokio::test]
async fn who_starts_without_redis_takes_the_assumed_share_until_it_is_there() {
    let mut fleet =
        Fleet::without_redis(a_day(60), "assumed_replicas = 4\ntimeout_milliseconds = 5000").await;
    let acme = fleet.replicas[0].org_on("free").await;
    assert_eq!(passing(20, &acme.owner).await, 4, "a sixteenth of 60");

    fleet.start_redis().await;
    fleet.shows(60, &acme.owner).await;
    // The first Redis ever has lost nothing, and hears of what was admitted before.
    let passed = passing_until_full(56, &fleet, &acme.owner).await;
    assert!((56..=71).contains(&passed), "{passed}");
}
