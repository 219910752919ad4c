//! The traps of this trade, each with the test that would fall into it.

use super::{
    Scope, Subject, TierPlan,
    fixture::{HOUR, MINUTE, SECOND, World, concurrent, policy, shadow},
};
use crate::ids::{OrgId, UserId};
use std::sync::Arc;

#[test]
fn a_cost_above_the_burst_is_refused_for_good_and_charges_nothing() {
    let mut world = World::new();
    let plan = world.plan([super::Policy { burst: 10, ..policy("user", Scope::User, 1, 24 * HOUR) }]);
    // 213505 units wrap to nothing inside governor.
    let decision = world.ask(&plan, 213_505);
    assert!(!decision.admitted && decision.cost_exceeds_burst());
    assert_eq!(decision.retry_after(), None);
    assert_eq!(decision.readings()[0].next_at, None);
    assert_eq!(world.reading(&plan, "user").used, 0);
}

#[test]
fn a_refused_reading_says_that_nothing_is_left() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 10, HOUR)]);
    assert!(world.ask(&plan, 10).admitted);
    let refused = world.ask(&plan, 1);
    let reading = &refused.readings()[0];
    assert_eq!((reading.used, reading.remaining, reading.violated), (10, 0, true));
    assert_eq!((refused.retry_after(), reading.reset_seconds), (Some(360), 360));
    assert_eq!(reading.next_at, Some(world.clock.now() + 360 * time::Duration::SECOND));
    assert_eq!(reading.source, "tier:free@v1");
}

#[test]
fn a_new_version_does_not_ban_who_was_active() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 10, MINUTE)]);
    assert!(world.ask(&plan, 4).admitted);
    world.clock.advance(SECOND);
    let plan = world.plan([policy("user", Scope::User, 10, MINUTE)]);
    assert_eq!(world.passing(&plan, 10), 6);
}

#[test]
fn a_refusal_burns_nothing_elsewhere_and_names_all_that_refused() {
    let mut world = World::new();
    let plan = world.plan([
        policy("fast", Scope::User, 2, SECOND),
        policy("slow", Scope::User, 3, HOUR),
        policy("org", Scope::Org, 100, HOUR),
    ]);
    assert_eq!(world.passing(&plan, 2), 2);
    assert_eq!(world.ask(&plan, 1).violated().collect::<Vec<_>>(), ["fast"]);
    assert_eq!(world.ask(&plan, 2).violated().collect::<Vec<_>>(), ["fast", "slow"]);
    assert_eq!(world.passing(&plan, 1_000), 0);
    assert_eq!(world.reading(&plan, "slow").used, 2);
    assert_eq!(world.reading(&plan, "org").used, 2);
}

#[test]
fn a_shadow_counts_what_fits_and_refuses_nothing() {
    let mut world = World::new();
    let plan =
        world.plan([policy("user", Scope::User, 5, HOUR), shadow(policy("trial", Scope::User, 3, HOUR))]);
    let refused_in_shadow: Vec<_> =
        (0..6).map(|_| world.ask(&plan, 1)).map(|decision| decision.violated_in_shadow().count()).collect();
    assert_eq!(refused_in_shadow, [0, 0, 0, 1, 1, 1]);
    assert_eq!(world.reading(&plan, "user").used, 5);
    assert_eq!(world.reading(&plan, "trial").used, 3);
    let last = world.ask(&plan, 1);
    assert_eq!(last.violated().collect::<Vec<_>>(), ["user"]);
    assert_eq!(last.retry_after(), Some(720));
}

#[test]
fn a_key_is_held_by_the_policies_for_keys_or_else_by_those_for_users() {
    let mut world = World::new();
    let names = |plan: &Arc<TierPlan>, world: &World| -> Vec<String> {
        let readings = world.limiter.decide(world.org, world.key, plan, 0).readings();
        readings.into_iter().map(|reading| reading.policy).collect()
    };
    let user = policy("user", Scope::User, 10, HOUR);
    let key = policy("key", Scope::ApiKey, 20, HOUR);
    let plan = world.plan([user.clone()]);
    assert_eq!(names(&plan, &world), ["user"]);
    let plan = world.plan([user.clone(), key.clone()]);
    assert_eq!(names(&plan, &world), ["key"]);
    let plan = world.plan([user.clone(), shadow(key)]);
    assert_eq!(names(&plan, &world), ["user", "key"], "a shadow must not lift what is enforced");
    let plan = world.plan([user, concurrent("key-busy", Scope::ApiKey, 2)]);
    assert_eq!(names(&plan, &world), ["key-busy", "user"], "a count of places does not replace a rate");
}

#[test]
fn users_and_orgs_have_cells_of_their_own() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 5, HOUR), policy("org", Scope::Org, 8, HOUR)]);
    let other = Subject::User(UserId::new());
    let passing = |org, who| (0..9).filter(|_| world.limiter.decide(org, who, &plan, 1).admitted).count();
    assert_eq!(
        [passing(world.org, world.user), passing(world.org, other), passing(world.org, world.key)],
        [5, 3, 0]
    );
    assert_eq!(passing(OrgId::new(), world.user), 5, "the same person in another org");
}

#[test]
fn ten_used_of_ten_an_hour_then_twenty_leaves_exactly_ten() {
    let mut world = World::new();
    let old = world.plan([policy("user", Scope::User, 10, HOUR)]);
    assert_eq!(world.passing(&old, 20), 10);
    let new = world.plan([policy("user", Scope::User, 20, HOUR)]);
    assert_eq!(world.reading(&new, "user").remaining, 10);
    assert_eq!(world.passing(&new, 20), 10);
}

#[test]
fn a_change_counts_from_when_it_took_effect_not_from_when_it_was_noticed() {
    let mut world = World::new();
    let old = world.plan([policy("user", Scope::User, 10, HOUR)]);
    assert_eq!(world.passing(&old, 10), 10);
    let new = world.plan([policy("user", Scope::User, 20, HOUR)]);
    world.clock.advance(HOUR / 4);
    assert_eq!(world.passing(&new, 20), 15, "10 were left, and a quarter of 20 came back");
}

#[test]
fn after_a_cut_nobody_owes_more_than_one_new_window() {
    let mut world = World::new();
    let old = world.plan([policy("user", Scope::User, 1_000, 24 * HOUR)]);
    assert_eq!(world.passing(&old, 1_000), 1_000);
    let new = world.plan([policy("user", Scope::User, 10, MINUTE)]);
    assert_eq!(world.ask(&new, 1).retry_after(), Some(6));
    world.clock.advance(MINUTE);
    assert_eq!(world.passing(&new, 20), 10);
}

#[test]
fn a_smaller_burst_is_empty_at_worst() {
    let mut world = World::new();
    let sixty = policy("user", Scope::User, 60, MINUTE);
    let old = world.plan([sixty.clone()]);
    assert_eq!(world.passing(&old, 60), 60);
    let new = world.plan([super::Policy { burst: 10, ..sixty }]);
    assert_eq!(world.ask(&new, 1).retry_after(), Some(1));
}

#[test]
fn who_slept_through_several_changes_has_them_replayed() {
    let mut world = World::new();
    let versions = [10, 1_000, 10].map(|quota| {
        let tier = world.tier([policy("user", Scope::User, quota, HOUR)]);
        world.clock.advance(HOUR / 10);
        tier
    });
    let first = Arc::new(TierPlan::new(&versions[0], &[]).unwrap());
    let last = Arc::new(TierPlan::new(&versions[2], &versions[..2]).unwrap());
    // All ten are used under the first version, after the third took effect: the news was late.
    assert_eq!(world.passing(&first, 10), 10);
    assert_eq!(world.passing(&last, 10), 0);
}

#[test]
fn time_under_a_version_that_was_slept_through_counts_at_its_rate() {
    let mut world = World::new();
    let first = world.tier([policy("user", Scope::User, 10, HOUR)]);
    let plan = Arc::new(TierPlan::new(&first, &[]).unwrap());
    assert_eq!(world.passing(&plan, 10), 10);
    let second = world.tier([policy("user", Scope::User, 100, HOUR)]);
    // Six minutes at 100 an hour bring 10 back.
    world.clock.advance(HOUR / 10);
    let third = world.tier([policy("user", Scope::User, 10, HOUR)]);
    let plan = Arc::new(TierPlan::new(&third, &[first, second]).unwrap());
    assert_eq!(world.passing(&plan, 20), 10);
}

#[test]
fn a_name_that_counts_something_else_has_a_count_of_its_own() {
    let mut world = World::new();
    let passing = |world: &World, plan| {
        (0..20).filter(|_| world.limiter.decide(world.org, world.key, plan, 1).admitted).count()
    };
    let of_users = policy("limit", Scope::User, 10, HOUR);
    let plan = world.plan([of_users.clone()]);
    assert_eq!(passing(&world, &plan), 10, "a key, where there are no policies for keys");
    let plan = world.plan([policy("limit", Scope::ApiKey, 10, HOUR)]);
    assert_eq!(passing(&world, &plan), 10);
    let plan = world.plan([concurrent("limit", Scope::User, 3)]);
    assert_eq!(passing(&world, &plan), 20);
    let plan = world.plan([of_users]);
    assert_eq!(passing(&world, &plan), 0, "and finds it again");
}

#[test]
fn who_moves_to_a_tier_that_is_older_than_its_own_use_keeps_it() {
    let mut world = World::new();
    let pro = world.plan([policy("user", Scope::User, 20, HOUR)]);
    world.clock.advance(240 * HOUR);
    let free = world.plan([policy("user", Scope::User, 10, HOUR)]);
    assert_eq!(world.passing(&free, 10), 10);
    assert_eq!(world.passing(&pro, 20), 10);
}

#[test]
fn a_clock_set_back_locks_nobody_out() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 10, MINUTE)]);
    world.clock.advance(24 * HOUR);
    assert_eq!(world.passing(&plan, 10), 10);
    let earlier = crate::clock::Clock::frozen();
    world.limiter.set_clock(earlier.clone());
    assert_eq!(world.ask(&plan, 1).retry_after(), Some(6));
    earlier.advance(MINUTE);
    assert_eq!(world.passing(&plan, 20), 10);
}

#[test]
fn a_clock_set_back_before_changes_locks_nobody_out_and_each_keeps_what_was_used() {
    let mut world = World::new();
    let earlier = crate::clock::Clock::frozen();
    let hourly = world.plan([policy("user", Scope::User, 10, HOUR)]);
    world.clock.advance(240 * HOUR);
    assert_eq!(world.passing(&hourly, 10), 10);
    world.limiter.set_clock(earlier);
    let fast = world.plan([policy("user", Scope::User, 10, MINUTE)]);
    assert_eq!(world.ask(&fast, 1).retry_after(), Some(6));
    let faster = world.plan([policy("user", Scope::User, 20, MINUTE)]);
    assert_eq!(world.passing(&faster, 20), 10);
}

#[test]
fn a_clock_that_leaps_ahead_and_back_gives_one_burst_and_takes_it_again() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 10, HOUR)]);
    let right = crate::clock::Clock::frozen();
    assert_eq!(world.passing(&plan, 20), 10);
    world.clock.advance(24 * HOUR);
    assert_eq!(world.passing(&plan, 20), 10);
    world.limiter.set_clock(right.clone());
    assert_eq!(world.ask(&plan, 1).retry_after(), Some(360));
    right.advance(HOUR);
    assert_eq!(world.passing(&plan, 20), 10);
}

#[test]
fn a_place_is_free_again_however_its_request_ends() {
    let mut world = World::new();
    let plan = world.plan([concurrent("busy", Scope::Org, 2), policy("user", Scope::User, 100, HOUR)]);
    let (mut first, second) = (world.ask(&plan, 50), world.ask(&plan, 1));
    assert!(first.admitted && second.admitted);
    let third = world.ask(&plan, 1);
    assert_eq!(third.violated().collect::<Vec<_>>(), ["busy"]);
    assert_eq!(third.retry_after(), Some(1));
    assert!(world.ask(&plan, 0).admitted, "what costs nothing takes no place");
    let permits = first.take_permits();
    drop(first);
    assert!(!world.ask(&plan, 1).admitted, "moved out, it is still held");
    drop(permits);
    assert!(world.ask(&plan, 1).admitted);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = world.ask(&plan, 1);
        assert!(!world.ask(&plan, 1).admitted);
        std::panic::resume_unwind(Box::new("a handler panics"));
    }));
    assert!(panicked.is_err() && world.ask(&plan, 1).admitted);
    drop(second);
    assert_eq!(world.reading(&plan, "busy").used, 0);
    assert_eq!(world.reading(&plan, "user").used, 54);
}

#[test]
fn a_sweep_forgets_who_owes_nothing_and_nobody_else() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 10, MINUTE), concurrent("busy", Scope::User, 2)]);
    let lap = |world: &World| (0..64).map(|_| world.limiter.sweep(|_, _| None)).sum::<usize>();
    let mut orgs = Vec::new();
    for _ in 0..1_000 {
        orgs.push(OrgId::new());
        drop(world.limiter.decide(orgs[orgs.len() - 1], world.user, &plan, 1));
    }
    let held = world.ask(&plan, 1);
    assert_eq!(world.limiter.remembered(), 2_002);
    // The orgs' own shelves are empty at once: this tier counts nothing by org.
    assert_eq!(lap(&world), 1_001);
    world.clock.advance(7 * SECOND);
    assert_eq!((lap(&world), world.limiter.remembered()), (1_000, 1));
    drop(held);
    assert_eq!((lap(&world), world.limiter.remembered()), (1, 0));
}

#[test]
fn a_lap_of_sweeps_sees_everybody_however_many_an_org_has() {
    let mut world = World::new();
    let plan =
        world.plan([policy("user", Scope::User, 10, MINUTE), policy("org", Scope::Org, 10_000, MINUTE)]);
    for _ in 0..10_000 {
        assert!(world.limiter.decide(world.org, Subject::User(UserId::new()), &plan, 1).admitted);
    }
    world.clock.advance(MINUTE);
    assert_eq!((0..64).map(|_| world.limiter.sweep(|_, _| None)).sum::<usize>(), 10_001);
    assert_eq!(world.limiter.remembered(), 0);
}

#[test]
fn a_sweep_does_not_forget_what_a_cut_made_slow_to_come_back() {
    let mut world = World::new();
    let old = world.plan([policy("user", Scope::User, 10, SECOND)]);
    assert_eq!(world.passing(&old, 10), 10);
    let new = world.plan([policy("user", Scope::User, 10, HOUR)]);
    world.clock.advance(MINUTE);
    for _ in 0..64 {
        world.limiter.sweep(|_, _| Some(Arc::clone(&new)));
    }
    assert_eq!(world.passing(&new, 10), 0);
}

#[test]
fn peeking_charges_nothing_and_remembers_nobody() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 10, MINUTE), policy("org", Scope::Org, 10, MINUTE)]);
    for _ in 0..20 {
        assert_eq!(world.reading(&plan, "user").remaining, 10);
    }
    assert_eq!(world.limiter.remembered(), 0);
    assert!(world.limiter.peek(world.org, world.user, &plan, 11)[0].violated);
}

#[test]
fn what_costs_nothing_passes_even_when_all_is_used() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 1, MINUTE)]);
    assert!(world.ask(&plan, 1).admitted && !world.ask(&plan, 1).admitted);
    assert!(world.ask(&plan, 0).admitted);
}

#[test]
fn many_threads_never_get_more_than_there_is() {
    let mut world = World::new();
    let plan = world.plan([policy("user", Scope::User, 600, HOUR), policy("org", Scope::Org, 1_000, HOUR)]);
    let users = [(); 4].map(|()| Subject::User(UserId::new()));
    let passed: usize = std::thread::scope(|scope| {
        let spawn = |who| {
            let (world, plan) = (&world, &plan);
            scope.spawn(move || {
                (0..1_000).filter(|_| world.limiter.decide(world.org, who, plan, 1).admitted).count()
            })
        };
        users.map(spawn).map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    assert_eq!(passed, 1_000);
}
