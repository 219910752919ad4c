//! What a decision costs: three policies decided together against three plain governor checks.

use crate::{plan, policy};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use insula::{
    clock::Clock,
    ids::{OrgId, UserId},
    limits::{Limiter, Scope, Subject, TierPlan},
};
use std::{hint::black_box, num::NonZeroU32, sync::Arc, thread, time::Instant};

const CALLS: u32 = 1_000_000;
const ROUNDS: usize = 7;

fn three(clock: &Clock, quota: u32) -> Arc<TierPlan> {
    let policies = [("fast", Scope::User), ("slow", Scope::User), ("org", Scope::Org)];
    plan(clock, policies.map(|(name, scope)| policy(name, scope, quota)).into())
}

/// Nanoseconds a call, the second best of several rounds.
fn time(mut call: impl FnMut(usize)) -> f64 {
    let mut random = 88_172_645_463_325_252_u64;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                call(usize::try_from(random >> 33).unwrap_or_default());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[1]
}

fn governors() -> [DefaultKeyedRateLimiter<u128>; 3] {
    [(); 3].map(|()| RateLimiter::keyed(Quota::per_second(NonZeroU32::MAX)))
}

pub fn measure() {
    let clock = Clock::system();
    println!("clock.micros {:.0} ns", time(|_| assert!(black_box(clock.micros()) > 0)));
    let plan_open = three(&clock, u32::MAX / 128);
    let plan_shut = three(&clock, 1);
    for orgs in [1, 1_000, 100_000] {
        let callers: Vec<_> = (0..orgs).map(|_| (OrgId::new(), Subject::User(UserId::new()))).collect();
        let limiter = Limiter::new(clock.clone());
        let decide = |plan, place: usize| {
            let (org, who) = callers[place % callers.len()];
            limiter.decide(org, who, plan, 1)
        };
        let admitted = time(|place| assert!(black_box(decide(&plan_open, place)).admitted));
        let headers = time(|place| drop(black_box(decide(&plan_open, place).headers().limit)));
        let peek = time(|place| {
            let (org, who) = callers[place % callers.len()];
            black_box(limiter.peek(org, who, &plan_open, 1));
        });
        let limiter = Limiter::new(clock.clone());
        let refused = time(|place| {
            let (org, who) = callers[place % callers.len()];
            black_box(limiter.decide(org, who, &plan_shut, 1));
        });
        let keys: Vec<u128> = callers.iter().map(|(org, _)| org.uuid().as_u128()).collect();
        let plain = governors();
        let governor = time(|place| {
            let key = keys[place % keys.len()];
            assert!(plain.iter().all(|limiter| black_box(limiter.check_key(&key)).is_ok()));
        });
        println!(
            "{orgs:>6} orgs: decide {admitted:.0} ns, refuse {refused:.0} ns, three governors {governor:.0} ns \
             ({:.2}x); decide and headers {headers:.0} ns, peek {peek:.0} ns",
            admitted / governor
        );
    }
    contend(&clock, &plan_open);
}

/// Two threads on one org, and on orgs of their own.
fn contend(clock: &Clock, plan: &Arc<TierPlan>) {
    for (name, orgs) in [("one org", [OrgId::new(); 2].map(|_| None)), ("two orgs", [Some(()), Some(())])] {
        let shared = OrgId::new();
        let limiter = Limiter::new(clock.clone());
        let slowest = thread::scope(|scope| {
            let spawn = |own: Option<()>| {
                let org = if own.is_some() { OrgId::new() } else { shared };
                let (limiter, plan) = (&limiter, Arc::clone(plan));
                scope.spawn(move || {
                    let who = Subject::User(UserId::new());
                    time(|_| drop(black_box(limiter.decide(org, who, &plan, 1))))
                })
            };
            let threads = orgs.map(spawn);
            threads.map(|thread| thread.join().unwrap_or(f64::NAN)).into_iter().fold(0.0, f64::max)
        });
        println!("2 threads, {name}: decide {slowest:.0} ns");
    }
}
