//! Every number that a public tier advertises is measured from outside: so much at once, and so much as time goes by.

use super::support::{Org, Persona, Reply, TestApp};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a test may be told by some other policy to wait before it takes this one for not enforced.
const PATIENCE: usize = 200;

#[tokio::test]
async fn each_policy_of_each_public_tier_admits_what_it_advertises_and_not_one_more() {
    let app = TestApp::start().await;
    let tiers = app.anon().get("/api/v1/tiers").await.expect(200);
    let mut measured = 0;
    for tier in tiers["data"].as_array().unwrap() {
        for policy in tier["policies"].as_array().unwrap().iter().filter(|policy| policy["mode"] != "shadow")
        {
            let acme = app.org_on(tier["slug"].as_str().unwrap()).await;
            let probe = Probe { app: &app, org: &acme, policy };
            let over_time = policy["unit"] == "requests" && policy["period"].is_null();
            assert!(over_time, "teach the probe to measure {policy}, which {} advertises", tier["slug"]);
            probe.measure(tier).await;
            measured += 1;
        }
    }
    assert!(measured >= 6, "measured {measured}");
}

/// One policy, and a new org under it.
struct Probe<'a> {
    app: &'a TestApp,
    org: &'a Org,
    policy: &'a Value,
}

impl Probe<'_> {
    async fn measure(&self, tier: &Value) {
        let number = |name: &str| self.policy[name].as_u64().unwrap();
        let (quota, burst) = (number("quota"), number("burst"));
        let interval = Duration::from_secs(number("window_seconds")).as_micros().div_ceil(quota.into());
        let interval = Duration::from_micros(u64::try_from(interval).unwrap());
        let named = format!("{} of {}", self.policy["name"], tier["slug"]);

        let mut callers = vec![self.caller().await];
        let (mut admitted, mut waited) = (0, Duration::ZERO);
        let mut told_to_wait = 0;
        // Costs of three are asked for as long as they fit, the rest by ones.
        loop {
            let left = burst.saturating_sub(admitted);
            let caller = callers.last().unwrap();
            let (cost, refused) = if left > 3 { (3, costly(caller).await) } else { (1, cheap(caller).await) };
            let Some(problem) = refused else {
                admitted += cost;
                let most = burst + u64::try_from(waited.as_micros() / interval.as_micros()).unwrap();
                assert!(admitted <= most, "{named} has admitted {admitted}, and advertises {most}");
                continue;
            };
            let violated = problem["violated_policies"].as_array().unwrap();
            if violated.contains(&self.policy["name"]) {
                break;
            }
            told_to_wait += 1;
            assert!(told_to_wait < PATIENCE, "{named} never refused, others did: {problem}");
            // A policy about one caller is got round by another one, as long as this one counts them together.
            if self.policy["scope"] == "org" && problem["limits"][0]["scope"] != "org" {
                callers.push(self.caller().await);
            } else {
                self.app.clock.advance(interval);
                waited += interval;
            }
        }
        let most = burst + u64::try_from(waited.as_micros() / interval.as_micros()).unwrap();
        assert_eq!(admitted, most, "{named} refused after {admitted}, and advertises {most}");

        // One more each interval, and not a moment earlier. Whoever comes anew is held by no policy of their own.
        let caller = if self.policy["scope"] == "org" { self.caller().await } else { callers.pop().unwrap() };
        for _ in 0..3 {
            self.app.clock.advance(interval.saturating_sub(Duration::from_micros(4)));
            let problem = cheap(&caller).await.unwrap_or_else(|| panic!("{named} refills too fast"));
            assert!(problem["violated_policies"].as_array().unwrap().contains(&self.policy["name"]));
            self.app.clock.advance(Duration::from_micros(4));
            assert!(cheap(&caller).await.is_none(), "{named} refills too slowly");
        }
    }

    async fn caller(&self) -> Persona {
        if self.policy["scope"] == "api_key" {
            return self.app.api_key(self.org, &["products:read", "products:create"]).await;
        }
        self.app.member(self.org.id, &self.org.slug, "admin").await
    }
}

/// Three units for what can't be made; answers the problem, if it was refused for a limit.
async fn costly(caller: &Persona) -> Option<Value> {
    refused(&caller.post("/api/v1/products", json!({})).await, 422)
}

async fn cheap(caller: &Persona) -> Option<Value> {
    refused(&caller.get("/api/v1/products/nothing").await, 404)
}

fn refused(reply: &Reply, otherwise: u16) -> Option<Value> {
    if reply.status == 429 {
        return Some(reply.json());
    }
    reply.expect(otherwise);
    None
}
