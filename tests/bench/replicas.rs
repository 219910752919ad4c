//! What a decision costs where three replicas share a limit through Redis, by leases and by one call for each decision, in
//! one run: `cargo bench --bench replicas`.

#![expect(clippy::unwrap_used, reason = "what can't go on stops")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod tier;

use futures::future::join_all;
use insula::{
    bootstrap::{self, Passwords},
    clock::Clock,
    config::Config,
    db::Pools,
    ids::{OrgId, UserId},
    limits::{Limits, Policy, Scope, Subject, TierPlan},
    local::{Durability, Postgres, Redis},
};
use redis::{Client, Script, aio::MultiplexedConnection};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tier::{plan, policy};
use tokio::{task::JoinSet, time::sleep_until};
use tokio_util::sync::CancellationToken;

const REPLICAS: usize = 3;
/// How long each load lasts.
const SECONDS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);
/// GCRA in one call: what each request asks where nothing is leased.
const EXACT: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
    local tat = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now)
    if tat + interval - interval * burst > now then return 0 end
    redis.call('SET', KEYS[1], tat + interval, 'PX', math.ceil((tat + interval - now) / 1000) + 1000)
    return 1";

/// So many orgs, and what is offered to each, in percent of what it may do a second.
struct Load {
    name: &'static str,
    orgs: usize,
    quota: u32,
    offered: u32,
    /// How much of it falls on each replica, in percent.
    falls: [u32; REPLICAS],
}

const LOADS: [Load; 4] = [
    Load {
        name: "one org, 2,000/s, at 0.8 of it, 80/15/5",
        orgs: 1,
        quota: 2_000,
        offered: 80,
        falls: [80, 15, 5],
    },
    Load { name: "the same at twice the limit", orgs: 1, quota: 2_000, offered: 200, falls: [80, 15, 5] },
    Load { name: "one org, 100/s, at 50 times", orgs: 1, quota: 100, offered: 5_000, falls: [34, 33, 33] },
    Load { name: "200 orgs, 20/s each, at 0.8", orgs: 200, quota: 20, offered: 80, falls: [34, 33, 33] },
];

/// What one way of deciding did with a load.
struct Seen {
    /// In nanoseconds, sorted.
    took: Vec<u64>,
    passed: usize,
    calls: u64,
}

enum Way {
    Leases(Vec<Arc<Limits>>),
    Exact(Vec<MultiplexedConnection>),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = std::env::temp_dir().join(format!("insula-bench-{}", std::process::id()));
    let postgres = Postgres::start(&dir.join("postgres"), None, Durability::Throwaway).await.unwrap();
    let redis = Redis::start(&dir.join("redis"), None).await.unwrap();
    let pools = pools(&postgres).await;
    let config = config(&postgres, &redis);
    let until = CancellationToken::new();
    let (mut replicas, mut connections) = (Vec::new(), Vec::new());
    let client = Client::open(redis.url()).unwrap();
    for _ in 0..REPLICAS {
        let limits = Limits::open(&config.redis, Clock::system(), pools.clone()).await.unwrap();
        let limits = Arc::new(limits);
        tokio::spawn({
            let (limits, until) = (Arc::clone(&limits), until.clone());
            async move { limits.keep(until).await }
        });
        replicas.push(limits);
        connections.push(client.get_multiplexed_async_connection().await.unwrap());
    }
    while replicas.iter().any(|limits| limits.replicas() != u32::try_from(REPLICAS).unwrap()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut witness = client.get_multiplexed_async_connection().await.unwrap();
    let ways = [("leases", Way::Leases(replicas)), ("one call each", Way::Exact(connections))];
    println!(
        "{:<42}{:<15}{:>9}{:>9}{:>9}{:>10}{:>9}",
        "", "", "p50 us", "p99 us", "p99.9", "admitted", "calls"
    );
    for load in &LOADS {
        for (name, way) in &ways {
            let seen = way.bear(load, &mut witness).await;
            let at =
                |thousandths: usize| seen.took[(seen.took.len() - 1) * thousandths / 1_000] as f64 / 1_000.0;
            // Below the limit all that was offered, above it what comes back in this time, and a burst.
            let offered = seen.took.len() as f64;
            let most = f64::from(load.quota * (SECONDS + 1)) * load.orgs as f64;
            println!(
                "{:<42}{name:<15}{:>9.1}{:>9.1}{:>9.1}{:>10.4}{:>9.3}",
                load.name,
                at(500),
                at(990),
                at(999),
                seen.passed as f64 / offered.min(most),
                seen.calls as f64 / seen.took.len() as f64,
            );
        }
    }
    until.cancel();
    drop((ways, pools));
    redis.stop().await.unwrap();
    postgres.stop().await.unwrap();
    std::fs::remove_dir_all(&dir).ok();
}

async fn pools(postgres: &Postgres) -> Pools {
    let admin = postgres.superuser_url().into();
    bootstrap::bootstrap(&admin, "insula", &Passwords::default(), PATIENCE).await.unwrap();
    bootstrap::migrate(&postgres.url("insula_owner", "insula").into(), PATIENCE).await.unwrap();
    let text = database(postgres);
    Pools::open(&Config::with(&text).unwrap().database).await.unwrap()
}

fn config(postgres: &Postgres, redis: &Redis) -> Config {
    let redis = format!("[redis]\nurl = {:?}\ntimeout_milliseconds = 1000\n", redis.url());
    Config::with(&format!("{}\n{redis}", database(postgres))).unwrap()
}

fn database(postgres: &Postgres) -> String {
    let [app, platform] = ["insula_app", "insula_platform"].map(|role| postgres.url(role, "insula"));
    format!("[database]\napp_url = {app:?}\nplatform_url = {platform:?}")
}

impl Way {
    async fn bear(&self, load: &Load, witness: &mut MultiplexedConnection) -> Seen {
        let org = Policy { window_seconds: 1, ..policy("org", Scope::Org, load.quota) };
        let plan = plan(&Clock::system(), vec![org]);
        let callers: Arc<Vec<_>> =
            Arc::new((0..load.orgs).map(|_| (OrgId::new(), Subject::User(UserId::new()))).collect());
        let before = scripts(witness).await;
        let start = tokio::time::Instant::now();
        let asking = load.falls.iter().enumerate().map(|(replica, falls)| {
            let calls = load.quota * load.offered / 100 * falls * SECONDS / 100;
            let calls = usize::try_from(calls).unwrap() * load.orgs;
            tokio::spawn(self.of(replica, Arc::clone(&plan), Arc::clone(&callers)).ask(start, calls))
        });
        let asked: Vec<Vec<(u64, bool)>> =
            join_all(asking.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
        let calls = scripts(witness).await - before;
        let mut took: Vec<u64> = asked.iter().flatten().map(|(took, _)| *took).collect();
        took.sort_unstable();
        let passed = asked.iter().flatten().filter(|(_, passed)| *passed).count();
        Seen { took, passed, calls }
    }

    fn of(&self, replica: usize, plan: Arc<TierPlan>, callers: Callers) -> Asker {
        let way = match self {
            Self::Leases(replicas) => One::Leases(Arc::clone(&replicas[replica])),
            Self::Exact(connections) => {
                One::Exact(connections[replica].clone(), Arc::new(Script::new(EXACT)))
            }
        };
        Asker { way, plan, callers }
    }
}

type Callers = Arc<Vec<(OrgId, Subject)>>;

#[derive(Clone)]
enum One {
    Leases(Arc<Limits>),
    Exact(MultiplexedConnection, Arc<Script>),
}

/// One replica under load.
#[derive(Clone)]
struct Asker {
    way: One,
    plan: Arc<TierPlan>,
    callers: Callers,
}

impl Asker {
    /// Asks at a steady pace, whether it is answered or not: how long each took, and whether it passed.
    async fn ask(self, start: tokio::time::Instant, calls: usize) -> Vec<(u64, bool)> {
        let mut asked = JoinSet::new();
        for number in 0..calls {
            let due = start + Duration::from_secs(SECONDS.into()).mul_f64(number as f64 / calls as f64);
            if due > tokio::time::Instant::now() {
                sleep_until(due).await;
            }
            let mut one = self.clone();
            asked.spawn(async move {
                let begun = Instant::now();
                let passed = one.decide(number).await;
                (u64::try_from(begun.elapsed().as_nanos()).unwrap(), passed)
            });
        }
        asked.join_all().await
    }

    async fn decide(&mut self, number: usize) -> bool {
        let (org, who) = self.callers[number % self.callers.len()];
        match &mut self.way {
            One::Leases(limits) => limits.decide(org, who, &self.plan, 1).await.admitted,
            One::Exact(connection, script) => {
                let policy = self.plan.policies().next().unwrap();
                let mut call = script.key(format!("exact:{{{org}}}"));
                call.arg(1_000_000 / policy.quota).arg(policy.burst);
                call.invoke_async::<u8>(connection).await.unwrap() == 1
            }
        }
    }
}

/// How many scripts were run, less the heartbeats of a few seconds.
async fn scripts(witness: &mut MultiplexedConnection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(witness).await.unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}
