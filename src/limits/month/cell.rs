//! One monthly quota of one user, key or org, as this replica knows it: what it holds in reserve, and what it owes.

use super::calendar::Period;
use crate::{ids::OrgId, tenancy::gate::MonthTake};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use uuid::Uuid;

/// What Postgres said is believed for so long: that nothing is left, or that it is away.
const BELIEVED: Duration = Duration::from_millis(250);
/// A replica reserves at most this part of a quota at once, beyond what waits for it.
const LARGEST_PART: u32 = 256;
const SMALL: u32 = 16;
/// What a replica admits while Postgres is away: this part of a quota, or a few.
const DEBT_PART: u32 = 100;

#[derive(Debug)]
pub struct Cell {
    pub org: OrgId,
    pub subject: Uuid,
    pub policy: String,
    pub told: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    day: Option<u8>,
    period: Option<Period>,
    /// All that is used or reserved of the period, by everybody, as last heard.
    total: u64,
    /// Reserved here and not used yet.
    reserve: u64,
    /// Admitted while nobody could be asked, and not charged yet.
    debt: u64,
    /// Units that wait for an answer.
    wanted: u64,
    asking: bool,
    away: Option<Instant>,
    /// When, and for how much, nothing was left.
    full: Option<(Instant, u64)>,
    heard: Option<Instant>,
    /// Used since the last round of the keeper.
    touched: bool,
}

/// How a cost fares by what is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Taken out of the reserve, or on credit.
    Taken {
        start: Period,
        on_credit: bool,
    },
    Refused,
    /// Postgres must be asked; `first` has to do it.
    Unknown {
        first: bool,
    },
}

/// What is to be said to Postgres.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    day: Option<u8>,
    period: Option<Period>,
    need: u64,
    most: u64,
    back: u64,
    owed: u64,
}

impl Cell {
    pub fn new(org: OrgId, subject: Uuid, policy: &str) -> Arc<Self> {
        let policy = policy.to_owned();
        Arc::new(Self { org, subject, policy, told: Notify::new(), state: Mutex::default() })
    }

    /// Takes `cost` if what is known allows it. Whoever is told to wait is counted in what is asked for next.
    pub fn take(&self, now: u64, quota: u32, cost: u32) -> Word {
        let mut state = self.state.lock();
        state.roll(now);
        state.touched = true;
        let cost_units = u64::from(cost);
        if let Some(period) = state.period
            && state.reserve >= cost_units
            && state.used() + cost_units <= u64::from(quota)
        {
            state.reserve -= cost_units;
            return Word::Taken { start: period, on_credit: false };
        }
        if state.away.is_some_and(|since| since.elapsed() < BELIEVED) {
            return state.on_credit(now, quota, cost_units);
        }
        if state.full.is_some_and(|(since, need)| need <= cost_units && since.elapsed() < BELIEVED) {
            return Word::Refused;
        }
        state.wanted = state.wanted.saturating_add(cost_units);
        Word::Unknown { first: !std::mem::replace(&mut state.asking, true) }
    }

    /// The same where the answer is late: as if Postgres were away.
    pub fn take_on_credit(&self, now: u64, quota: u32, cost: u32) -> Word {
        let mut state = self.state.lock();
        state.roll(now);
        state.away = Some(Instant::now());
        state.on_credit(now, quota, cost.into())
    }

    /// Undoes a take.
    pub fn put_back(&self, start: Period, on_credit: bool, cost: u32) {
        let mut state = self.state.lock();
        if state.period != Some(start) {
            // What it was taken of is over, or the days were moved: it stays charged there.
        } else if on_credit && state.debt >= cost.into() {
            state.debt -= u64::from(cost);
        } else {
            state.reserve += u64::from(cost);
        }
    }

    /// What to ask for: `need` and what waits, the reserve being thrown in. The reserve is not used meanwhile, and if no
    /// answer comes it stays charged: it may have been handed back.
    pub fn ask(&self, now: u64, quota: u32, need: u32) -> Ask {
        let mut state = self.state.lock();
        state.roll(now);
        let part = if need == 0 { 0 } else { u64::from((quota / LARGEST_PART).max(SMALL)) };
        let most = std::mem::take(&mut state.wanted).max(part);
        let day = state.day;
        let period = state.period.or_else(|| day.map(|_| super::somewhere(now, day)));
        let (back, owed) = (std::mem::take(&mut state.reserve), state.debt);
        Ask { day, period, need: need.into(), most, back, owed }
    }

    /// Asks alone, if nobody else does.
    pub fn try_begin(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().asking, true)
    }

    pub fn heard(&self, ask: &Ask, granted: u64, total: u64) {
        let mut state = self.state.lock();
        let at = Instant::now();
        (state.day, state.period, state.total) = (ask.day, ask.period, total);
        state.reserve += granted;
        state.debt = state.debt.saturating_sub(ask.owed);
        (state.asking, state.away, state.heard) = (false, None, Some(at));
        state.full = (ask.need > 0 && granted == 0).then_some((at, ask.need));
        drop(state);
        self.told.notify_waiters();
    }

    /// Nobody answered.
    pub fn unheard(&self) {
        let mut state = self.state.lock();
        (state.asking, state.away, state.wanted) = (false, Some(Instant::now()), 0);
        drop(state);
        self.told.notify_waiters();
    }

    /// Units used, as far as is known, and the period.
    pub fn standing(&self, now: u64) -> (u64, Option<Period>) {
        let mut state = self.state.lock();
        state.roll(now);
        (state.used(), state.period)
    }

    /// Whether what is known was heard just now.
    pub fn is_fresh(&self) -> bool {
        self.state.lock().heard.is_some_and(|at| at.elapsed() < BELIEVED)
    }

    /// Whether it was left alone since the last time this was asked.
    pub fn rests(&self) -> bool {
        let mut state = self.state.lock();
        !std::mem::take(&mut state.touched) && !state.asking
    }

    /// Whether there is something to tell Postgres.
    pub fn holds_any(&self) -> bool {
        let state = self.state.lock();
        state.reserve > 0 || state.debt > 0
    }
}

impl State {
    /// A month that is over takes its reserve with it; what is owed is charged to the next.
    fn roll(&mut self, now: u64) {
        if self.period.is_some_and(|period| !period.holds(now)) {
            (self.period, self.total, self.reserve, self.full) = (None, 0, 0, None);
        }
    }

    fn used(&self) -> u64 {
        self.total.saturating_sub(self.reserve).saturating_add(self.debt)
    }

    fn on_credit(&mut self, now: u64, quota: u32, cost: u64) -> Word {
        let bound = u64::from((quota / DEBT_PART).max(SMALL).min(quota));
        if self.debt + cost > bound || self.used() + cost > u64::from(quota) {
            return Word::Refused;
        }
        self.debt += cost;
        // Before anybody told the billing day no month is known; the first will do to know the units by.
        let start = *self.period.get_or_insert_with(|| super::somewhere(now, self.day));
        Word::Taken { start, on_credit: true }
    }
}

impl Ask {
    /// In the words of the gate. `parts`: a part of what is left that may be taken beyond the need.
    pub fn words<'a>(&self, cell: &'a Cell, quota: u32, parts: u32, now: u64) -> MonthTake<'a> {
        let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        MonthTake {
            org: cell.org,
            subject: cell.subject,
            policy: &cell.policy,
            quota,
            day: self.day,
            start: self.period.unwrap_or_else(|| super::somewhere(now, self.day)).start,
            need: signed(self.need),
            most: signed(self.most),
            parts: parts.max(1).into(),
            back: signed(self.back),
            owed: signed(self.owed),
        }
    }

    pub fn is_of(&self, day: u8) -> bool {
        self.day == Some(day)
    }

    /// The same in the month that `day` makes it. What was reserved stays of the same row, which a change of the day
    /// moves.
    pub fn moved_to(&mut self, day: u8, now: u64) {
        (self.day, self.period) = (Some(day), Some(super::somewhere(now, Some(day))));
    }
}
