//! Monthly quotas: counted in Postgres, so that they outlive every process, and used from reserves in memory.
//!
//! A replica reserves some units by one statement, at most as many as [`cell`] says and less the nearer the end is, and
//! admits out of them. What rests for about a second is handed back, and at the end of the process. All that is reserved
//! counts as used: replicas together never admit more than the quota while Postgres answers, and one that is killed
//! leaves at most its reserve charged: the larger of what waited, and of 16 units or a 256th of the quota.
//!
//! **Postgres gone.** What is in reserve is used up, then each replica admits a hundredth of the quota (at least 16
//! units, never more than was left when last heard) on credit, and charges that when Postgres answers.

mod calendar;
mod cell;
#[cfg(test)]
mod model;

pub use calendar::Period;

use super::{
    cell::{Mark, NEVER},
    mix::Mix,
    policy::Scope,
    rule::Rule,
    tier::{Subject, View},
};
use crate::{clock::Clock, db::Pools, ids::OrgId, tenancy::gate};
use cell::{Cell, Word};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

const SHARDS: usize = 256;
/// A request waits so long for units before it is admitted on credit.
const PATIENCE: Duration = Duration::from_millis(500);
/// Nanoseconds until Postgres is likely to answer again.
const SOON: u64 = 1_000_000_000;
/// What rests for so long is handed back.
const ROUND: Duration = Duration::from_secs(1);

type Shard = Mutex<HashMap<(OrgId, Option<Subject>), Vec<Arc<Cell>>, Mix>>;

/// The monthly quotas that this replica has to do with.
#[derive(Clone)]
pub struct Months(Arc<Inner>);

struct Inner {
    clock: Clock,
    pools: Pools,
    mix: Mix,
    shards: Box<[Shard]>,
    /// Twice the replicas: nobody reserves more than such a part of what is left.
    parts: u32,
}

/// How one monthly quota stands for one caller.
#[derive(Clone, Debug)]
pub struct MonthMark {
    pub(super) rule: Arc<Rule>,
    /// As of the other marks: units.
    pub(super) mark: Mark,
    pub(super) period: Period,
    /// Nanoseconds until the period ends.
    pub(super) left: u64,
}

/// The marks of all of a caller's monthly quotas. What was taken is given back unless it is spent.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub marks: Vec<MonthMark>,
    holds: Vec<Hold>,
}

impl Taken {
    pub fn admitted(&self) -> bool {
        self.marks.iter().all(|month| month.mark.fits() || month.rule.is_shadow())
    }

    pub fn give_back(mut self) -> Vec<MonthMark> {
        std::mem::take(&mut self.marks)
    }

    pub fn spend(mut self) -> Vec<MonthMark> {
        for hold in &mut self.holds {
            hold.spent = true;
        }
        std::mem::take(&mut self.marks)
    }
}

#[derive(Debug)]
struct Hold {
    cell: Arc<Cell>,
    start: Period,
    on_credit: bool,
    cost: u32,
    spent: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.spent {
            self.cell.put_back(self.start, self.on_credit, self.cost);
        }
    }
}

impl Months {
    pub fn new(clock: Clock, pools: Pools, replicas: u32) -> Self {
        let mix = Mix::new();
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(mix))).collect();
        Self(Arc::new(Inner { clock, pools, mix, shards, parts: replicas.max(1).saturating_mul(2) }))
    }

    /// Takes `cost` of each monthly quota of the view, as far as it fits; every one is tried, so that all that refuse are
    /// named.
    pub(super) async fn take(&self, org: OrgId, who: Subject, view: &View, cost: u32) -> Taken {
        let mut taken = Taken::default();
        for rule in &view.months {
            let (quota, cell) = (rule.policy.quota, self.cell(org, who, rule));
            if cost == 0 || cost > quota {
                taken.marks.push(self.look(&cell, rule, cost).await);
                continue;
            }
            let word = self.until_known(&cell, quota, cost).await;
            let (used, period, now) = self.standing(&cell);
            let left = period.ends().saturating_sub(now);
            let mark = if let Word::Taken { start, on_credit } = word {
                taken.holds.push(Hold { cell, start, on_credit, cost, spent: false });
                Mark::told(used.saturating_sub(cost.into()), used, 0)
            } else {
                // What is not used up is refused only while nobody can be asked, which is soon over.
                let used_up = used + u64::from(cost) > u64::from(quota);
                Mark::told(used, used, if used_up { left.max(1) } else { SOON })
            };
            taken.marks.push(MonthMark { rule: Arc::clone(rule), mark, period, left });
        }
        taken
    }

    /// How each stands, and whether `cost` would fit; takes nothing.
    pub(super) async fn peek(&self, org: OrgId, who: Subject, view: &View, cost: u32) -> Vec<MonthMark> {
        let mut marks = Vec::new();
        for rule in &view.months {
            marks.push(self.look(&self.cell(org, who, rule), rule, cost).await);
        }
        marks
    }

    /// Hands back what rests, and all at the end.
    pub async fn keep(&self, until: CancellationToken) {
        while until.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_some() {
            self.round(false).await;
        }
        self.round(true).await;
    }

    async fn round(&self, last: bool) {
        for shard in &self.0.shards {
            let known: Vec<Arc<Cell>> = shard.lock().values().flatten().cloned().collect();
            for cell in known {
                if (cell.rests() || last) && cell.holds_any() && cell.try_begin() {
                    self.ask(Arc::clone(&cell), 0, 0).await;
                }
            }
            // What nobody but the shelf has, nobody gets meanwhile; and Postgres knows the rest.
            shard.lock().retain(|_, cells| {
                cells.retain(|cell| Arc::strong_count(cell) > 1 || cell.holds_any());
                !cells.is_empty()
            });
        }
    }

    async fn look(&self, cell: &Arc<Cell>, rule: &Arc<Rule>, cost: u32) -> MonthMark {
        if cost <= rule.policy.quota && !cell.is_fresh() {
            let told = cell.told.notified();
            if cell.try_begin() {
                self.spawn(cell, rule.policy.quota, 0);
            }
            tokio::time::timeout(PATIENCE, told).await.ok();
        }
        let (used, period, now) = self.standing(cell);
        let left = period.ends().saturating_sub(now);
        let fits = used + u64::from(cost) <= u64::from(rule.policy.quota) || cost == 0;
        let wait = if cost > rule.policy.quota { NEVER } else { left.max(1) };
        let mark = Mark::told(used, used, if fits { 0 } else { wait });
        MonthMark { rule: Arc::clone(rule), mark, period, left }
    }

    async fn until_known(&self, cell: &Arc<Cell>, quota: u32, cost: u32) -> Word {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before it is asked, so that no answer is missed.
            let told = cell.told.notified();
            match cell.take(self.now(), quota, cost) {
                Word::Unknown { first: true } => self.spawn(cell, quota, cost),
                Word::Unknown { first: false } => {}
                known => return known,
            }
            if timeout_at(deadline, told).await.is_err() {
                return cell.take_on_credit(self.now(), quota, cost);
            }
        }
    }

    /// By itself: what a client that hangs up has asked for is still heard.
    fn spawn(&self, cell: &Arc<Cell>, quota: u32, need: u32) {
        let (months, cell) = (self.clone(), Arc::clone(cell));
        tokio::spawn(async move { months.ask(cell, quota, need).await });
    }

    async fn ask(&self, cell: Arc<Cell>, quota: u32, need: u32) {
        let mut ask = cell.ask(self.now(), quota, need);
        // Once to hear of the billing day, and again if it is changed at this moment.
        for _ in 0..3 {
            let now = self.now();
            let answer = gate::take_month(&self.0.pools, &ask.words(&cell, quota, self.0.parts, now)).await;
            let Ok(answer) =
                answer.inspect_err(|error| tracing::warn!(%error, "a monthly quota can't be asked for"))
            else {
                break;
            };
            let Some(day) = answer.day.and_then(|day| u8::try_from(day).ok()) else { break };
            if ask.is_of(day) {
                let units = |units: i64| u64::try_from(units).unwrap_or(0);
                return cell.heard(&ask, units(answer.granted), units(answer.total));
            }
            ask.moved_to(day, now);
        }
        cell.unheard();
    }

    fn cell(&self, org: OrgId, who: Subject, rule: &Rule) -> Arc<Cell> {
        let whose = (rule.policy.scope != Scope::Org).then_some(who);
        let mut shard = self.0.shards[self.0.mix.shard(org.uuid().as_u128())].lock();
        let cells = shard.entry((org, whose)).or_default();
        if let Some(known) = cells.iter().find(|cell| cell.policy == rule.policy.name) {
            return Arc::clone(known);
        }
        let subject = match whose {
            None => org.uuid(),
            Some(Subject::User(user)) => user.uuid(),
            Some(Subject::ApiKey(key)) => key.uuid(),
        };
        let cell = Cell::new(org, subject, &rule.policy.name);
        cells.push(Arc::clone(&cell));
        cell
    }

    fn standing(&self, cell: &Cell) -> (u64, Period, u64) {
        let now = self.now();
        let (used, period) = cell.standing(now);
        (used, period.unwrap_or_else(|| somewhere(now, None)), now)
    }

    fn now(&self) -> u64 {
        self.0.clock.micros().saturating_mul(1_000)
    }
}

/// The month of `day`, or of the calendar where none is known.
fn somewhere(now: u64, day: Option<u8>) -> Period {
    let at = OffsetDateTime::from_unix_timestamp_nanos(now.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Period::at(at, day.unwrap_or(1))
}
