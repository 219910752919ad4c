//! The leases of one org or caller, and the two that a decision is about.

use super::{
    super::{policy::Scope, rule::Rule, tier::Subject},
    call::Asked,
    lease::{Lease, Standing},
    question::{Call, Decided, Moment, Question, Whose},
};
use crate::ids::OrgId;
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::sync::Notify;

/// The few counts of one user, key or org.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub leases: SmallVec<[Lease; 2]>,
    /// A question of this caller's is under way, and requests may wait for it.
    pub flight: Option<Arc<Notify>>,
    /// Units that wait for it.
    pub waiting: u32,
    /// Whether it is in the shard's list.
    pub listed: bool,
}

/// Whether a lease is the org's, and its number there.
pub(super) type Place = (bool, usize);
pub(super) type Places = SmallVec<[Place; 4]>;
pub(super) type Standings = SmallVec<[Standing; 4]>;

/// The two that one decision is about.
pub(super) struct Pair<'s> {
    pub common: &'s mut Holder,
    pub own: &'s mut Holder,
}

impl Holder {
    pub fn place(&mut self, tier: &Arc<str>, rule: &Arc<Rule>) -> usize {
        if let Some(place) = self.leases.iter().position(|lease| Arc::ptr_eq(&lease.rule, rule)) {
            return place;
        }
        if let Some(place) = self.leases.iter().position(|lease| rule.continues(&lease.rule)) {
            self.leases[place].turn_to(tier, rule);
            return place;
        }
        self.leases.push(Lease::new(tier, rule));
        self.leases.len() - 1
    }

    pub fn known(&mut self, rule: &Rule) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| rule.continues(&lease.rule))
    }

    /// Whether it need not be put into the shard's list, for it is there or holds nothing. The caller puts it there.
    pub fn lists_itself(&mut self) -> bool {
        let missing = !self.listed && self.leases.iter().any(Lease::holds_any);
        self.listed |= missing;
        !missing
    }

    pub fn retain_busy(&mut self, now: u64) -> bool {
        self.leases.retain(|lease| !lease.is_idle(now));
        !self.leases.is_empty() || self.flight.is_some() || self.waiting > 0
    }
}

impl Pair<'_> {
    pub fn places(&mut self, call: &Call) -> Places {
        let tier = &call.plan.slug;
        let place = |rule: &Arc<Rule>| match rule.policy.scope {
            Scope::Org => (true, self.common.place(tier, rule)),
            Scope::User | Scope::ApiKey | Scope::Ip => (false, self.own.place(tier, rule)),
        };
        call.view().buckets().map(place).collect()
    }

    pub fn at(&mut self, (is_common, number): Place) -> &mut Lease {
        if is_common { &mut self.common.leases[number] } else { &mut self.own.leases[number] }
    }

    pub fn standings(&mut self, call: &Call, at: Moment) -> (Places, Standings) {
        let places = self.places(call);
        let standing = |place: &Place| self.at(*place).standing(at.now, call.cost, at.replicas);
        let standings = places.iter().map(standing).collect();
        (places, standings)
    }

    /// Of a shadow what does not fit is not charged.
    pub fn charge(&mut self, places: &Places, standings: &Standings, cost: u32, now: u64) -> Decided {
        let charge = |(place, standing): (&Place, &Standing)| {
            let lease = self.at(*place);
            let mark = lease.mark(now, *standing, cost);
            lease.charge(*standing, cost);
            mark
        };
        Decided { admitted: true, marks: places.iter().zip(standings).map(charge).collect() }
    }

    pub fn refuse(&mut self, places: &Places, standings: &Standings, cost: u32, now: u64) -> Decided {
        let refuse = |(place, standing): (&Place, &Standing)| {
            let lease = self.at(*place);
            if *standing == Standing::Refused {
                lease.refuse(cost);
            }
            lease.mark(now, *standing, cost)
        };
        Decided { admitted: false, marks: places.iter().zip(standings).map(refuse).collect() }
    }

    /// For what is not there a request waits; where `standings` tells of none, nobody does.
    pub fn question(&mut self, call: &Call, places: &Places, standings: &[Standing], at: Moment) -> Question {
        let waiting = self.own.waiting.saturating_add(call.cost);
        let mut cells = Vec::new();
        for (number, (rule, place)) in call.view().buckets().zip(places).enumerate() {
            let lacks = matches!(standings.get(number), Some(Standing::Credit | Standing::Unknown));
            let (need, queued) = if lacks { (call.cost, waiting) } else { (0, 0) };
            if let Some(ask) = self.at(*place).ask(at.now, need, queued, at.replicas) {
                cells.push(Asked::new(call.org, Some(call.who), &call.plan.slug, rule, ask));
            }
        }
        if !cells.is_empty() {
            self.own.flight = Some(Arc::default());
        }
        Question { org: call.org, who: Some(call.who), cells, sent: at.now, is_flight: true }
    }

    pub fn list(&mut self, holding: &mut Vec<Whose>, org: OrgId, who: Subject) {
        if !self.common.lists_itself() {
            holding.push((org, None));
        }
        if !self.own.lists_itself() {
            holding.push((org, Some(who)));
        }
    }
}
