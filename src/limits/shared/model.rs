//! The script against the local limiter: told the same time, both decide the same.

use super::{
    super::{
        Policy, Scope, TierPlan,
        fixture::{HOUR, World, policy, shadow},
    },
    keys,
    rig::Rig,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{sync::Arc, time::Duration};

#[derive(Clone, Debug)]
enum Act {
    Wait(Duration),
    Ask(usize, u32),
    Edit(Vec<Policy>),
}

fn some_policy(name: &'static str, scope: Scope) -> impl Strategy<Value = Policy> {
    let window = select(vec![1, 7, 60, 3_600, 86_400]).prop_map(Duration::from_secs);
    (1..50_u32, window, 8..60_u32, prop::bool::weighted(0.2)).prop_map(
        move |(quota, window, burst, in_shadow)| {
            let policy = Policy { burst, ..policy(name, scope, quota, window) };
            if in_shadow { shadow(policy) } else { policy }
        },
    )
}

fn some_policies() -> impl Strategy<Value = Vec<Policy>> {
    [some_policy("user", Scope::User).boxed(), some_policy("org", Scope::Org).boxed()]
        .prop_map(Vec::from)
        .prop_filter("compiles", |all| all.iter().all(|policy| policy.validate().is_empty()))
}

fn some_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1..5_000_000_u64).prop_map(|micros| Act::Wait(Duration::from_micros(micros))),
        1 => (1..100_000_u64).prop_map(|seconds| Act::Wait(Duration::from_secs(seconds))),
        12 => (0..2_usize, 1..8_u32).prop_map(|(who, cost)| Act::Ask(who, cost)),
        1 => some_policies().prop_map(Act::Edit),
    ]
}

#[test]
fn the_script_decides_as_the_local_limiter_does() {
    let rig = parking_lot::Mutex::new(Rig::start("model"));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) };
    proptest!(config, |(first in some_policies(), acts in vec(some_act(), 1..120))| {
        let mut world = World::new();
        let whos = [world.user, world.key];
        let mut plan = world.plan(first);
        for act in acts {
            match act {
                Act::Wait(time) => world.clock.advance(time),
                Act::Edit(policies) => {
                    world.clock.advance(Duration::from_micros(1));
                    plan = world.plan(policies);
                    // A change that a cell sleeps through is replayed by the local limiter only.
                    for who in whos {
                        rig.lock().need(&world, who, &plan, 1);
                        world.limiter.decide(world.org, who, &plan, 1);
                    }
                }
                Act::Ask(who, cost) => {
                    let decision = world.limiter.decide(world.org, whos[who], &plan, cost);
                    let answer = rig.lock().need(&world, whos[who], &plan, cost);
                    let view = plan.view(whos[who]);
                    for (rule, (fits, used)) in view.rules.iter().zip(answer) {
                        let readings = decision.readings();
                        let reading = readings.iter().find(|reading| reading.policy == rule.policy.name).unwrap();
                        prop_assert_eq!((fits, used), (!reading.violated, reading.used), "{}", reading.policy);
                    }
                }
            }
        }
    });
}

#[test]
fn a_unit_is_back_to_the_microsecond_and_seven_a_minute_are_seven() {
    let mut rig = Rig::start("units");
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 7, Duration::from_mins(1))]);
    for used in 1..=7 {
        assert_eq!(rig.need(&world, world.user, &plan, 1), [(true, used)]);
    }
    world.clock.advance(Duration::from_micros(8_571_428));
    assert_eq!(rig.need(&world, world.user, &plan, 1), [(false, 7)]);
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(rig.need(&world, world.user, &plan, 1), [(true, 7)]);
}

#[test]
fn idle_cells_vanish_and_a_clock_set_back_locks_nobody_out() {
    let mut rig = Rig::start("idle");
    let mut world = World::new();
    let plan: Arc<TierPlan> = world.plan([policy("user", Scope::User, 10, HOUR)]);
    world.clock.advance(HOUR * 24);
    assert_eq!(rig.need(&world, world.user, &plan, 10), [(true, 10)]);
    let key = keys::cell(world.org, Some(world.user), &plan.rules()[0]);
    let left: u64 = redis::cmd("PTTL").arg(&key).query(&mut rig.connection).unwrap();
    assert!((3_600_000..=3_660_000).contains(&left), "{left}");

    world.clock = crate::clock::Clock::frozen();
    assert_eq!(rig.need(&world, world.user, &plan, 1), [(false, 10)]);
    world.clock.advance(HOUR);
    assert_eq!(rig.need(&world, world.user, &plan, 10), [(true, 10)]);
}
