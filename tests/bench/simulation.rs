//! What recording a decision costs, and how fast ten million are read and replayed, of 1,000 and of 100,000 orgs:
//! `cargo bench --bench simulation`.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod tier;

use anyhow::anyhow;
use insula::{
    bootstrap::{self, Passwords},
    clock::{self, Clock},
    config::Config,
    db::Pools,
    ids::{OrgId, UserId},
    limits::{
        Replay, Scope, Subject,
        record::{self, Batch, Recorded, Recorder},
    },
    local::{Durability, Postgres},
    tenancy::PlatformDb,
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tier::{plan, policy};
use time::OffsetDateTime;
use tokio::sync::mpsc;

const DECISIONS: u64 = 10_000_000;
/// Between two of them: ten million are an hour.
const STEP: u64 = 360;
const START: u64 = 1_700_000_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// As the worker does.
const BATCHES: usize = 8;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("insula-bench-{}", std::process::id()));
    let postgres = Postgres::start(&dir, None, Durability::Throwaway).await?;
    let admin = postgres.superuser_url().into();
    bootstrap::bootstrap(&admin, "insula", &Passwords::default(), PATIENCE).await?;
    bootstrap::migrate(&postgres.url("insula_owner", "insula").into(), PATIENCE).await?;
    let (app, platform) = (postgres.url("insula_app", "insula"), postgres.url("insula_platform", "insula"));
    let config = Config::with(&format!("[database]\napp_url = {app:?}\nplatform_url = {platform:?}"))?;
    let platform = PlatformDb::new(Pools::open(&config.database).await?);
    let mut superuser = PgConnection::connect(&postgres.url("postgres", "insula")).await?;
    for orgs in [1_000, 100_000] {
        superuser.execute("truncate recorded_decisions").await?;
        record(&platform, &Recorder::new(&config.decisions), orgs).await?;
        let bytes: i64 = sqlx::query_scalar("select pg_total_relation_size('recorded_decisions')")
            .fetch_one(&mut superuser)
            .await?;
        println!("{orgs:>6} orgs: {:.1} bytes a decision", bytes as f64 / DECISIONS as f64);
        let start = Instant::now();
        let read = read(&platform, |batch| {
            std::hint::black_box(batch);
            Ok(())
        });
        read.await?;
        println!("{orgs:>6} orgs: read in {:.2} s", start.elapsed().as_secs_f64());
        let clock = Clock::frozen();
        clock.set_micros(0);
        let plan = plan(&clock, vec![policy("user", Scope::User, 160), policy("org", Scope::Org, 170)]);
        let start = Instant::now();
        let (send, mut receive) = mpsc::channel::<Vec<u8>>(BATCHES);
        let replaying = thread::spawn(move || {
            let mut replay =
                Replay::new(Clock::frozen(), START..u64::MAX, |_, _, _| Some((Arc::clone(&plan), u64::MAX)));
            while let Some(batch) = receive.blocking_recv() {
                replay.take(Batch::open(batch)?)?;
            }
            replay.finish()
        });
        let mut waiting = Vec::new();
        let mut after = None;
        loop {
            after = page(&platform, after, &mut waiting).await?;
            for batch in waiting.drain(..) {
                send.send(batch).await?;
            }
            if after.is_none() {
                break;
            }
        }
        drop(send);
        let (outcomes, replayed) = replaying.join().map_err(|_| anyhow!("the replay panicked"))??;
        let refused: u64 =
            outcomes.iter().flat_map(|(_, routes)| routes).map(|(_, tally)| tally.refused).sum();
        println!(
            "{orgs:>6} orgs: {replayed} decisions read and replayed in {:.2} s; {} orgs, {refused} refused",
            start.elapsed().as_secs_f64(),
            outcomes.len()
        );
    }
    drop(superuser);
    postgres.stop().await?;
    Ok(())
}

type After = Option<(OffsetDateTime, uuid::Uuid)>;

async fn page(platform: &PlatformDb, after: After, into: &mut Vec<Vec<u8>>) -> anyhow::Result<After> {
    let from = clock::at_micros(START);
    let most = i64::try_from(BATCHES)?;
    let mut tx = platform.begin().await?;
    let batches = record::read(&mut tx, from, from + time::Duration::days(1), after, most).await?;
    tx.commit().await?;
    let after = batches.last().map(|last| (last.first_at, last.id));
    into.extend(batches.into_iter().map(|batch| batch.columns));
    Ok(after)
}

async fn read(platform: &PlatformDb, see: impl Fn(Vec<u8>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (mut after, mut waiting) = (None, Vec::new());
    loop {
        after = page(platform, after, &mut waiting).await?;
        for batch in waiting.drain(..) {
            see(batch)?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn record(platform: &PlatformDb, recorder: &Recorder, orgs: usize) -> anyhow::Result<()> {
    let callers: Vec<_> = (0..orgs).map(|_| (OrgId::new(), Subject::User(UserId::new()))).collect();
    let routes: [&'static str; 4] =
        ["list_products", "get_product", "create_order", "list_orders"].map(record::route);
    let (mut random, mut pushing, mut writing) = (88_172_645_463_325_252_u64, Duration::ZERO, Duration::ZERO);
    let each = DECISIONS / 50;
    for part in 0..50 {
        let start = Instant::now();
        for place in part * each..(part + 1) * each {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (org, who) = callers[usize::try_from(random >> 33)? % orgs];
            let route = routes[usize::try_from(random & 3)?];
            recorder.push(Recorded { at: START + place * STEP, org, who, route, cost: 1, admitted: true });
        }
        pushing += start.elapsed();
        let start = Instant::now();
        recorder.flush(platform).await?;
        writing += start.elapsed();
    }
    println!(
        "{orgs:>6} orgs: {:.0} ns a push; {:.0} ns a decision to pack and write",
        pushing.as_secs_f64() * 1e9 / DECISIONS as f64,
        writing.as_secs_f64() * 1e9 / DECISIONS as f64
    );
    Ok(())
}
