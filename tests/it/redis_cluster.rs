//! One limit for several replicas, counted in a Redis Cluster of three nodes.

use super::support::{Database, Org, Persona, RedisCluster, TestApp, until};
use futures::future::join_all;
use insula::ids::OrgId;
use serde_json::{Value, json};

const QUOTA: u64 = 60;
/// What three replicas may admit before they ask.
const CREDIT: usize = 15;

/// Three replicas; so many a day for each org on the tier `free`.
struct Fleet {
    replicas: Vec<TestApp>,
    cluster: RedisCluster,
}

impl Fleet {
    async fn start() -> Self {
        let (cluster, database) = (RedisCluster::start().await, Database::new().await);
        let url = cluster.url();
        let settings = format!("[redis]\nurl = {url:?}\ncluster = true\ntimeout_milliseconds = 2000");
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(TestApp::start_on(database.clone(), &settings).await);
        }
        let policies = json!([{"name": "org", "scope": "org", "quota": QUOTA, "window_seconds": 86_400}]);
        let change = json!({"name": "Free", "policies": policies, "reason": "for this test"});
        replicas[0].operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
        let fleet = Self { replicas, cluster };
        fleet.counted().await;
        let witness = fleet.replicas[0].org_on("free").await;
        fleet.show(&witness, QUOTA).await;
        fleet
    }

    /// Waits until each replica knows how many they are: the last of them has said that it lives, and then all have.
    async fn counted(&self) {
        let node = self.cluster.node_of("rl:replicas").await;
        let mut all_there = None;
        until("they are counted", async || {
            let beats: Vec<(String, f64)> =
                self.cluster.ask(node, &["ZRANGE", "rl:replicas", "0", "-1", "WITHSCORES"]).await;
            let moments: Vec<f64> = beats.into_iter().map(|(_, at)| at).collect();
            let last = moments.iter().copied().fold(0.0, f64::max);
            moments.len() == 3 && {
                let since = *all_there.get_or_insert(last);
                moments.iter().all(|at| *at > since)
            }
        })
        .await;
    }

    /// Waits until every replica tells of this limit.
    async fn show(&self, org: &Org, limit: u64) {
        for viewer in self.everywhere(&org.viewer) {
            until(&format!("it is {limit}"), async || reading(&viewer).await["limit"] == limit).await;
        }
    }

    fn everywhere(&self, who: &Persona) -> Vec<Persona> {
        self.replicas.iter().map(|replica| who.at(&replica.base)).collect()
    }

    /// How many of so many calls at each replica pass, all at once; no other answer than yes or "too many" will do.
    async fn passing(&self, calls: usize, org: &Org) -> usize {
        let everywhere = self.everywhere(&org.owner);
        let asked = everywhere.iter().flat_map(|owner| (0..calls).map(|_| owner.get("/api/v1/org")));
        let replies = join_all(asked).await;
        let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        replies.iter().filter(|reply| reply.status == 200).count()
    }

    /// The same until so many have passed: what one replica had leased and did not use, another may use afterwards.
    async fn passing_until(&self, all: usize, org: &Org) -> usize {
        let mut passed = 0;
        until(&format!("{all} have passed"), async || {
            passed += self.passing(40, org).await;
            passed >= all
        })
        .await;
        passed + self.passing(5, org).await
    }

    async fn node_of(&self, org: OrgId) -> usize {
        self.cluster.node_of(&format!("{{{org}}}")).await
    }

    /// An org on each node.
    async fn orgs(&self) -> [Org; 3] {
        let mut found = [None, None, None];
        while found.iter().any(Option::is_none) {
            let org = self.replicas[0].org_on("free").await;
            let node = self.node_of(org.id).await;
            found[node].get_or_insert(org);
        }
        found.map(Option::unwrap)
    }
}

async fn reading(of: &Persona) -> Value {
    of.get("/api/v1/limits").await.expect(200)["data"][0].clone()
}

#[tokio::test]
async fn three_replicas_keep_the_limit_of_every_organisation_whose_keys_are_on_one_node_each() {
    let fleet = Fleet::start().await;
    for (node, org) in fleet.orgs().await.iter().enumerate() {
        let passed = fleet.passing_until(60, org).await;
        assert!((60..=60 + CREDIT).contains(&passed), "{passed}");
        for viewer in fleet.everywhere(&org.viewer) {
            until("all is used", async || reading(&viewer).await["used"] == 60).await;
        }
        let pattern = format!("rl:*{}*", org.id);
        for other in 0..3 {
            let keys: Vec<String> = fleet.cluster.ask(other, &["KEYS", &pattern]).await;
            assert_eq!(keys.is_empty(), other != node, "{keys:?}");
        }
    }
}

#[tokio::test]
async fn every_slot_knows_when_it_was_born_and_tells_the_same() {
    let fleet = Fleet::start().await;
    let mut births: Vec<String> = Vec::new();
    for node in 0..3 {
        let keys: Vec<String> = fleet.cluster.ask(node, &["KEYS", "rl:born:*"]).await;
        let words: Vec<&str> = keys.iter().map(String::as_str).collect();
        for key in words {
            births.push(fleet.cluster.ask(node, &["GET", key]).await);
        }
    }
    assert_eq!(births.len(), 16_384);
    births.dedup();
    assert_eq!(births.len(), 1, "{births:?}");
}

#[tokio::test]
async fn a_node_that_is_gone_fails_nobody_and_what_it_has_lost_is_admitted_to_nobody_twice() {
    let mut fleet = Fleet::start().await;
    let beats = fleet.cluster.node_of("rl:replicas").await;
    let lost = (beats + 1) % 3;
    let orgs = fleet.orgs().await;
    let (acme, globex) = (&orgs[lost], &orgs[(lost + 1) % 3]);
    assert_eq!(fleet.passing(10, acme).await, 30);
    assert_eq!(fleet.passing(10, globex).await, 30);

    fleet.cluster.kill(lost).await;
    // Five for each replica that does not know what the others have left; and what was leased.
    assert!((15..=45).contains(&fleet.passing(30, acme).await));
    fleet.passing(5, globex).await;

    fleet.cluster.revive(lost).await;
    fleet.show(acme, QUOTA).await;
    fleet.show(globex, QUOTA).await;
    assert_eq!(fleet.passing(10, acme).await, 0, "older than its node, it starts with nothing left");
    until("its node tells that it has lost nothing", async || {
        let left = reading(&globex.viewer).await;
        left["limit"] == QUOTA && left["used"].as_u64().unwrap() >= 30
    })
    .await;
    assert!(fleet.passing(30, globex).await <= 30);
    let young = &fleet.orgs().await[(lost + 1) % 3];
    let passed = fleet.passing_until(60, young).await;
    assert!((60..=60 + CREDIT).contains(&passed), "nothing was lost beside it: {passed}");
}

/// The node where the replicas say that they live is no different.
#[tokio::test]
async fn replicas_live_through_the_loss_of_the_node_that_counts_them() {
    let mut fleet = Fleet::start().await;
    let lost = fleet.cluster.node_of("rl:replicas").await;
    let orgs = fleet.orgs().await;
    let (acme, globex) = (&orgs[lost], &orgs[(lost + 1) % 3]);
    assert_eq!(fleet.passing(10, acme).await, 30);
    fleet.cluster.kill(lost).await;
    assert!((15..=45).contains(&fleet.passing(30, acme).await));
    fleet.passing(5, globex).await;
    fleet.cluster.revive(lost).await;
    fleet.show(acme, QUOTA).await;
    assert_eq!(fleet.passing(10, acme).await, 0);
    fleet.passing(30, globex).await;
}
