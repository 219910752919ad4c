//! How long a decision waits while a million counts are swept.

use crate::{plan, policy, watch::Watch};
use insula::{
    clock::Clock,
    ids::{OrgId, UserId},
    limits::{Limiter, Scope, Subject, TierPlan},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Each of one user, and with a count for both.
const ORGS: usize = 500_000;
/// As many sweeps as see everything once.
const LAP: usize = 64;
/// What the worker lets pass between two sweeps.
const PAUSE: Duration = Duration::from_millis(150);

struct House {
    clock: Clock,
    limiter: Limiter,
    plan: Arc<TierPlan>,
    callers: Vec<(OrgId, Subject)>,
}

/// One thread decides without a pause; another sweeps as often as the worker, or without a pause, too. A lock is held for
/// a 64th of a sweep at most: where a decision waits longer than the longest sweep that nothing interrupted, the system
/// had stopped the thread that sweeps.
pub fn measure() {
    let house = House::build();
    let (decisions, ()) = house.deciding(|| thread::sleep(Duration::from_secs(5)));
    println!("decisions while nobody sweeps: {}", decisions.summary());
    let tell = |when: &str, (decisions, sweeps): (Watch, Watch)| {
        println!("decisions while {when}: {}\n  sweeps: {}", decisions.summary(), sweeps.summary());
    };
    tell("the worker sweeps", house.deciding(|| house.sweep(LAP, PAUSE)));
    tell("sweeps follow one another", house.deciding(|| house.sweep(10 * LAP, Duration::ZERO)));
    // Nobody owes anything any more.
    house.clock.advance(Duration::from_mins(2));
    tell("a lap forgets everything", house.deciding(|| house.sweep(LAP, Duration::ZERO)));
}

impl House {
    fn build() -> Self {
        let clock = Clock::frozen();
        let policies =
            vec![policy("user", Scope::User, u32::MAX / 128), policy("org", Scope::Org, u32::MAX / 128)];
        let house = Self {
            limiter: Limiter::new(clock.clone()),
            plan: plan(&clock, policies),
            clock,
            callers: (0..ORGS).map(|_| (OrgId::new(), Subject::User(UserId::new()))).collect(),
        };
        for place in 0..ORGS {
            house.decide(place);
        }
        house
    }

    fn decide(&self, place: usize) {
        let (org, who) = self.callers[place];
        assert!(self.limiter.decide(org, who, &self.plan, 1).admitted);
    }

    fn sweep(&self, times: usize, pause: Duration) -> Watch {
        let mut watch = Watch::start();
        for _ in 0..times {
            watch.time(|| {
                self.limiter.sweep(|_, _| Some(Arc::clone(&self.plan)));
            });
            watch.pause(pause);
        }
        watch
    }

    /// What decisions of callers in turn, far from one another, take meanwhile.
    fn deciding<T>(&self, meanwhile: impl FnOnce() -> T) -> (Watch, T) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let decider = scope.spawn(|| {
                let (mut watch, mut place) = (Watch::start(), 0);
                while !over.load(Ordering::Relaxed) {
                    place = (place + 7_919) % ORGS;
                    watch.time(|| self.decide(place));
                }
                watch
            });
            let other = meanwhile();
            over.store(true, Ordering::Relaxed);
            (decider.join().unwrap(), other)
        })
    }
}
