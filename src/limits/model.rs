//! The limiter against the naive reference: random calls, answers, edits and overrides, each outcome compared.

use super::{
    Mode, Policy, Scope, Subject, TierPlan, Unit,
    fixture::{HOUR, World, concurrent, policy, shadow},
    reference::{Books, Event, Numbers, applies, numbers, owed, place},
};
use crate::ids::UserId;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

#[derive(Clone, Debug)]
enum Act {
    Wait(Duration),
    Ask {
        who: usize,
        cost: u32,
    },
    Edit(Vec<Policy>),
    /// Other numbers for one policy, for so long.
    Except(Policy, Duration),
    /// The request that has been served for longest is answered.
    Answer,
    Sweep,
}

fn some_policy(name: &'static str, scope: Scope) -> impl Strategy<Value = Policy> {
    let window = select(vec![1, 7, 60, 3_600, 86_400]).prop_map(Duration::from_secs);
    (1..50_u32, window, 1..60_u32, prop::bool::weighted(0.2)).prop_map(
        move |(quota, window, burst, in_shadow)| {
            let policy = Policy { burst, ..policy(name, scope, quota, window) };
            if in_shadow { shadow(policy) } else { policy }
        },
    )
}

fn some_policies() -> impl Strategy<Value = Vec<Policy>> {
    let user = some_policy("user", Scope::User);
    let slow = some_policy("slow", Scope::User);
    let key = some_policy("key", Scope::ApiKey);
    let org = some_policy("org", Scope::Org);
    (user, slow, key, org)
        .prop_map(|(user, slow, key, org)| vec![user, slow, key, org])
        .prop_filter("compiles", |policies: &Vec<Policy>| {
            policies.iter().all(|policy| policy.validate().is_empty())
        })
}

fn some_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1..5_000_000_u64).prop_map(|micros| Act::Wait(Duration::from_micros(micros))),
        1 => (1..100_000_u64).prop_map(|seconds| Act::Wait(Duration::from_secs(seconds))),
        12 => (0..3_usize, 0..12_u32).prop_map(|(who, cost)| Act::Ask { who, cost }),
        1 => some_policies().prop_map(Act::Edit),
        1 => (some_policies(), 0..4_usize, 1..10_000_u64).prop_map(|(numbers, place, seconds)| {
            Act::Except(numbers[place].clone(), Duration::from_secs(seconds))
        }),
        6 => Just(Act::Answer),
        1 => Just(Act::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_limiter_decides_as_the_list_of_calls_does(
        first in some_policies().prop_flat_map(|all| subsequence(all, 0..=4)),
        places in 1..4_u32, in_shadow in prop::bool::weighted(0.2), acts in vec(some_act(), 1..150),
    ) {
        let mut world = World::new();
        let busy = concurrent("busy", Scope::Org, places);
        let busy = if in_shadow { shadow(busy) } else { busy };
        let mut versions = vec![world.tier(first.into_iter().chain([busy.clone()]))];
        let mut tier = TierPlan::new(&versions[0], &[]).unwrap();
        let mut books = Books {
            policies: versions[0].policies.clone(),
            overrides: Vec::new(),
            ended: 0,
            whos: [world.user, Subject::User(UserId::new()), world.key],
            ledger: BTreeMap::new(),
        };
        books.change(world.clock.now(), |_| true);
        let mut plan = books.plan(&tier, world.clock.now());
        // The requests that are being served, and whether each has a place.
        let mut served = VecDeque::new();
        for act in acts {
            if books.end_overrides(world.clock.now()) {
                plan = books.plan(&tier, world.clock.now());
            }
            match act {
                Act::Wait(time) => world.clock.advance(time),
                Act::Answer => drop(served.pop_front()),
                Act::Sweep => {
                    for _ in 0..64 {
                        world.limiter.sweep(|_, _| Some(Arc::clone(&plan)));
                    }
                }
                Act::Edit(policies) => {
                    world.clock.advance(Duration::from_micros(1));
                    books.end_overrides(world.clock.now());
                    // A policy that is taken away may be forgotten, so none is; `first` says which there are.
                    let kept = |policy: &Policy| versions[0].policies.iter().any(|old| old.name == policy.name);
                    let version = world.tier(policies.into_iter().filter(kept).chain([busy.clone()]));
                    books.policies.clone_from(&version.policies);
                    books.change(world.clock.now(), |_| true);
                    tier = TierPlan::new(&version, &versions).unwrap();
                    plan = books.plan(&tier, world.clock.now());
                    versions.push(version);
                }
                Act::Except(numbers, lasting) => {
                    world.clock.advance(Duration::from_micros(1));
                    books.end_overrides(world.clock.now());
                    books.except(&numbers, world.clock.now(), lasting);
                    plan = books.plan(&tier, world.clock.now());
                }
                Act::Ask { who, cost } => {
                    let now = world.clock.micros() * 1_000;
                    let policies = books.in_force(world.clock.now());
                    let taken = served.iter().filter(|(_, has_place)| *has_place).count();
                    let held: Vec<_> =
                        policies.iter().filter(|policy| applies(policy, &policies, books.whos[who])).collect();
                    let fits = |policy: &Policy| {
                        if policy.unit == Unit::Concurrent {
                            return cost == 0 || taken < places as usize;
                        }
                        let Numbers { interval, burst } = numbers(policy);
                        let debt = owed(&books.ledger[&place(policy, who)], now);
                        cost == 0 || debt + u64::from(cost) * interval <= u64::from(burst) * interval
                    };
                    let refused: Vec<_> = held.iter().filter(|policy| !fits(policy)).collect();
                    let admitted = refused.iter().all(|policy| policy.mode == Mode::Shadow);
                    let fitting: Vec<_> = held.iter().filter(|policy| fits(policy)).collect();
                    let takes_place = admitted && cost > 0 && fits(&busy);
                    let after = taken + usize::from(takes_place);
                    if admitted {
                        for policy in fitting {
                            books.ledger.entry(place(policy, who)).or_default().push(Event::Charge(now, cost));
                        }
                    }

                    let foreseen = world.limiter.peek(world.org, books.whos[who], &plan, cost);
                    let decision = world.limiter.decide(world.org, books.whos[who], &plan, cost);
                    prop_assert_eq!(decision.admitted, admitted);
                    let readings = decision.readings();
                    prop_assert_eq!(readings.len(), held.len());
                    for policy in &held {
                        let reading = readings.iter().find(|reading| reading.policy == policy.name).unwrap();
                        if policy.unit == Unit::Concurrent {
                            prop_assert_eq!(reading.used as usize, after);
                            prop_assert_eq!(reading.remaining, places - reading.used);
                        } else {
                            let debt = owed(&books.ledger[&place(policy, who)], now);
                            let Numbers { interval, burst } = numbers(policy);
                            prop_assert_eq!(u64::from(reading.used), debt.div_ceil(interval));
                            prop_assert_eq!(reading.used + reading.remaining, burst);
                        }
                        prop_assert_eq!(reading.violated, refused.iter().any(|other| other.name == policy.name));
                        let before = foreseen.iter().find(|reading| reading.policy == policy.name).unwrap();
                        prop_assert_eq!(before.violated, reading.violated);
                    }
                    if let Some(wait) = decision.retry_after() {
                        prop_assert!(!admitted);
                        prop_assert!(readings.iter().filter(|reading| reading.violated && !reading.shadow)
                            .all(|reading| reading.reset_seconds <= wait));
                    }
                    served.push_back((decision, takes_place));
                }
            }
        }
    }

    #[test]
    fn in_no_span_of_time_passes_more_than_the_burst_and_what_came_back(
        quota in 1..200_u32, window in 1..4_000_u32, burst in 1..100_u32,
        calls in vec((0..3_000_000_u64, 1..5_u32), 1..200),
    ) {
        let policy = Policy { burst, ..policy("user", Scope::User, quota, Duration::from_secs(window.into())) };
        prop_assume!(policy.validate().is_empty());
        let Numbers { interval, .. } = numbers(&policy);
        let mut world = World::new();
        let plan = world.plan([policy]);
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (wait, cost) in calls {
            world.clock.advance(Duration::from_micros(wait));
            if world.ask(&plan, cost).admitted {
                passed.push((world.clock.micros() * 1_000, cost.into()));
            }
        }
        for (first, (from, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (until, cost) in &passed[first..] {
                sum += cost;
                prop_assert!(sum <= u64::from(burst) + (until - from) / interval);
            }
        }
    }

    #[test]
    fn the_promised_wait_is_exact(quota in 1..100_u32, burst in 1..50_u32, before in vec(1..5_u32, 0..60), cost in 1..50_u32) {
        let policy = Policy { burst, ..policy("user", Scope::User, quota, HOUR) };
        prop_assume!(policy.validate().is_empty());
        let cost = 1 + cost % burst;
        let mut world = World::new();
        let plan = world.plan([policy]);
        for cost in before {
            world.ask(&plan, cost);
        }
        let refused = world.ask(&plan, cost);
        if refused.admitted {
            return Ok(());
        }
        let next = refused.readings()[0].next_at.unwrap();
        let wait = Duration::try_from(next - world.clock.now()).unwrap();
        prop_assert_eq!(u128::from(refused.retry_after().unwrap()), wait.as_nanos().div_ceil(1_000_000_000));
        // The clock ticks in microseconds.
        let ticks = Duration::from_micros(u64::try_from(wait.as_nanos().div_ceil(1_000)).unwrap());
        world.clock.advance(ticks.saturating_sub(Duration::from_micros(1)));
        prop_assert!(!world.ask(&plan, cost).admitted);
        world.clock.advance(Duration::from_micros(1));
        prop_assert!(world.ask(&plan, cost).admitted);
    }

    #[test]
    fn shadows_change_nothing_that_is_enforced(
        policies in some_policies(), shadows in some_policies(), acts in vec(some_act(), 1..100),
    ) {
        let enforced = policies.into_iter().filter(|policy| policy.mode == Mode::Enforce);
        let enforced: Vec<_> = enforced.collect();
        let extra = shadows.into_iter().enumerate().map(|(place, policy)| {
            let unit = if place == 0 { Unit::Concurrent } else { Unit::Requests };
            Policy { name: format!("trial-{}", policy.name), unit, ..shadow(policy) }
        });
        let mut plain = World::new();
        let mut trial = World::at(plain.clock.clone());
        let plain_plan = plain.plan(enforced.clone());
        let trial_plan = trial.plan(extra.chain(enforced).collect::<Vec<_>>());
        for act in acts {
            match act {
                Act::Wait(time) => plain.clock.advance(time),
                Act::Ask { who, cost } => {
                    let left = plain.limiter.decide(plain.org, [plain.user, plain.key][who % 2], &plain_plan, cost);
                    let right = trial.limiter.decide(trial.org, [trial.user, trial.key][who % 2], &trial_plan, cost);
                    prop_assert_eq!(left.admitted, right.admitted);
                    prop_assert_eq!(left.headers(), right.headers());
                    let right: Vec<_> = right.readings().into_iter().filter(|reading| !reading.shadow).collect();
                    prop_assert_eq!(left.readings(), right);
                }
                _ => {}
            }
        }
    }
}
