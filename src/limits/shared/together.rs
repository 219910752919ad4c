//! Where nothing is leased ahead and nothing on credit, replicas decide together as one limiter does: whoever is asked, and
//! through changes of the tier and restarts of replicas alike.

use super::{
    super::{
        Policy, Scope,
        fixture::{World, policy, shadow},
    },
    call::Asked,
    fleet::{Fleet, REPLICAS},
    leases::Leases,
    question::{Decided, Verdict},
    rig::Rig,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Call(usize, u32),
    Edit(Vec<Policy>),
    Restart(usize),
}

fn some_policies() -> impl Strategy<Value = Vec<Policy>> {
    let some = |name: &'static str, scope: Scope| {
        let window = select(vec![7, 60, 3_600, 86_400]).prop_map(Duration::from_secs);
        (1..50_u32, window, 8..60_u32, prop::bool::weighted(0.2)).prop_map(
            move |(quota, window, burst, in_shadow)| {
                let policy = Policy { burst, strict: true, ..policy(name, scope, quota, window) };
                if in_shadow { shadow(policy) } else { policy }
            },
        )
    };
    (some("user", Scope::User), some("org", Scope::Org))
        .prop_map(|(user, org)| vec![user, org])
        .prop_filter("compiles", |all| all.iter().all(|policy| policy.validate().is_empty()))
}

fn some_step() -> impl Strategy<Value = Step> {
    let replica = || 0..usize::try_from(REPLICAS).unwrap();
    prop_oneof![
        12 => (replica(), 1..8_u32).prop_map(|(replica, cost)| Step::Call(replica, cost)),
        1 => some_policies().prop_map(Step::Edit),
        1 => replica().prop_map(Step::Restart),
    ]
}

/// Asks Redis, and hears the answer before anything else happens.
fn decided(fleet: &mut Fleet, replica: usize, cost: u32) -> Decided {
    let (call, at) = (fleet.call(cost), fleet.moment(replica));
    let mut verdict = fleet.replicas[replica].judge(&call, at);
    loop {
        match verdict {
            Verdict::Decided(decided, None) => return decided,
            Verdict::Decided(_, Some(question)) => {
                panic!(
                    "nobody is so fast: {:?}",
                    question.cells.iter().map(|asked: &Asked| asked.ask).collect::<Vec<_>>()
                )
            }
            Verdict::Ask(question) => {
                let told = fleet.told(&question);
                verdict = fleet.replicas[replica].hear(&question, Some(&told), Some(&call), at).unwrap();
            }
            Verdict::Wait(_) => panic!("nobody asks"),
        }
    }
}

fn compare(fleet: &mut Fleet, replica: usize, cost: u32) -> Result<(), TestCaseError> {
    let World { limiter, org, user, .. } = &fleet.world;
    let alone = limiter.decide(*org, *user, &fleet.plan, cost);
    let together = decided(fleet, replica, cost);
    prop_assert_eq!(together.admitted, alone.admitted);
    let names = fleet.plan.policies_of(fleet.world.user).map(|policy| policy.name.as_str());
    let mut violated: Vec<&str> =
        names.zip(&together.marks).filter(|(_, mark)| !mark.fits()).map(|(name, _)| name).collect();
    let mut expected: Vec<&str> = alone.violated().chain(alone.violated_in_shadow()).collect();
    violated.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(violated, expected);
    Ok(())
}

#[test]
fn replicas_decide_together_as_one_limiter_through_edits_and_restarts() {
    let rig = parking_lot::Mutex::new(Rig::start("together"));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
    let pauses = prop_oneof![8 => 1_000..5_000_u64, 1 => 5_000..10_000_000_u64];
    proptest!(config, |(first in some_policies(), steps in vec((pauses, some_step()), 1..80))| {
        let mut rig = rig.lock();
        let mut fleet = Fleet::new(&mut rig, first);
        for (pause, step) in steps {
            // Slowly enough that nobody leases ahead.
            fleet.world.clock.advance(Duration::from_millis(pause));
            match step {
                Step::Call(replica, cost) => compare(&mut fleet, replica, cost)?,
                Step::Restart(replica) => fleet.replicas[replica] = Leases::new(),
                Step::Edit(policies) => {
                    fleet.plan = fleet.world.plan(policies);
                    // What sleeps through several changes is replayed by the local limiter only.
                    fleet.world.clock.advance(Duration::from_secs(1));
                    compare(&mut fleet, 0, 1)?;
                }
            }
        }
    });
}
