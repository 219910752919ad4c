//! A request can be given up at any moment, and nothing of its organisation stays behind on a connection.

use super::support::{Database, TestApp, cog, until};
use futures::future::join_all;
use insula::{
    ids::OrgId,
    tenancy::{Mode, TenantTx, gate},
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use std::{
    future::poll_fn,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
};

const ROUNDS: u64 = 10_000;
const WORKERS: usize = 8;
const CONNECTIONS: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_given_up_at_any_moment_leaves_no_organisation_on_its_connection() {
    let settings =
        format!("[database]\napp_connections = {CONNECTIONS}\norg_connections = {}", CONNECTIONS / 2);
    let app = TestApp::start_with(&settings).await;
    let orgs = [app.org().await, app.org().await];
    for org in &orgs {
        org.owner.post("/api/v1/products", cog()).await.expect(201);
    }
    app.database.tell_setting_at_gate().await;
    let pools = &app.state.pools;
    let (finished, given_up) = (AtomicU32::new(0), AtomicU32::new(0));

    let worker = async |rounds: Vec<u64>| {
        for round in rounds {
            let dice = dice(round);
            let org = orgs[usize::from(dice.is_multiple_of(2))].id;
            let work = async {
                let (mut tx, _) = TenantTx::begin(pools, org, Mode::Write).await.unwrap();
                sqlx::query("select from products").fetch_all(&mut *tx).await.unwrap();
                if dice.is_multiple_of(3) {
                    tx.commit().await.unwrap();
                }
            };
            let done = give_up_after(dice / 6 % 7, work).await;
            if done.is_some() { &finished } else { &given_up }.fetch_add(1, Ordering::Relaxed);

            if round.is_multiple_of(8) {
                let asked = gate::api_key(pools, b"any").await.unwrap().unwrap();
                assert_eq!(
                    asked.scopes,
                    [""],
                    "a connection outside any transaction is set to an organisation"
                );
            }
            if round % 8 == 4 {
                let other = orgs[usize::from(!dice.is_multiple_of(2))].id;
                assert_eq!(seen_by(pools, other).await, (other.uuid().to_string(), vec![other]));
            }
        }
    };
    join_all(shares().map(worker)).await;

    // Else the dice were loaded, and nothing was shown.
    assert!(finished.into_inner() > 500 && given_up.into_inner() > 5_000);
    until("every permit is given back", async || pools.permits.held() == 0).await;
    let all = (0..CONNECTIONS as usize).map(|at| TenantTx::begin(pools, orgs[at % 2].id, Mode::Read));
    let held: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(held.len(), CONNECTIONS as usize, "every connection is there to be borrowed");
    drop(held);
    until("no transaction stays open", async || app.database.left_open().await == 0).await;
}

/// Shows that the test above can fail: what it guards against happens to those who begin as sqlx does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_sqlx_given_up_while_it_begins_leaks_its_organisation() {
    let database = Database::new().await;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .connect(&database.url("insula_app"))
        .await
        .unwrap();
    let leaks = AtomicU32::new(0);

    let worker = async |rounds: Vec<u64>| {
        for round in rounds {
            give_up_after(dice(round) / 6 % 7, begin_as_sqlx_does(&pool, OrgId::new())).await;
            let setting: String =
                sqlx::query_scalar("select coalesce(current_setting('app.org_id', true), '')")
                    .fetch_one(&pool)
                    .await
                    .unwrap();
            leaks.fetch_add(u32::from(!setting.is_empty()), Ordering::Relaxed);
            if leaks.load(Ordering::Relaxed) > 0 {
                return;
            }
        }
    };
    join_all(shares().map(worker)).await;
    assert!(leaks.into_inner() > 0, "sqlx leaks no more: `tenancy::tx` could be simpler");
}

#[expect(clippy::disallowed_methods, reason = "to show why it is disallowed")]
async fn begin_as_sqlx_does(pool: &PgPool, org: OrgId) {
    let begin = format!("begin; select set_config('app.org_id', '{}', true)", org.uuid());
    let mut tx = pool.begin_with(AssertSqlSafe(begin)).await.unwrap();
    sqlx::query("select from products").fetch_all(&mut *tx).await.unwrap();
}

/// The org that a transaction of `org` is set to, and the orgs whose products it sees.
async fn seen_by(pools: &insula::db::Pools, org: OrgId) -> (String, Vec<OrgId>) {
    let (mut tx, _) = TenantTx::begin(pools, org, Mode::Read).await.unwrap();
    let setting =
        sqlx::query_scalar("select current_setting('app.org_id')").fetch_one(&mut *tx).await.unwrap();
    let rows = sqlx::query_scalar("select org_id from products").fetch_all(&mut *tx).await.unwrap();
    (setting, rows)
}

/// Drops `work` when it was polled so often and is not done.
async fn give_up_after<T>(mut polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}

fn shares() -> impl Iterator<Item = Vec<u64>> {
    (0..).take(WORKERS).map(|worker| (worker..ROUNDS).step_by(WORKERS).collect())
}

/// The same for a round each time, so that a failure can be repeated.
fn dice(round: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(round)
}
