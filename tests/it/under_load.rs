//! Three replicas, each a process of its own, under load from outside: what passes is what is published, whatever happens
//! to Redis and to them.

use super::support::{Binary, Database, Dir, Org, Persona, TestApp, signal_to, until};
use futures::future::join_all;
use insula::local::Redis;
use redis::FromRedisValue;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const REPLICAS: usize = 3;
/// Units a second, and at once.
const RATE: u32 = 50;
/// How the load falls on the replicas, in percent.
const UNEVEN: [u32; REPLICAS] = [80, 15, 5];
/// Seconds in which units may have been leased before.
const LATE: f64 = 0.5;

struct Replica {
    process: Binary,
    base: String,
}

struct Installation {
    /// Beside the replicas: orgs and tiers are made with it, nothing is asked of it.
    tool: TestApp,
    redis: Option<Redis>,
    dir: Dir,
    replicas: Vec<Replica>,
}

/// One request: when it was sent and answered, in seconds, and with what; nothing if its replica was killed.
#[derive(Clone, Copy, Debug)]
struct Shot {
    sent: f64,
    answered: f64,
    status: Option<u16>,
}

impl Shot {
    fn passed(&self) -> bool {
        self.status == Some(200)
    }
}

impl Installation {
    async fn start(timeout_milliseconds: u32) -> Self {
        let (database, dir) = (Database::new().await, Dir::new());
        let tool = TestApp::start_on(database.clone(), "").await;
        let redis = Redis::start(dir.path(), None).await.unwrap();
        let url = redis.url();
        let started = (0..REPLICAS).map(|_| serve(&database, &url, timeout_milliseconds));
        let replicas = join_all(started).await;
        let installation = Self { tool, redis: Some(redis), dir, replicas };
        let policies = json!([{"name": "org", "scope": "org", "quota": RATE, "window_seconds": 1}]);
        let change = json!({"name": "Free", "policies": policies, "reason": "for this test"});
        installation.tool.operator().await.put("/operator/v1/tiers/free", change).await.expect(200);
        installation.settled().await;
        installation
    }

    /// Waits until every replica shares the whole limit with two others.
    async fn settled(&self) {
        let org = self.tool.org_on("free").await;
        let operator = self.tool.operator().await;
        for Replica { base, .. } in &self.replicas {
            let (viewer, operator) = (org.viewer.at(base), operator.at(base));
            until("the tier is known and the replicas are counted", async || {
                let limits = viewer.get("/api/v1/limits").await;
                let now = operator.get("/operator/v1/limits/accuracy").await;
                (limits.status, now.status) == (200, 200)
                    && limits.json()["data"][0]["limit"] == RATE
                    && now.json()["now"] == json!({"mode": "leased", "replicas": REPLICAS})
            })
            .await;
        }
    }

    async fn ask_redis<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.redis.as_ref().unwrap().url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    /// Whatever is asked of it meanwhile is answered, this much late.
    async fn stop_redis_for(&self, time: Duration) {
        let info: String = self.ask_redis(&["INFO", "server"]).await;
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
        signal_to(pid.parse().unwrap(), "STOP");
        tokio::time::sleep(time).await;
        signal_to(pid.parse().unwrap(), "CONT");
    }

    async fn restart_redis(&mut self) {
        self.redis.take().unwrap().stop().await.unwrap();
        self.redis = Some(Redis::start(self.dir.path(), None).await.unwrap());
    }

    /// Offers so many requests a second, evenly in time and unevenly to the replicas, whatever becomes of them.
    fn offer(&self, to: &Org, rate: u32, seconds: u32) -> Load {
        let everywhere: Vec<Persona> =
            self.replicas.iter().map(|replica| to.owner.at(&replica.base)).collect();
        let refused = Arc::new(AtomicU32::new(0));
        let start = Instant::now();
        let shots = (0..rate * seconds).map(|number| {
            let (who, refused) = (everywhere[falls_on(number)].clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs_f64(f64::from(number) / f64::from(rate))).await;
                let sent = start.elapsed().as_secs_f64();
                let status = who.status_of("/api/v1/org").await;
                refused.fetch_add(u32::from(status == Some(429)), Ordering::Relaxed);
                Shot { sent, answered: start.elapsed().as_secs_f64(), status }
            })
        });
        Load { shots: shots.collect(), refused }
    }

    /// Twice the limit, of which the burst is used up already.
    async fn offer_too_much(&self) -> Load {
        let org = self.tool.org_on("free").await;
        let load = self.offer(&org, RATE * 2, 4);
        until("it is too much", async || load.refused.load(Ordering::Relaxed) > 0).await;
        load
    }

    /// Nobody is failed meanwhile, no more passes than is published, and afterwards all is as it was.
    async fn lives_through(&self, fault: &str, load: Load, beyond: f64) {
        let shots = load.over().await;
        assert_answered(&shots, false, fault);
        assert_bounded(&shots, beyond, fault);
        self.settled().await;
    }
}

/// What is being offered.
struct Load {
    shots: Vec<JoinHandle<Shot>>,
    refused: Arc<AtomicU32>,
}

impl Load {
    async fn over(self) -> Vec<Shot> {
        join_all(self.shots).await.into_iter().map(Result::unwrap).collect()
    }
}

async fn serve(database: &Database, redis: &str, timeout_milliseconds: u32) -> Replica {
    let settings = [
        ("INSULA_DATABASE__APP_CONNECTIONS", "4"),
        ("INSULA_DATABASE__PLATFORM_CONNECTIONS", "2"),
        ("INSULA_REDIS__URL", redis),
        ("INSULA_REDIS__TIMEOUT_MILLISECONDS", &timeout_milliseconds.to_string()),
    ];
    let mut process = Binary::serve(database, &settings);
    let base = process.base().await;
    Replica { process, base }
}

/// Spread evenly: 37 and 100 have no divisor in common.
fn falls_on(number: u32) -> usize {
    let place = number * 37 % 100;
    if place < UNEVEN[0] {
        0
    } else if place < UNEVEN[0] + UNEVEN[1] {
        1
    } else {
        2
    }
}

/// How many one exact count would have let pass, at the least: each was decided between when it was sent and answered.
fn exactly(shots: &[Shot]) -> usize {
    let at = |when: fn(&Shot) -> f64| exactly_at(shots.iter().map(when).collect());
    at(|shot| shot.sent).min(at(|shot| shot.answered))
}

fn exactly_at(mut moments: Vec<f64>) -> usize {
    moments.sort_by(f64::total_cmp);
    let rate = f64::from(RATE);
    let (mut left, mut at, mut passed) = (rate, 0.0, 0);
    for now in moments {
        left = f64::min(left + (now - at) * rate, rate);
        at = now;
        if left >= 1.0 {
            left -= 1.0;
            passed += 1;
        }
    }
    passed
}

/// What may pass on credit, of three replicas.
fn credit() -> f64 {
    f64::from(3 * RATE.div_ceil(12))
}

/// In no span of time did more pass than the burst, what came back in it and half a second, and `beyond`.
fn assert_bounded(shots: &[Shot], beyond: f64, when: &str) {
    let rate = f64::from(RATE);
    let mut passed: Vec<Shot> = shots.iter().copied().filter(Shot::passed).collect();
    passed.sort_by(|one, other| one.answered.total_cmp(&other.answered));
    for Shot { sent: start, .. } in &passed {
        let mut within = 0.0;
        // Whatever was sent since then and answered by now was decided between the two.
        for shot in passed.iter().filter(|shot| shot.sent >= *start) {
            within += 1.0;
            let most = rate + rate * (shot.answered - start + LATE) + beyond;
            assert!(within <= most, "{when}: {within} passed from {start} to {}", shot.answered);
        }
    }
}

/// Nobody was failed: a request passes or comes too soon, unless its replica was killed.
fn assert_answered(shots: &[Shot], unanswered: bool, when: &str) {
    for shot in shots {
        let fine = shot.status.map_or(unanswered, |status| [200, 429].contains(&status));
        assert!(fine, "{when}: {shot:?}");
    }
}

fn passing(shots: &[Shot]) -> usize {
    shots.iter().filter(|shot| shot.passed()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_well_nearly_all_passes_that_may_and_what_is_told_of_it_is_what_was_seen() {
    let installation = Installation::start(5_000).await;
    let (acme, globex) = (installation.tool.org_on("free").await, installation.tool.org_on("free").await);
    let below = installation.offer(&acme, RATE * 4 / 5, 4).over().await;
    let above = installation.offer(&globex, RATE * 2, 4).over().await;
    for (shots, load) in [(&below, "at 0.8 of the limit"), (&above, "at twice the limit")] {
        assert_answered(shots, false, load);
        assert_bounded(shots, credit(), load);
        let (passed, exactly) = (passing(shots), exactly(shots));
        println!("{load}: {passed} of {} passed, {exactly} by one exact count", shots.len());
        assert!(passed * 100 >= exactly * 99, "{load}: {passed} of {exactly}");
    }

    let told = async || {
        let operator = installation.tool.operator().await;
        // By the clock of whoever is asked, which stands still, all of it is yet to come.
        let ever = "tier=free&from=2026-01-01T00:00:00Z&to=2100-01-01T00:00:00Z";
        let told = operator.get(&format!("/operator/v1/limits/accuracy?{ever}")).await.expect(200);
        told["data"].as_array().unwrap().iter().find(|told| told["policy"] == "org").cloned()
    };
    let all = [below, above].concat();
    let seen = [all.len(), passing(&all), all.len() - passing(&all)];
    let mut last = Value::Null;
    until("all is told", async || {
        let before = std::mem::replace(&mut last, told().await.unwrap_or_default());
        if before != last {
            println!("{seen:?} were seen, and told is {last}");
        }
        ["decisions", "admitted_units", "refused"].map(|count| last["modes"]["leased"][count].as_u64())
            == seen.map(|count| u64::try_from(count).ok())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_redis_or_a_replica_nobody_is_failed_and_no_more_passes_than_is_published() {
    let mut installation = Installation::start(200).await;
    let load = installation.offer_too_much().await;
    installation.ask_redis::<()>(&["FLUSHALL"]).await;
    installation.lives_through("FLUSHALL", load, credit()).await;

    let load = installation.offer_too_much().await;
    installation.ask_redis::<()>(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
    installation.lives_through("a pause", load, 2.0 * credit()).await;

    let load = installation.offer_too_much().await;
    installation.stop_redis_for(Duration::from_secs(2)).await;
    installation.lives_through("a slow Redis", load, 2.0 * credit()).await;

    let load = installation.offer_too_much().await;
    installation.restart_redis().await;
    installation.lives_through("a new Redis", load, 2.0 * credit()).await;

    let load = installation.offer_too_much().await;
    installation.replicas[0].process.signal("KILL");
    let shots = load.over().await;
    assert_answered(&shots, true, "a killed replica");
    assert_bounded(&shots, 2.0 * credit(), "a killed replica");
    assert!(passing(&shots) > 0, "the others serve on");
}
