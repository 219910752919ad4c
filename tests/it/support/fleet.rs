//! Several replicas on one database and one Redis, both their own.

use super::{Database, Persona, TestApp};
use insula::local::Redis;
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Fleet {
    pub replicas: Vec<TestApp>,
    redis: Option<Redis>,
    dir: PathBuf,
    settings: String,
}

impl Fleet {
    /// Replicas that know of each other, with these policies for the tier `free`.
    pub async fn start(replicas: usize, policies: Value) -> Self {
        // A busy machine is no reason to take Redis for gone.
        Self::start_with(replicas, policies, "timeout_milliseconds = 5000").await
    }

    /// With some settings of the section `redis`.
    pub async fn start_with(replicas: usize, policies: Value, redis: &str) -> Self {
        let mut fleet = Self::empty(redis);
        fleet.start_redis().await;
        fleet.add(replicas).await;
        fleet.set_tier(policies).await;
        fleet.counted().await;
        fleet
    }

    /// One replica that can't reach its Redis yet.
    pub async fn without_redis(policies: Value, redis: &str) -> Self {
        let mut fleet = Self::empty(redis);
        fleet.add(1).await;
        fleet.put_tier(policies).await;
        fleet
    }

    fn empty(redis: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("insula-fleet-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let url = format!("redis+unix://{}", dir.join("redis.sock").display());
        let settings = format!("[redis]\nurl = {url:?}\n{redis}\n");
        Self { replicas: Vec::new(), redis: None, dir, settings }
    }

    async fn add(&mut self, replicas: usize) {
        let database = Database::new().await;
        for _ in 0..replicas {
            self.replicas.push(TestApp::start_on(database.clone(), &self.settings).await);
        }
    }

    pub async fn start_redis(&mut self) {
        self.redis = Some(Redis::start(&self.dir, None).await.unwrap());
    }

    pub async fn stop_redis(&mut self) {
        self.redis.take().unwrap().stop().await.unwrap();
    }

    pub async fn ask_redis(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.redis.as_ref().unwrap().url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    /// The same person at each replica.
    pub fn everywhere(&self, who: &Persona) -> Vec<Persona> {
        let token = who.token.as_ref().unwrap();
        self.replicas.iter().map(|replica| replica.bearer(token)).collect()
    }

    /// Gives the tier `free` these policies, the last of the scope `org`, and waits until every replica has heard.
    pub async fn set_tier(&self, policies: Value) {
        let org = policies.as_array().unwrap().iter().find(|policy| policy["name"] == "org").unwrap();
        let quota = org["quota"].as_u64().unwrap();
        self.put_tier(policies).await;
        let witness = self.replicas[0].org_on("free").await;
        self.shows(quota, &witness.viewer).await;
    }

    async fn put_tier(&self, policies: Value) {
        let change = json!({"name": "Free", "policies": policies, "reason": "for this test"});
        let operator = self.replicas[0].operator().await;
        operator.put("/operator/v1/tiers/free", change).await.expect(200);
    }

    /// Waits until every replica tells `who` that this is the quota of the policy `org`.
    pub async fn shows(&self, quota: u64, who: &Persona) {
        let deadline = Instant::now() + PATIENCE;
        for who in self.everywhere(who) {
            loop {
                let limits = who.get("/api/v1/limits").await.expect(200);
                let readings = limits["data"].as_array().unwrap();
                let org = readings.iter().find(|reading| reading["policy"] == "org").unwrap();
                if org["limit"] == quota {
                    break;
                }
                assert!(Instant::now() < deadline, "waited in vain for {quota}: {org}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits until each replica has spoken to Redis since the last of them first did, and so knows how many they are.
    async fn counted(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut all_there = None;
        loop {
            let beats = self.ask_redis(&["ZRANGE", "rl:replicas", "0", "-1", "WITHSCORES"]).await;
            let beats: Vec<(String, f64)> = redis::from_redis_value(beats).unwrap();
            let (first, last) = beats
                .iter()
                .fold((f64::MAX, 0.0_f64), |(first, last), (_, at)| (first.min(*at), last.max(*at)));
            if beats.len() == self.replicas.len() {
                let since = *all_there.get_or_insert(last);
                if first > since || self.replicas.len() == 1 {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "waited in vain for heartbeats: {beats:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.redis.take());
        fs::remove_dir_all(&self.dir).ok();
    }
}
