//! How exactly the limits are kept: what was decided, by what count, and what turned out to be wrong of it.
//!
//! Counted in memory, and written down once a second, as [`Usage`](super::Usage) is. Only what is counted over time can
//! be counted inexactly: months and places among concurrent requests are not in it, nor are shadows, which refuse nobody,
//! and requests that cost nothing.

mod counting;
mod store;
mod told;

pub use counting::Counting;
pub use store::sweep_accuracy;

use super::Decision;
use crate::{clock::Clock, error::Result, ids::OrgId, metrics::Text, tenancy::PlatformDb};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
};

/// Orgs share a lock with one in so many others.
const SHARDS: usize = 64;
/// Rows that wait to be written: a day of a dozen policies. What comes beyond, while nothing can be written, is told to
/// Prometheus alone.
const MOST: usize = 20_000;
/// In microseconds.
const MINUTE: u64 = 60_000_000;

pub struct Accuracy {
    clock: Clock,
    /// Since it was last gathered.
    shards: Box<[Mutex<Tiers>]>,
    gathered: Mutex<Gathered>,
}

type Named<T> = Vec<(Box<str>, T)>;
/// By tier, by policy, and by how it was counted.
type Tiers = Named<Named<[Counts; 3]>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    decisions: i64,
    admitted_units: i64,
    refused: i64,
    over_units: i64,
    under_units: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tier: Box<str>,
    policy: Box<str>,
    counting: Counting,
}

/// In the order of the keys, or replicas that write would wait for each other in a circle.
#[derive(Default)]
struct Gathered {
    /// Since the process began.
    totals: BTreeMap<Key, Counts>,
    /// By minutes since 1970; all that is lost when the process is killed.
    unwritten: BTreeMap<(u64, Key), Counts>,
}

impl Accuracy {
    pub fn new(clock: Clock) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { clock, shards, gathered: Mutex::default() }
    }

    /// Counts one decision about somebody in `org`.
    pub(super) fn count(&self, org: OrgId, decision: &Decision) {
        if decision.cost == 0 {
            return;
        }
        let units = if decision.admitted { i64::from(decision.cost) } else { 0 };
        // The last byte of a uuid v7 is random.
        let mut tiers = self.shards[usize::from(org.uuid().as_bytes()[15]) % SHARDS].lock();
        let policies = of(&mut tiers, decision.tier());
        let limits = decision.each().filter(|(rule, _)| rule.bucket().is_some() && !rule.is_shadow());
        for (rule, mark) in limits {
            let counts = &mut of(policies, &rule.policy.name)[decision.counting() as usize];
            counts.decisions += 1;
            counts.admitted_units += units;
            counts.refused += i64::from(!mark.fits());
        }
    }

    /// Counts what turned out when replicas settled with Redis: units that were admitted beyond the limit, and units that
    /// were refused while other replicas held as many unused.
    pub fn misjudged(&self, tier: &str, policy: &str, over: u64, under: u64) {
        if (over, under) == (0, 0) {
            return;
        }
        let units = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        let mut tiers = self.shards[0].lock();
        let counts = &mut of(of(&mut tiers, tier), policy)[Counting::Leased as usize];
        counts.over_units += units(over);
        counts.under_units += units(under);
    }

    /// Adds what was counted to what is written. On an error it is kept for the next time; if it can't be known whether
    /// a write was committed it may be written twice.
    pub async fn flush(&self, platform: &PlatformDb) -> Result<()> {
        let unwritten = mem::take(&mut self.gather().unwritten);
        if unwritten.is_empty() {
            return Ok(());
        }
        let written = store::write(platform, &unwritten).await;
        if written.is_err() {
            let mut gathered = self.gathered.lock();
            for (key, counts) in unwritten {
                gathered.unwritten.entry(key).or_default().add(counts);
            }
        }
        written
    }

    /// Since the process began.
    pub(super) fn tell(&self, text: &mut Text) {
        told::tell(&self.gather().totals, text);
    }

    /// In the minute that it is now, which is at most a second late.
    fn gather(&self) -> MutexGuard<'_, Gathered> {
        let minute = self.clock.micros() / MINUTE;
        let mut gathered = self.gathered.lock();
        for shard in &self.shards {
            for (tier, policies) in mem::take(&mut *shard.lock()) {
                for (policy, counted) in policies {
                    for (counting, counts) in Counting::ALL.into_iter().zip(counted) {
                        let key = Key { tier: tier.clone(), policy: policy.clone(), counting };
                        gathered.add(minute, key, counts);
                    }
                }
            }
        }
        gathered
    }
}

impl Gathered {
    fn add(&mut self, minute: u64, key: Key, counts: Counts) {
        if counts == Counts::default() {
            return;
        }
        self.totals.entry(key.clone()).or_default().add(counts);
        let full = self.unwritten.len() >= MOST;
        match self.unwritten.entry((minute, key)) {
            // Not written, but told.
            Entry::Vacant(_) if full => {}
            place => place.or_default().add(counts),
        }
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.admitted_units += other.admitted_units;
        self.refused += other.refused;
        self.over_units += other.over_units;
        self.under_units += other.under_units;
    }
}

/// What is kept under this name; there are few.
fn of<'c, T: Default>(all: &'c mut Named<T>, name: &str) -> &'c mut T {
    let place = all.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
        all.push((name.into(), T::default()));
        all.len() - 1
    });
    &mut all[place].1
}

#[cfg(test)]
mod tests {
    use super::super::{
        Scope,
        fixture::{HOUR, World, concurrent, policy, shadow},
    };
    use super::*;
    use std::time::Duration;

    fn told(accuracy: &Accuracy) -> Vec<String> {
        let mut text = Text::default();
        accuracy.tell(&mut text);
        let lines = text.into_string();
        lines.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn counts(accuracy: &Accuracy) -> Vec<(String, Counting, [i64; 5])> {
        let row = |(key, counts): (&Key, &Counts)| {
            let Counts { decisions, admitted_units, refused, over_units, under_units } = *counts;
            let of = format!("{}/{}", key.tier, key.policy);
            (of, key.counting, [decisions, admitted_units, refused, over_units, under_units])
        };
        accuracy.gather().totals.iter().map(row).collect()
    }

    #[test]
    fn each_limit_that_refuses_counts_what_it_judged_and_nothing_else_does() {
        let mut world = World::new();
        let plan = world.plan([
            policy("user", Scope::User, 5, HOUR),
            policy("org", Scope::Org, 9, HOUR),
            shadow(policy("trial", Scope::Org, 1, HOUR)),
            concurrent("busy", Scope::Org, 1),
        ]);
        let accuracy = Accuracy::new(world.clock.clone());
        for cost in [3, 0, 2, 1] {
            accuracy.count(world.org, &world.ask(&plan, cost));
        }
        let expected = [[3, 5, 0, 0, 0], [3, 5, 1, 0, 0]];
        let names = ["free/org", "free/user"].map(str::to_owned);
        assert_eq!(
            counts(&accuracy),
            names
                .into_iter()
                .zip(expected)
                .map(|(of, counts)| (of, Counting::Exact, counts))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_counted_differently_is_told_apart_and_what_was_misjudged_is_of_those_who_lease() {
        let mut world = World::new();
        let plan = world.plan([policy("org", Scope::Org, 9, HOUR)]);
        let accuracy = Accuracy::new(world.clock.clone());
        accuracy.count(world.org, &world.ask(&plan, 4).counted(Counting::Leased));
        accuracy.count(world.org, &world.ask(&plan, 2).counted(Counting::Degraded));
        accuracy.misjudged("free", "org", 2, 1);
        accuracy.misjudged("free", "org", 0, 0);
        accuracy.count(world.org, &world.ask(&plan, 4).counted(Counting::Leased));
        assert_eq!(
            counts(&accuracy),
            [
                ("free/org".to_owned(), Counting::Leased, [2, 4, 1, 2, 1]),
                ("free/org".to_owned(), Counting::Degraded, [1, 2, 0, 0, 0])
            ]
        );
        for line in [
            r#"insula_limit_decisions_total{tier="free",policy="org",counting="leased",outcome="passed"} 1"#,
            r#"insula_limit_decisions_total{tier="free",policy="org",counting="leased",outcome="refused"} 1"#,
            r#"insula_limit_admitted_units_total{tier="free",policy="org",counting="degraded"} 2"#,
            r#"insula_limit_over_units_total{tier="free",policy="org"} 2"#,
            r#"insula_limit_under_units_total{tier="free",policy="org"} 1"#,
        ] {
            assert!(
                told(&accuracy).iter().any(|told| told == line),
                "{line} is not in {:?}",
                told(&accuracy)
            );
        }
    }

    #[test]
    fn what_is_told_twice_is_written_once_and_in_the_minute_it_was_counted() {
        let mut world = World::new();
        let plan = world.plan([policy("org", Scope::Org, 9, HOUR)]);
        let accuracy = Accuracy::new(world.clock.clone());
        for _ in 0..2 {
            accuracy.count(world.org, &world.ask(&plan, 1));
            assert_eq!(told(&accuracy), told(&accuracy));
            world.clock.advance(Duration::from_mins(1));
        }
        let unwritten: Vec<_> = mem::take(&mut accuracy.gather().unwritten).into_values().collect();
        assert_eq!(unwritten.iter().map(|counts| counts.decisions).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(counts(&accuracy)[0].2, [2, 2, 0, 0, 0], "the totals stay");
    }
}
