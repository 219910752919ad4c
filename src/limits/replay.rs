//! Recorded decisions made once more: by the same engine, under other plans, at the times at which they were made.

use super::{
    Limiter,
    record::{Batch, Next, Unreadable},
    tier::{Subject, TierPlan},
};
use crate::{clock::Clock, ids::OrgId};
use std::{collections::HashMap, ops::Range, sync::Arc};

/// Decisions between two sweeps, each of a 64th of what is counted: memory holds who owes something, not who ever asked.
const SWEEP: u64 = 4_096;

/// What became of the decisions of an org on one route. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub decisions: u64,
    /// Under the plans of the replay.
    pub refused: u64,
    pub first_refused_at: Option<u64>,
    /// When it was for real.
    pub refused_really: u64,
    /// Admitted then, and refused now.
    pub newly_hurt: u64,
    pub first_newly_hurt_at: Option<u64>,
    /// Refused then, and admitted now.
    pub relieved: u64,
    pub first_relieved_at: Option<u64>,
    /// Admitted, and yet too much for a policy in shadow.
    pub refused_in_shadow: u64,
}

pub type Outcomes = Vec<(OrgId, Vec<(String, Replayed)>)>;

/// A replay under way. `plan_of` tells under which plan somebody is at the replay's time, and the microsecond from which
/// on it has to be asked again; nothing for whom it leaves out.
pub struct Replay<P> {
    plan_of: P,
    clock: Clock,
    limiter: Limiter,
    /// What is counted; what comes before only warms up.
    window: Range<u64>,
    /// In no order; never more than there are batches that overlap in time.
    open: Vec<Open>,
    routes: Vec<String>,
    orgs: HashMap<OrgId, usize>,
    tallies: Vec<(OrgId, Vec<(usize, Replayed)>)>,
    replayed: u64,
}

/// A batch of which something is left.
struct Open {
    batch: Batch,
    next: Next,
    callers: Vec<Option<Caller>>,
    /// The numbers of the batch's routes in the whole replay.
    routes: Vec<usize>,
}

struct Caller {
    org: OrgId,
    who: Subject,
    plan: Arc<TierPlan>,
    /// When the plan has to be asked for again.
    until: u64,
    /// The place of the org's tallies.
    tallies: usize,
}

impl<P: FnMut(OrgId, Subject, u64) -> Option<(Arc<TierPlan>, u64)>> Replay<P> {
    /// `clock` is frozen, and the replay's from here on: it stands at the time of each decision in turn.
    pub fn new(clock: Clock, window: Range<u64>, plan_of: P) -> Self {
        Self {
            plan_of,
            limiter: Limiter::new(clock.clone()),
            clock,
            window,
            open: Vec::new(),
            routes: Vec::new(),
            orgs: HashMap::new(),
            tallies: Vec::new(),
            replayed: 0,
        }
    }

    /// Takes another batch, in the order of their first decisions, and replays whatever is older than all of it.
    pub fn take(&mut self, mut batch: Batch) -> Result<(), Unreadable> {
        let Some(next) = batch.advance()? else { return Ok(()) };
        self.replay_before(next.at)?;
        self.clock.set_micros(next.at);
        let callers = batch.callers.iter().map(|(org, who)| self.caller(*org, *who, next.at)).collect();
        let routes = batch.routes.iter().map(|route| self.number(route)).collect();
        self.open.push(Open { batch, next, callers, routes });
        Ok(())
    }

    /// How many decisions were looked at.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// What became of each org on each route, and how many decisions were looked at.
    pub fn finish(mut self) -> Result<(Outcomes, u64), Unreadable> {
        self.replay_before(u64::MAX)?;
        let routes = self.routes;
        let named = |(route, tally): (usize, Replayed)| (routes[route].clone(), tally);
        let orgs = self.tallies.into_iter().filter(|(_, tallies)| !tallies.is_empty());
        let outcomes = orgs.map(|(org, tallies)| (org, tallies.into_iter().map(named).collect())).collect();
        Ok((outcomes, self.replayed))
    }

    /// Of several batches the oldest decision comes first: replicas recorded at the same time.
    fn replay_before(&mut self, end: u64) -> Result<(), Unreadable> {
        loop {
            let oldest = self.open.iter().enumerate().min_by_key(|(_, open)| open.next.at);
            let Some(place) = oldest.map(|(place, _)| place).filter(|place| self.open[*place].next.at < end)
            else {
                return Ok(());
            };
            let mut open = self.open.swap_remove(place);
            let until = self.open.iter().map(|open| open.next.at).min().unwrap_or(u64::MAX).min(end);
            let left = loop {
                self.replay(&mut open);
                let Some(next) = open.batch.advance()? else { break false };
                open.next = next;
                if next.at >= until {
                    break true;
                }
            };
            if left {
                self.open.push(open);
            }
        }
    }

    fn replay(&mut self, open: &mut Open) {
        self.replayed += 1;
        let Next { at, caller, route, cost, admitted } = open.next;
        let Some(Caller { org, who, plan, until, tallies }) = &mut open.callers[caller] else { return };
        if at >= self.window.end {
            return;
        }
        self.clock.set_micros(at);
        if at >= *until
            && let Some(now) = (self.plan_of)(*org, *who, at)
        {
            (*plan, *until) = now;
        }
        let decision = self.limiter.decide(*org, *who, plan, cost);
        if self.replayed.is_multiple_of(SWEEP) {
            self.limiter.sweep(|_, _| None);
        }
        if at < self.window.start {
            return;
        }
        let (_, tallies) = &mut self.tallies[*tallies];
        let route = open.routes[route];
        let place = tallies.iter().position(|(known, _)| *known == route).unwrap_or_else(|| {
            tallies.push((route, Replayed::default()));
            tallies.len() - 1
        });
        let tally = &mut tallies[place].1;
        tally.decisions += 1;
        tally.refused_really += u64::from(!admitted);
        if decision.admitted {
            tally.refused_in_shadow += u64::from(decision.violated_in_shadow().next().is_some());
            if !admitted {
                tally.relieved += 1;
                tally.first_relieved_at.get_or_insert(at);
            }
        } else {
            tally.refused += 1;
            tally.first_refused_at.get_or_insert(at);
            if admitted {
                tally.newly_hurt += 1;
                tally.first_newly_hurt_at.get_or_insert(at);
            }
        }
    }

    fn caller(&mut self, org: OrgId, who: Subject, at: u64) -> Option<Caller> {
        let (plan, until) = (self.plan_of)(org, who, at)?;
        let tallies = *self.orgs.entry(org).or_insert_with(|| {
            self.tallies.push((org, Vec::new()));
            self.tallies.len() - 1
        });
        Some(Caller { org, who, plan, until, tallies })
    }

    fn number(&mut self, route: &str) -> usize {
        self.routes.iter().position(|known| known == route).unwrap_or_else(|| {
            self.routes.push(route.to_owned());
            self.routes.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        fixture::{HOUR, MINUTE, SECOND, World, policy, shadow},
        policy::Scope,
        record::{Recorded, pack},
    };
    use super::*;
    use crate::ids::{ApiKeyId, UserId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Found = BTreeMap<(OrgId, String), Replayed>;

    /// One plan until a moment, and another from then on.
    struct Plans {
        first: Arc<TierPlan>,
        turn: u64,
        second: Arc<TierPlan>,
    }

    impl Plans {
        fn at(&self, at: u64) -> &Arc<TierPlan> {
            if at < self.turn { &self.first } else { &self.second }
        }

        fn until(&self, at: u64) -> u64 {
            if at < self.turn { self.turn } else { u64::MAX }
        }
    }

    fn replay(batches: Vec<Vec<Recorded>>, window: Range<u64>, plans: &Plans) -> Found {
        let plan_of = |_, _, at| Some((Arc::clone(plans.at(at)), plans.until(at)));
        let mut replay = Replay::new(Clock::frozen(), window, plan_of);
        for mut batch in batches {
            replay.take(Batch::open(pack(&mut batch)).unwrap()).unwrap();
        }
        let orgs = replay.finish().unwrap().0.into_iter();
        orgs.flat_map(|(org, routes)| routes.into_iter().map(move |(route, tally)| ((org, route), tally)))
            .collect()
    }

    /// The same by one limiter, call after call.
    fn directly(calls: &[Recorded], window: &Range<u64>, plans: &Plans) -> Found {
        let clock = Clock::frozen();
        let limiter = Limiter::new(clock.clone());
        let mut found = Found::new();
        for call in calls {
            clock.set_micros(call.at);
            let decision = limiter.decide(call.org, call.who, plans.at(call.at), call.cost);
            if !window.contains(&call.at) {
                continue;
            }
            let tally = found.entry((call.org, call.route.to_owned())).or_default();
            tally.decisions += 1;
            if !decision.admitted {
                tally.refused += 1;
                tally.first_refused_at = tally.first_refused_at.or(Some(call.at));
            }
            if decision.admitted && decision.violated_in_shadow().count() > 0 {
                tally.refused_in_shadow += 1;
            }
            match (call.admitted, decision.admitted) {
                (true, false) => {
                    tally.newly_hurt += 1;
                    tally.first_newly_hurt_at = tally.first_newly_hurt_at.or(Some(call.at));
                }
                (false, true) => {
                    tally.relieved += 1;
                    tally.first_relieved_at = tally.first_relieved_at.or(Some(call.at));
                }
                _ => {}
            }
            tally.refused_really += u64::from(!call.admitted);
        }
        found
    }

    proptest! {
        #[test]
        fn a_replay_says_what_the_engine_says_however_the_calls_were_spread_over_replicas(
            calls in prop::collection::vec((1..20_000_000_u64, 0..2_usize, 0..4_usize, 0..3_usize, 1..6_u32, any::<bool>(), 0..3_usize), 0..400),
            quotas in prop::array::uniform2((1..20_u32, 1..40_u32, 1..10_u32)),
            (warm_up, turn) in (0..200_usize, 0..400_usize),
        ) {
            let mut world = World::new();
            let tiers = quotas.map(|quotas| world.tier([
                policy("user", Scope::User, quotas.0 + 5, MINUTE),
                policy("org", Scope::Org, quotas.1 + 5, HOUR),
                shadow(policy("soon", Scope::User, quotas.2, MINUTE)),
            ]));
            let orgs = [OrgId::new(), OrgId::new()];
            let people = [(); 2].map(|()| Subject::User(UserId::new()));
            let keys = [(); 2].map(|()| Subject::ApiKey(ApiKeyId::new()));
            let who = [people[0], people[1], keys[0], keys[1]];
            let mut at = world.clock.micros();
            let mut all = Vec::new();
            let mut of_replicas = vec![Vec::new(); 3];
            for (pause, org, by, route, cost, admitted, replica) in calls {
                at += pause;
                let route = ["list", "get", "create"][route];
                let call = Recorded { at, org: orgs[org], who: who[by], route, cost, admitted };
                all.push(call);
                of_replicas[replica].push(call);
            }
            // Each replica writes a batch every fifty decisions; they overlap in time.
            let mut batches: Vec<Vec<Recorded>> =
                of_replicas.iter().flat_map(|calls| calls.chunks(50).map(<[_]>::to_vec)).collect();
            batches.sort_by_key(|batch| batch[0].at);
            let start = all.get(warm_up).map_or(0, |call| call.at);
            let window = start..at;
            let turn = all.get(turn).map_or(u64::MAX, |call| call.at);
            let [first, second] = tiers.map(|tier| Arc::new(TierPlan::new(&tier, &[]).unwrap()));
            let plans = Plans { first, turn, second };
            prop_assert_eq!(replay(batches, window.clone(), &plans), directly(&all[..all.len().saturating_sub(1)], &window, &plans));
        }
    }

    #[test]
    fn whom_the_plans_leave_out_are_not_replayed() {
        let mut world = World::new();
        let plan = world.plan([policy("user", Scope::User, 1, HOUR)]);
        let (ours, theirs) = (world.org, OrgId::new());
        let at = world.clock.micros();
        let call = |org| Recorded { at, org, who: world.user, route: "get", cost: 1, admitted: true };
        let mut replay = Replay::new(Clock::frozen(), 0..u64::MAX, |org, _, _| {
            (org == ours).then(|| (Arc::clone(&plan), u64::MAX))
        });
        replay.take(Batch::open(pack(&mut [call(theirs), call(ours), call(theirs)])).unwrap()).unwrap();
        let (found, _) = replay.finish().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1[0].1.decisions, found[0].1[0].1.refused), (ours, 1, 0));
    }

    #[test]
    fn memory_holds_who_owes_something_and_not_who_ever_asked() {
        let mut world = World::new();
        let plan = world.plan([policy("user", Scope::User, 10, SECOND)]);
        let mut replay =
            Replay::new(Clock::frozen(), 0..u64::MAX, |_, _, _| Some((Arc::clone(&plan), u64::MAX)));
        let mut at = world.clock.micros();
        for _ in 0..100 {
            let mut calls: Vec<Recorded> = (0..4_096)
                .map(|_| {
                    at += 1_000;
                    let who = Subject::User(UserId::new());
                    Recorded { at, org: world.org, who, route: "get", cost: 1, admitted: true }
                })
                .collect();
            replay.take(Batch::open(pack(&mut calls)).unwrap()).unwrap();
            assert_eq!(replay.open.len(), 1, "what is older than all of it is done with");
        }
        assert!(replay.limiter.remembered() < 300_000, "{}", replay.limiter.remembered());
        assert_eq!(replay.finish().unwrap().0[0].1[0].1.decisions, 100 * 4_096);
    }
}
