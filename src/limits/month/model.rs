//! The cells of one monthly quota against the naive reference: the list of the calls that passed, each in its month. In
//! place of Postgres stands what `take_month` does.

use super::{
    calendar::Period,
    cell::{Cell, Word},
};
use crate::{ids::OrgId, limits::rule::nanos, tenancy::gate::MonthTake};
use proptest::{collection::vec, prelude::*, sample::select};
use std::sync::Arc;
use time::{Date, Duration, OffsetDateTime, macros::datetime};

const QUOTA: u32 = 60;
/// What a replica may admit while nobody can be asked.
const CREDIT: u64 = 16;

#[derive(Clone, Debug)]
enum Act {
    Take {
        replica: usize,
        cost: u32,
        undone: bool,
    },
    /// The same while Postgres is away: what is asked is lost on the way.
    TakeAlone {
        replica: usize,
        cost: u32,
    },
    /// What rests is handed back before time passes, unless the time is short.
    Wait {
        hours: i64,
        rested: bool,
    },
    Bill(u8),
}

fn some_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..2_usize, 1..=QUOTA / 4, prop::bool::weighted(0.2))
            .prop_map(|(replica, cost, undone)| Act::Take { replica, cost, undone }),
        1 => (0..2_usize, 1..=8_u32).prop_map(|(replica, cost)| Act::TakeAlone { replica, cost }),
        2 => (1..1_000_i64, any::<bool>()).prop_map(|(hours, rested)| Act::Wait { hours, rested }),
        1 => select(vec![1, 15, 28, 31]).prop_map(Act::Bill),
    ]
}

/// A call that is charged to a month.
struct Call {
    start: Date,
    units: u64,
    on_credit: bool,
}

struct World {
    now: OffsetDateTime,
    replicas: Vec<Arc<Cell>>,
    day: u8,
    /// The row that Postgres keeps.
    row: Option<(Date, u64)>,
    calls: Vec<Call>,
    /// What passed on credit, by replica, and is in no month yet.
    unpaid: Vec<u64>,
    /// Whether the replicas may not know the day.
    moved: bool,
}

impl World {
    fn new(replicas: usize) -> Self {
        let (org, now) = (OrgId::new(), datetime!(2027-01-20 10:00 UTC));
        let cells = (0..replicas).map(|_| Cell::new(org, org.uuid(), "month"));
        let unpaid = vec![0; replicas];
        Self { now, replicas: cells.collect(), day: 1, row: None, calls: Vec::new(), unpaid, moved: false }
    }

    fn start(&self) -> Date {
        Period::at(self.now, self.day).start
    }

    fn charge(&mut self, units: u64, on_credit: bool) {
        self.calls.push(Call { start: self.start(), units, on_credit });
    }

    /// Units in the month that runs.
    fn used(&self, counts: impl Fn(&Call) -> bool) -> u64 {
        let calls = self.calls.iter().filter(|call| call.start == self.start() && counts(call));
        calls.map(|call| call.units).sum()
    }

    fn kept(&self) -> u64 {
        self.row.filter(|(start, _)| *start == self.start()).map_or(0, |(_, used)| used)
    }

    /// Answers what is granted, and all that is used. The day is the right one.
    fn take_month(&mut self, ask: &MonthTake<'_>) -> (i64, i64) {
        let (running, used) = self.row.filter(|(start, _)| *start >= ask.start).unwrap_or((ask.start, 0));
        let mut total = i64::try_from(used).unwrap();
        if running == ask.start {
            total = (total - ask.back).max(0);
        }
        total += ask.owed;
        let left = i64::from(ask.quota) - total;
        let fits = ask.need > 0 && ask.need <= left;
        let granted = if fits { ask.need.max(ask.most.min(left / ask.parts)).min(left) } else { 0 };
        self.row = Some((running, u64::try_from(total + granted).unwrap()));
        (granted, total + granted)
    }

    fn ask(&mut self, replica: usize, need: u32) {
        let (cell, now) = (Arc::clone(&self.replicas[replica]), nanos(self.now));
        let parts = 2 * u32::try_from(self.replicas.len()).unwrap();
        let mut ask = cell.ask(now, QUOTA, need);
        if !ask.is_of(self.day) {
            ask.moved_to(self.day, now);
        }
        let (granted, total) = self.take_month(&ask.words(&cell, QUOTA, parts, now));
        cell.heard(&ask, u64::try_from(granted).unwrap(), u64::try_from(total).unwrap());
        let paid = std::mem::take(&mut self.unpaid[replica]);
        self.charge(paid, true);
    }

    fn take(&mut self, replica: usize, cost: u32, is_away: bool) -> Word {
        loop {
            let (cell, now) = (Arc::clone(&self.replicas[replica]), nanos(self.now));
            match cell.take(now, QUOTA, cost) {
                Word::Unknown { .. } if is_away => {
                    let lost = cell.ask(now, QUOTA, cost).words(&cell, QUOTA, 1, now).back;
                    self.charge(u64::try_from(lost).unwrap(), false);
                    cell.unheard();
                }
                Word::Unknown { .. } => self.ask(replica, cost),
                Word::Refused => return Word::Refused,
                taken @ Word::Taken { on_credit, .. } => {
                    if on_credit {
                        self.unpaid[replica] += u64::from(cost);
                    } else {
                        self.charge(cost.into(), false);
                    }
                    return taken;
                }
            }
        }
    }

    fn undo(&mut self, replica: usize, cost: u32, word: Word) {
        let Word::Taken { start, on_credit } = word else { return };
        self.replicas[replica].put_back(start, on_credit, cost);
        if on_credit {
            self.unpaid[replica] -= u64::from(cost);
        } else {
            self.calls.pop();
        }
    }

    fn rest(&mut self) {
        for replica in 0..self.replicas.len() {
            assert!(self.replicas[replica].try_begin());
            self.ask(replica, 0);
        }
        self.moved = false;
    }

    /// What is used goes along into the month that the other day makes of this moment.
    fn bill(&mut self, day: u8) {
        let from = self.start();
        self.day = day;
        let to = self.start();
        self.calls.retain(|call| call.start == from);
        self.calls.iter_mut().for_each(|call| call.start = to);
        self.row = self.row.filter(|(start, _)| *start >= from).map(|(_, used)| (to, used));
        self.moved = true;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_cells_admit_as_the_list_of_calls_does_and_postgres_keeps_its_sum(
        replicas in 1..=2_usize, is_calm in any::<bool>(), acts in vec(some_act(), 1..80),
    ) {
        let mut world = World::new(replicas);
        // Where nothing is undone and Postgres never away, one replica alone is exact.
        let is_exact = replicas == 1 && is_calm;
        for act in acts {
            match act {
                Act::Take { replica, cost, undone } => {
                    let (replica, fits) = (replica % replicas, world.used(|_| true) + u64::from(cost) <= QUOTA.into());
                    let word = world.take(replica, cost, false);
                    if is_exact {
                        prop_assert_eq!(word != Word::Refused, fits, "{:?}", word);
                    }
                    if undone && !is_calm {
                        world.undo(replica, cost, word);
                    }
                }
                Act::TakeAlone { replica, cost } => {
                    world.take(replica % replicas, cost, !is_calm);
                }
                Act::Wait { hours, rested } => {
                    if rested || world.moved {
                        world.rest();
                        prop_assert_eq!(world.kept(), world.used(|_| true));
                    }
                    world.now += Duration::hours(hours);
                }
                Act::Bill(day) => world.bill(day),
            }
            prop_assert!(world.used(|call| !call.on_credit) <= QUOTA.into());
            prop_assert!(world.unpaid.iter().all(|units| *units <= CREDIT));
            if let [only] = &world.replicas[..] {
                let used = world.used(|_| true) + world.unpaid[0];
                prop_assert_eq!(only.standing(nanos(world.now)).0, used);
                prop_assert!(used <= QUOTA.into());
            }
        }
        world.rest();
        prop_assert_eq!(world.kept(), world.used(|_| true));
    }
}

#[test]
fn what_was_taken_of_a_month_that_is_over_is_not_given_back_to_the_next() {
    let mut world = World::new(1);
    let taken = world.take(0, 10, false);
    world.now += Duration::days(20);
    world.take(0, 5, false);
    let Word::Taken { start, on_credit } = taken else { panic!("{taken:?}") };
    world.replicas[0].put_back(start, on_credit, 10);
    world.rest();
    assert_eq!(world.kept(), 5);
}
