//! All that this replica has leased, and the decisions that are made by it: one lock per org, nothing is awaited.

use super::{
    super::{
        decision::Marks,
        mix::Mix,
        policy::Scope,
        rule::Rule,
        shelf::Shelf,
        tier::{Subject, TierPlan, View},
    },
    call::{Asked, Told},
    lease::{Lease, Standing},
};
use crate::ids::OrgId;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{Notify, futures::OwnedNotified};

const SHARDS: usize = 256;
const SWEEPS_PER_LAP: usize = 64;
const SWEEP_STEPS: usize = 128;

/// An org, or somebody in it.
type Whose = (OrgId, Option<Subject>);

pub(super) struct Leases {
    mix: Mix,
    shards: Box<[Mutex<Shard>]>,
    next_sweep: AtomicUsize,
}

/// Some orgs whole, and whose leases Redis will have to hear of.
struct Shard {
    orgs: Shelf<OrgId, Holder, Mix>,
    callers: Shelf<(OrgId, Subject), Holder, Mix>,
    holding: Vec<Whose>,
}

/// The few counts of one user, key or org.
#[derive(Debug, Default)]
struct Holder {
    leases: SmallVec<[Lease; 2]>,
    /// A question of this caller's is under way, and requests may wait for it.
    flight: Option<Arc<Notify>>,
    /// Units that wait for it.
    waiting: u32,
    /// Whether it is in the shard's list.
    listed: bool,
}

/// When something is decided, in steady nanoseconds, and among how many replicas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub now: u64,
    pub replicas: u32,
}

/// Who asks for what: at least a unit, and no more than any policy that is enforced ever holds.
#[derive(Clone)]
pub(super) struct Call {
    pub org: OrgId,
    pub who: Subject,
    pub plan: Arc<TierPlan>,
    pub cost: u32,
}

impl Call {
    pub fn view(&self) -> &View {
        self.plan.view(self.who)
    }
}

pub(super) enum Verdict {
    /// It is decided; and Redis had better be asked for more before that is needed.
    Decided(Decided, Option<Question>),
    /// Redis has to be asked.
    Ask(Question),
    /// It is being asked.
    Wait(OwnedNotified),
}

/// A mark for each bucket of the view.
#[derive(Debug)]
pub(super) struct Decided {
    pub admitted: bool,
    pub marks: Marks,
}

/// What to ask Redis, for whom. Whoever gets one asks it, and [`Leases::hear`]s what came of it.
pub(super) struct Question {
    pub org: OrgId,
    who: Option<Subject>,
    pub cells: Vec<Asked>,
    /// In steady nanoseconds.
    sent: u64,
    /// Whether the caller has no other meanwhile.
    is_flight: bool,
}

#[cfg(test)]
impl Question {
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

/// Whether a lease is the org's, and its number there.
type Place = (bool, usize);
type Places = SmallVec<[Place; 4]>;
type Standings = SmallVec<[Standing; 4]>;

/// The two that one decision is about.
struct Pair<'s> {
    common: &'s mut Holder,
    own: &'s mut Holder,
}

impl Holder {
    fn place(&mut self, tier: &Arc<str>, rule: &Arc<Rule>) -> usize {
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

    fn known(&mut self, rule: &Rule) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| rule.continues(&lease.rule))
    }

    /// Whether it need not be put into the shard's list, for it is there or holds nothing. The caller puts it there.
    fn lists_itself(&mut self) -> bool {
        let missing = !self.listed && self.leases.iter().any(Lease::holds_any);
        self.listed |= missing;
        !missing
    }

    fn retain_busy(&mut self, now: u64) -> bool {
        self.leases.retain(|lease| !lease.is_idle(now));
        !self.leases.is_empty() || self.flight.is_some() || self.waiting > 0
    }
}

impl Pair<'_> {
    fn places(&mut self, call: &Call) -> Places {
        let tier = &call.plan.slug;
        let place = |rule: &Arc<Rule>| match rule.policy.scope {
            Scope::Org => (true, self.common.place(tier, rule)),
            Scope::User | Scope::ApiKey | Scope::Ip => (false, self.own.place(tier, rule)),
        };
        call.view().buckets().map(place).collect()
    }

    fn at(&mut self, (is_common, number): Place) -> &mut Lease {
        if is_common { &mut self.common.leases[number] } else { &mut self.own.leases[number] }
    }

    fn standings(&mut self, call: &Call, at: Moment) -> (Places, Standings) {
        let places = self.places(call);
        let standing = |place: &Place| self.at(*place).standing(at.now, call.cost, at.replicas);
        let standings = places.iter().map(standing).collect();
        (places, standings)
    }

    /// Of a shadow what does not fit is not charged.
    fn charge(&mut self, places: &Places, standings: &Standings, cost: u32, now: u64) -> Decided {
        let charge = |(place, standing): (&Place, &Standing)| {
            let lease = self.at(*place);
            let mark = lease.mark(now, *standing, cost);
            lease.charge(*standing, cost);
            mark
        };
        Decided { admitted: true, marks: places.iter().zip(standings).map(charge).collect() }
    }

    fn refuse(&mut self, places: &Places, standings: &Standings, cost: u32, now: u64) -> Decided {
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
    fn question(&mut self, call: &Call, places: &Places, standings: &[Standing], at: Moment) -> Question {
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

    fn list(&mut self, holding: &mut Vec<Whose>, org: OrgId, who: Subject) {
        if !self.common.lists_itself() {
            holding.push((org, None));
        }
        if !self.own.lists_itself() {
            holding.push((org, Some(who)));
        }
    }
}

impl Leases {
    pub fn new() -> Self {
        let mix = Mix::new();
        let shard =
            || Shard { orgs: Shelf::with_hasher(mix), callers: Shelf::with_hasher(mix), holding: Vec::new() };
        let shards = (0..SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { mix, shards, next_sweep: AtomicUsize::new(0) }
    }

    /// Decides by what is here, or says what has to be asked. All policies are charged, or none.
    pub fn judge(&self, call: &Call, at: Moment) -> Verdict {
        self.shard(call.org).lock().judge(call, at)
    }

    /// Decides only if all of it is leased already.
    pub fn judge_leased(&self, call: &Call, at: Moment) -> Option<Decided> {
        let mut shard = self.shard(call.org).lock();
        let (mut pair, _) = shard.pair(call.org, call.who);
        let (places, standings) = pair.standings(call, at);
        let all_leased = standings.iter().all(|standing| *standing == Standing::Leased);
        all_leased.then(|| pair.charge(&places, &standings, call.cost, at.now))
    }

    /// Decides by a share of the whole, of which `view` has a rule for each of the call's.
    pub fn judge_alone(&self, call: &Call, view: &View, cost: u32, at: Moment) -> Decided {
        let mut shard = self.shard(call.org).lock();
        let (mut pair, holding) = shard.pair(call.org, call.who);
        let places = pair.places(call);
        let shares = || view.buckets().zip(&places);
        let marks: Marks = shares()
            .map(|(share, place)| pair.at(*place).weigh_alone(at.now, share, cost, at.replicas))
            .collect();
        let admitted = shares().zip(&marks).all(|((share, _), mark)| mark.fits() || share.is_shadow());
        if admitted {
            for (place, mark) in places.iter().zip(&marks) {
                pair.at(*place).charge_alone(mark, cost);
            }
        }
        pair.list(holding, call.org, call.who);
        Decided { admitted, marks }
    }

    /// How the call would stand by a share of the whole, of which `view` has a rule for each of its own.
    pub fn foresee_alone(&self, call: &Call, view: &View, at: Moment) -> Marks {
        let mut shard = self.shard(call.org).lock();
        let (mut pair, _) = shard.pair(call.org, call.who);
        let shares = view.buckets().zip(pair.places(call));
        shares
            .map(|(share, place)| pair.at(place).weigh_alone(at.now, share, call.cost, at.replicas))
            .collect()
    }

    /// How the call would stand, as far as this replica knows.
    pub fn foresee(&self, call: &Call, at: Moment) -> Marks {
        let mut shard = self.shard(call.org).lock();
        let (mut pair, _) = shard.pair(call.org, call.who);
        let (places, standings) = pair.standings(call, at);
        let each = places.iter().zip(&standings);
        each.map(|(place, standing)| pair.at(*place).mark(at.now, *standing, call.cost)).collect()
    }

    /// What is owed of each bucket of the call where Redis says so much, with what it can't know.
    pub fn correct(&self, call: &Call, told: &[Told]) -> SmallVec<[u64; 4]> {
        let mut shard = self.shard(call.org).lock();
        let (mut pair, _) = shard.pair(call.org, call.who);
        let places = pair.places(call);
        places.iter().zip(told).map(|(place, told)| pair.at(*place).corrected(told.answer.owed)).collect()
    }

    /// What Redis has said to a question, or that nobody knows; and what follows for the call that it was asked for, before
    /// anybody else gets what was leased.
    pub fn hear(
        &self,
        question: &Question,
        told: Option<&[Told]>,
        of: Option<&Call>,
        at: Moment,
    ) -> Option<Verdict> {
        let mut shard = self.shard(question.org).lock();
        let landed = shard.hear(question, told, at);
        let verdict = told.and(of).map(|call| shard.judge(call, at));
        drop(shard);
        if let Some(landed) = landed {
            landed.notify_waiters();
        }
        verdict
    }

    /// The units of a decision that nobody waited for.
    pub fn put_back(&self, call: &Call, decided: &Decided) {
        let mut shard = self.shard(call.org).lock();
        let (mut pair, holding) = shard.pair(call.org, call.who);
        for (place, mark) in pair.places(call).iter().zip(&decided.marks) {
            if decided.admitted && mark.fits() {
                pair.at(*place).put_back(call.cost);
            }
        }
        pair.list(holding, call.org, call.who);
    }

    /// Says that the call does not wait any more.
    pub fn waited(&self, call: &Call) {
        let mut shard = self.shard(call.org).lock();
        let (pair, _) = shard.pair(call.org, call.who);
        pair.own.waiting = pair.own.waiting.saturating_sub(call.cost);
    }

    /// What Redis should hear of though no request asks it: what was used and is not charged, and what is not used any
    /// more; at the end all that is not used.
    pub fn news(&self, at: Moment, at_the_end: bool) -> Vec<Question> {
        let of_shard = |shard: &Mutex<Shard>| shard.lock().news(at, at_the_end);
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// Forgets who owes nothing in the next 64th of the orgs, as far as this replica knows. Returns how many.
    pub fn sweep(&self, now: u64) -> usize {
        let each = SHARDS / SWEEPS_PER_LAP;
        let first = self.next_sweep.fetch_add(each, Ordering::Relaxed);
        (first..first + each).map(|place| sweep_shard(&self.shards[place % SHARDS], now)).sum()
    }

    fn shard(&self, org: OrgId) -> &Mutex<Shard> {
        &self.shards[self.mix.shard(org.uuid().as_u128())]
    }
}

fn sweep_shard(shard: &Mutex<Shard>, now: u64) -> usize {
    let longest = |shard: &Shard| shard.orgs.len().max(shard.callers.len());
    let rounds = longest(&shard.lock()).div_ceil(SWEEP_STEPS);
    let round = |_| {
        let mut shard = shard.lock();
        shard.orgs.sweep(SWEEP_STEPS, |_, holder| holder.retain_busy(now))
            + shard.callers.sweep(SWEEP_STEPS, |_, holder| holder.retain_busy(now))
    };
    (0..rounds).map(round).sum()
}

impl Shard {
    fn pair(&mut self, org: OrgId, who: Subject) -> (Pair<'_>, &mut Vec<Whose>) {
        let pair =
            Pair { common: self.orgs.get_or_default(org), own: self.callers.get_or_default((org, who)) };
        (pair, &mut self.holding)
    }

    fn holder(&mut self, (org, who): Whose) -> Option<&mut Holder> {
        match who {
            None => self.orgs.get_mut(&org),
            Some(who) => self.callers.get_mut(&(org, who)),
        }
    }

    fn judge(&mut self, call: &Call, at: Moment) -> Verdict {
        let (mut pair, holding) = self.pair(call.org, call.who);
        let (places, standings) = pair.standings(call, at);
        for place in &places {
            pair.at(*place).rejoin();
        }
        let any = |wanted: Standing, of_shadows: bool| {
            let mut all = call.view().buckets().zip(&standings);
            all.any(|(rule, standing)| *standing == wanted && (of_shadows || !rule.is_shadow()))
        };
        if any(Standing::Refused, false) {
            return Verdict::Decided(pair.refuse(&places, &standings, call.cost, at.now), None);
        }
        if any(Standing::Unknown, true) {
            if let Some(flight) = &pair.own.flight {
                pair.own.waiting += call.cost;
                return Verdict::Wait(Arc::clone(flight).notified_owned());
            }
            return Verdict::Ask(pair.question(call, &places, &standings, at));
        }
        let decided = pair.charge(&places, &standings, call.cost, at.now);
        pair.list(holding, call.org, call.who);
        let low = pair.own.flight.is_none() && places.iter().any(|place| pair.at(*place).runs_low());
        let more = low.then(|| pair.question(call, &places, &[], at));
        Verdict::Decided(decided, more.filter(|question| !question.cells.is_empty()))
    }

    fn hear(&mut self, question: &Question, told: Option<&[Told]>, at: Moment) -> Option<Arc<Notify>> {
        let Question { org, who, ref cells, sent, .. } = *question;
        for (place, asked) in cells.iter().enumerate() {
            let whose = (org, who.filter(|_| asked.rule.policy.scope != Scope::Org));
            let Some(lease) = self.holder(whose).and_then(|holder| holder.known(&asked.rule)) else {
                continue;
            };
            match told.and_then(|told| told.get(place)) {
                Some(told) => lease.hear(sent, at.now, &asked.ask, &told.answer, at.replicas),
                None => lease.unheard(&asked.ask),
            }
        }
        for whose in [(org, None), (org, who)] {
            let is_listed = self.holder(whose).is_none_or(Holder::lists_itself);
            if !is_listed {
                self.holding.push(whose);
            }
        }
        let own = self.holder((org, who))?;
        if question.is_flight { own.flight.take() } else { None }
    }

    fn news(&mut self, at: Moment, at_the_end: bool) -> Vec<Question> {
        let mut questions = Vec::new();
        for whose in std::mem::take(&mut self.holding) {
            let Some(holder) = self.holder(whose) else { continue };
            let (org, who) = whose;
            let telling = holder.leases.iter_mut().filter_map(|lease| {
                if at_the_end {
                    lease.give_up();
                }
                let ask = lease.tell(at.now)?;
                Some(Asked::new(org, who, &lease.tier, &lease.rule, ask))
            });
            let cells: Vec<Asked> = telling.collect();
            holder.listed = holder.leases.iter().any(Lease::holds_any);
            if holder.listed {
                self.holding.push(whose);
            }
            if !cells.is_empty() {
                questions.push(Question { org, who, cells, sent: at.now, is_flight: false });
            }
        }
        questions
    }
}
