//! A bad day, under load: Redis killed, a worker killed, Postgres restarted, a replica killed, and receivers of webhooks that
//! fail now and then. Whatever was answered is there, once; it is told once and in order to who follows, and at least once
//! to who is called; and what was to be done is done.

use super::support::{
    Binary, Database, Dir, Listener, Org, Persona, Private, TestApp, id, product,
    receiver::{Answer, Receiver, status},
    signal_to, until_within,
};
use futures::future::join_all;
use insula::{ids::RequestId, local::Redis};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Clients of each of two orgs.
const CLIENTS: usize = 3;
/// What is answered before a fault, and between one and the next, at least.
const STEADY: usize = 30;
/// Webhooks may go to this machine, and are tried again soon.
const WEBHOOKS: [(&str, &str); 2] = [
    ("INSULA_WEBHOOKS__ALLOWED_NETWORKS", "[\"127.0.0.0/8\"]"),
    ("INSULA_WEBHOOKS__RETRY_SECONDS", "[0.2, 0.5, 1, 1, 1, 1, 1, 1, 1, 1]"),
];
/// After a fault it may take a lease of the queue, a reconnection and a retry until all is told and done.
const PATIENCE: Duration = Duration::from_mins(1);

struct Replica {
    process: Binary,
    base: String,
}

/// Where the clients call, in turns: a replica that is gone is passed over by the next try.
type Bases = Arc<Mutex<Vec<String>>>;

/// What an org's clients were answered, and what they are told of.
#[derive(Default)]
struct Answered {
    products: Mutex<Vec<Value>>,
    orders: Mutex<Vec<Value>>,
    /// Where their jobs are.
    jobs: Mutex<Vec<String>>,
    /// The numbers of the events that were heard.
    heard: Mutex<Vec<i64>>,
}

struct Day {
    postgres: Private,
    database: Database,
    redis: Option<Redis>,
    dir: Dir,
    replicas: Vec<Replica>,
    bases: Bases,
    /// How much was answered, to all.
    answers: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Day {
    async fn begin() -> (Self, TestApp) {
        let (postgres, database) = Private::migrated().await;
        let dir = Dir::new();
        let redis = Redis::start(dir.path(), None).await.unwrap();
        let tool = TestApp::start_on(database.clone(), "").await;
        let mut day = Self {
            postgres,
            database,
            redis: Some(redis),
            dir,
            replicas: Vec::new(),
            bases: Bases::default(),
            answers: Arc::default(),
            over: Arc::default(),
        };
        day.replace(None).await;
        day.replace(None).await;
        (day, tool)
    }

    /// Starts a replica, and kills that one.
    async fn replace(&mut self, killed: Option<usize>) {
        if let Some(place) = killed {
            self.replicas.remove(place).process.signal("KILL");
        }
        let redis = self.redis.as_ref().unwrap().url();
        let settings = [("INSULA_REDIS__URL", redis.as_str()), ("INSULA_JOBS__WORKERS", "0")];
        let mut process = Binary::serve(&self.database, &[&settings[..], &WEBHOOKS].concat());
        let base = process.base().await;
        self.replicas.push(Replica { process, base });
        *self.bases.lock().unwrap() = self.replicas.iter().map(|replica| replica.base.clone()).collect();
    }

    async fn kill_redis(&self) {
        let client = redis::Client::open(self.redis.as_ref().unwrap().url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
        signal_to(pid.parse().unwrap(), "KILL");
    }

    /// Waits until so much more is answered.
    async fn goes_on(&self, when: &str) {
        let before = self.answers.load(Ordering::Relaxed);
        let answered = async || self.answers.load(Ordering::Relaxed) >= before + STEADY;
        until_within(PATIENCE, &format!("requests are answered {when}"), answered).await;
    }

    fn client(&self, who: &Persona) -> Client {
        Client { who: who.clone(), bases: Arc::clone(&self.bases), tries: 0 }
    }

    fn shop(&self, org: &Org, number: usize, answered: &Arc<Answered>) -> JoinHandle<()> {
        let (mut client, answered) = (self.client(&org.owner), Arc::clone(answered));
        let (answers, over) = (Arc::clone(&self.answers), Arc::clone(&self.over));
        tokio::spawn(async move {
            let mut round = 0;
            while !over.load(Ordering::Relaxed) {
                let made = client.insist("/api/v1/products", product(&format!("{number}-{round}"), 5)).await;
                let line = json!({"lines": [{"product_id": id(&made), "quantity": 2}]});
                answered.products.lock().unwrap().push(made);
                let placed = client.insist("/api/v1/orders", line).await;
                answered.orders.lock().unwrap().push(placed);
                if round % 5 == 0 {
                    let new = json!({"resource": "products", "format": "csv"});
                    let job = client.insist("/api/v1/exports", new).await;
                    answered.jobs.lock().unwrap().push(format!("/api/v1/jobs/{}", id(&job)));
                }
                answers.fetch_add(1, Ordering::Relaxed);
                round += 1;
            }
        })
    }

    /// Follows what happens, and goes on after the last that was heard wherever a stream breaks off.
    fn follow(&self, org: &Org, answered: &Arc<Answered>) -> JoinHandle<()> {
        let (mut client, answered) = (self.client(&org.owner), Arc::clone(answered));
        tokio::spawn(async move {
            loop {
                let last = answered.heard.lock().unwrap().last().copied();
                if let Some(mut listener) = Listener::try_open(&client.next(), last).await {
                    while let Some(heard) = listener.hear().await {
                        answered.heard.lock().unwrap().extend(heard.id);
                    }
                }
                tokio::task::yield_now().await;
            }
        })
    }
}

struct Client {
    who: Persona,
    bases: Bases,
    tries: usize,
}

impl Client {
    /// The same person at the next replica.
    fn next(&mut self) -> Persona {
        self.tries += 1;
        let bases = self.bases.lock().unwrap();
        self.who.at(&bases[self.tries % bases.len()])
    }

    /// One of three tries hangs up, before it is done or after and never hears of it.
    fn patience(&self) -> Duration {
        if self.tries.is_multiple_of(3) {
            Duration::from_millis(self.tries as u64 % 10 * 3 + 3)
        } else {
            PATIENCE
        }
    }

    /// As a client does that does not give up: the same with the same key, until it is answered. What it is told until then
    /// is to come again.
    async fn insist(&mut self, path: &str, body: Value) -> Value {
        let key = RequestId::new().to_string();
        loop {
            let who = self.next();
            let request = who.request(Method::POST, path).header("idempotency-key", &key).json(&body);
            let request = request.timeout(self.patience());
            let Ok(answer) = request.send().await else { continue };
            let (status, text) = (answer.status().as_u16(), answer.text().await);
            let Ok(text) = text else { continue };
            match status {
                201 | 202 => return serde_json::from_str(&text).unwrap(),
                // The try before may be under way yet.
                409 => assert!(text.contains("in_flight"), "{text}"),
                429 | 503 => {}
                _ => panic!("{path}: {status} {text}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// All of a list.
async fn all(who: &Persona, path: &str) -> Vec<Value> {
    let (mut rows, mut next) =
        (Vec::new(), Some(format!("{path}{}limit=100", if path.contains('?') { '&' } else { '?' })));
    while let Some(at) = next {
        let reply = who.get(&at).await;
        rows.extend(reply.expect(200)["data"].as_array().unwrap().iter().cloned());
        next = reply.link("next");
    }
    rows
}

fn ids(rows: &[Value]) -> HashSet<String> {
    rows.iter().map(|row| id(row).to_owned()).collect()
}

/// Everything that an org was answered is there, and nothing besides; each is told once, and so is the audit.
async fn is_whole(org: &Org, who: &Persona, answered: &Answered) {
    let (products, orders) = (all(who, "/api/v1/products").await, all(who, "/api/v1/orders").await);
    assert_eq!(ids(&products), ids(&answered.products.lock().unwrap()), "{}", org.slug);
    assert_eq!(ids(&orders), ids(&answered.orders.lock().unwrap()), "{}", org.slug);
    assert!(products.len() >= orders.len() && products.iter().all(|product| product["stock"] == 3));

    let jobs = answered.jobs.lock().unwrap().clone();
    assert_eq!(all(who, "/api/v1/jobs").await.len(), jobs.len());
    for at in jobs {
        until_within(PATIENCE, "the job is done", async || {
            let job = who.get(&at).await.expect(200);
            assert_ne!(job["status"], "failed", "{job}");
            job["status"] == "succeeded"
        })
        .await;
    }

    for (kind, of) in [("product.created", &products), ("order.placed", &orders)] {
        let told = async |list: &str, name: &str| all(who, &format!("/api/v1/{list}?{name}={kind}")).await;
        until_within(PATIENCE, "all is numbered", async || {
            told("events/history", "type").await.len() == of.len()
        })
        .await;
        let events = told("events/history", "type").await;
        let objects: HashSet<String> =
            events.iter().map(|event| id(&event["data"]["object"]).to_owned()).collect();
        assert_eq!(objects, ids(of), "{kind}");
        assert_eq!(told("audit-events", "action").await.len(), of.len(), "{kind}");
    }
}

/// One of three calls fails at first, in some way.
async fn receiver() -> Receiver {
    let answers = [status(200), status(500), status(200), status(200), Answer::HangsUp, status(200)];
    Receiver::start(answers.into_iter().cycle().take(60)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_or_restarted_under_load_what_was_answered_is_there_once_told_once_and_done() {
    let (mut day, tool) = Day::begin().await;
    let orgs = [tool.org_on("enterprise").await, tool.org_on("enterprise").await];
    let answered = [Arc::<Answered>::default(), Arc::<Answered>::default()];
    let each = || orgs.iter().zip(&answered);
    let receivers = [receiver().await, receiver().await];
    for (org, receiver) in orgs.iter().zip(&receivers) {
        let new = json!({"url": receiver.url, "events": ["*"]});
        org.owner.at(&day.replicas[0].base).post("/api/v1/webhooks", new).await.expect(201);
    }
    let worker = Binary::work(&day.database, &WEBHOOKS);
    let shops: Vec<_> = each()
        .flat_map(|(org, answered)| (0..CLIENTS).map(|number| day.shop(org, number, answered)))
        .collect();
    let followers: Vec<_> = each().map(|(org, answered)| day.follow(org, answered)).collect();
    day.goes_on("before anything happens").await;

    day.kill_redis().await;
    day.goes_on("without Redis").await;
    drop(day.redis.take());
    day.redis = Some(Redis::start(day.dir.path(), None).await.unwrap());

    worker.signal("KILL");
    day.goes_on("without a worker").await;
    let _worker = Binary::work(&day.database, &WEBHOOKS);

    day.postgres.stop().await;
    day.postgres.start().await;
    day.goes_on("after a restart of Postgres").await;

    day.replace(Some(0)).await;
    day.goes_on("after a replica was killed").await;
    day.over.store(true, Ordering::Relaxed);
    for shop in join_all(shops).await {
        shop.unwrap();
    }

    let base = &day.replicas[0].base;
    for (org, answered) in each() {
        is_whole(org, &org.owner.at(base), answered).await;
        let head = all(&org.owner.at(base), "/api/v1/events/history?sort=-seq").await[0]["seq"].as_i64();
        until_within(PATIENCE, "all is heard", async || {
            answered.heard.lock().unwrap().last().copied() == head
        })
        .await;
        let numbers = answered.heard.lock().unwrap();
        let broken: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
        assert!(broken.is_empty(), "missed, or heard twice: {broken:?}");
    }
    for (org, receiver) in orgs.iter().zip(&receivers) {
        let owner = org.owner.at(base);
        let made = all(&owner, "/api/v1/events/history?type=webhook.created&sort=-seq").await;
        let since = format!("/api/v1/events/history?seq_gte={}", made[0]["seq"]);
        until_within(PATIENCE, "every event is delivered, and no other org's", async || {
            let delivered: HashSet<String> = receiver.ids().into_iter().collect();
            delivered == ids(&all(&owner, &since).await)
        })
        .await;
    }
    for follower in followers {
        follower.abort();
    }
    println!("{} rounds were answered", day.answers.load(Ordering::Relaxed));
}
