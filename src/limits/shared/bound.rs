//! However replicas, their leases and Redis play together: no more passes than is published.

use super::{
    super::{
        Policy, Scope,
        fixture::{HOUR, policy},
    },
    fleet::{Act, Fleet, REPLICAS},
    rig::Rig,
};
use proptest::{collection::vec, prelude::*};
use std::time::Duration;

fn some_act() -> impl Strategy<Value = Act> {
    let replica = || 0..3_usize;
    prop_oneof![
        6 => (1..40_000_u64).prop_map(|micros| Act::Wait(Duration::from_micros(micros))),
        2 => (100..900_u64).prop_map(|millis| Act::Wait(Duration::from_millis(millis))),
        20 => (replica(), 1..4_u32).prop_map(|(replica, cost)| Act::Call(replica, cost)),
        16 => (0..4_usize).prop_map(Act::Answer),
        1 => (0..4_usize).prop_map(Act::Lose),
        4 => replica().prop_map(Act::Tell),
    ]
}

fn some_act_or_fault() -> impl Strategy<Value = Act> {
    prop_oneof![
        40 => some_act(),
        1 => (0..3_usize).prop_map(Act::Kill),
        1 => Just(Act::Flush),
        1 => (1..5_000_u64).prop_map(Act::SetBack),
        1 => (1..5_000_u64).prop_map(Act::SetForward),
        3 => Just(Act::Turn),
    ]
}

fn credit(policy: &Policy) -> u64 {
    if policy.strict { 0 } else { policy.burst.div_ceil(4 * REPLICAS).into() }
}

fn some_policy() -> impl Strategy<Value = Policy> {
    let window = prop::sample::select(vec![1, 2, 10, 60, 86_400]);
    let policy = (1..100_u32, window, 4..60_u32, any::<bool>()).prop_map(|(quota, window, burst, strict)| {
        let window = Duration::from_secs(window);
        Policy { burst, strict, ..policy("org", Scope::Org, quota, window) }
    });
    policy.prop_filter("is valid", |policy| policy.validate().is_empty())
}

/// Calls one replica `times` times, and hears every answer.
fn use_up(fleet: &mut Fleet, replica: usize, times: u32) -> usize {
    let before = fleet.passed.len();
    for _ in 0..times {
        fleet.act(Act::Call(replica, 1));
        while !fleet.under_way.is_empty() {
            fleet.answer(0, true);
        }
    }
    fleet.passed.len() - before
}

#[test]
fn what_passes_on_credit_beyond_the_limit_is_measured_and_owed() {
    let mut rig = Rig::start("over");
    let mut fleet = Fleet::new(&mut rig, [policy("org", Scope::Org, 24, HOUR)]);
    assert_eq!((use_up(&mut fleet, 0, 30), fleet.over), (24, 0));
    // They have never heard of it.
    assert_eq!([1, 2].map(|replica| use_up(&mut fleet, replica, 10)), [1, 1]);
    assert_eq!((fleet.over, fleet.under), (2, 0));

    // A unit comes back in 150 s, and two are owed.
    fleet.act(Act::Wait(Duration::from_secs(450) - Duration::from_millis(1)));
    assert_eq!(use_up(&mut fleet, 0, 3), 0);
    fleet.act(Act::Wait(Duration::from_secs(1)));
    assert_eq!((use_up(&mut fleet, 0, 3), fleet.over), (1, 2));
}

#[test]
fn what_is_refused_while_as_much_lies_unused_elsewhere_is_measured() {
    let mut rig = Rig::start("under");
    let mut fleet = Fleet::new(&mut rig, [policy("org", Scope::Org, 24, HOUR)]);
    // So fast that it leases ahead.
    let mut by_the_first = 0;
    for _ in 0..6 {
        fleet.act(Act::Wait(Duration::from_millis(10)));
        by_the_first += use_up(&mut fleet, 0, 2);
    }
    let by_the_second = use_up(&mut fleet, 1, 30);
    let unused = 24 - by_the_first - by_the_second;
    assert!(unused > 0, "{by_the_first} and {by_the_second}");

    fleet.act(Act::Wait(Duration::from_millis(300)));
    // What the second refused by itself it has not told yet.
    assert_eq!((fleet.over, fleet.under), (0, 1));
    assert_eq!(use_up(&mut fleet, 2, 10), unused, "whoever asks next has them");
}

#[test]
fn what_an_earlier_redis_leased_is_not_handed_back_to_a_later_one() {
    let mut rig = Rig::start("later");
    let mut fleet = Fleet::new(&mut rig, [policy("org", Scope::Org, 24, HOUR)]);
    for _ in 0..6 {
        fleet.act(Act::Wait(Duration::from_millis(10)));
        use_up(&mut fleet, 0, 2);
    }
    fleet.act(Act::Flush);
    assert_eq!(use_up(&mut fleet, 1, 1), 1, "on credit, of which it is told too late");
    fleet.act(Act::Wait(Duration::from_millis(300)));
    assert_eq!([0, 1, 2].map(|replica| use_up(&mut fleet, replica, 10)), [0, 0, 1]);
}

#[test]
fn what_was_admitted_while_redis_was_away_is_charged_when_it_answers() {
    let mut rig = Rig::start("away");
    let mut fleet = Fleet::new(&mut rig, [policy("org", Scope::Org, 24, HOUR)]);
    fleet.turn();
    assert_eq!([0, 1, 2].map(|replica| use_up(&mut fleet, replica, 10)), [2, 2, 2]);
    fleet.turn();
    fleet.act(Act::Wait(Duration::from_millis(100)));
    fleet.turn();
    assert_eq!(use_up(&mut fleet, 1, 30), 24 - 6);
}

#[test]
fn a_flood_of_what_is_refused_does_not_reach_redis() {
    let mut rig = Rig::start("flood");
    let mut fleet = Fleet::new(&mut rig, [policy("org", Scope::Org, 24, HOUR)]);
    assert_eq!(use_up(&mut fleet, 0, 30), 24);
    let mut asked = 0;
    for _ in 0..10_000 {
        fleet.act(Act::Wait(Duration::from_micros(100)));
        fleet.act(Act::Call(0, 1));
        asked += fleet.under_way.len();
        while !fleet.under_way.is_empty() {
            fleet.answer(0, true);
        }
    }
    assert!(asked <= 5, "{asked} times in a second");
}

fn hold(act: impl Strategy<Value = Act>, name: &str) {
    let rig = parking_lot::Mutex::new(Rig::start(name));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
    proptest!(config, |(policy in some_policy(), acts in vec(act, 1..400))| {
        let mut rig = rig.lock();
        let mut fleet = Fleet::new(&mut rig, [policy.clone()]);
        for act in acts {
            fleet.act(act);
        }
        // Who is killed has spent its credit untold, and so has each in an outage.
        let credits = u64::from(REPLICAS) * (1 + fleet.outages) + fleet.kills;
        // What would have come back in the time that Redis leapt over is there at once.
        let late = (500_000_000 + fleet.forward).div_ceil(policy.interval());
        let most = u64::from(policy.burst) + late + credits * credit(&policy);
        let worst = fleet.worst(policy.interval());
        prop_assert!(worst <= most, "{worst} > {most}");
    });
}

#[test]
fn no_more_passes_in_any_span_of_time_than_is_published() {
    hold(some_act(), "bound");
}

#[test]
fn nor_while_replicas_die_and_redis_forgets_or_is_away() {
    hold(some_act_or_fault(), "bound-faults");
}
