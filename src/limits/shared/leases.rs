//! All that this replica has leased, and the decisions that are made by it: one lock per org, nothing is awaited.

use super::{
    super::{
        decision::Marks,
        mix::Mix,
        policy::Scope,
        shelf::{Shelf, in_turns},
        tier::{Subject, View},
    },
    call::{Asked, Told},
    holder::{Holder, Pair},
    lease::{Lease, Standing},
    question::{Call, Decided, Moment, Question, Verdict, Whose},
};
use crate::ids::OrgId;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

const SHARDS: usize = 256;
const SWEEPS_PER_LAP: usize = 64;

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
        let sweep = |shard: &mut Shard, steps| {
            shard.orgs.sweep(steps, |_, holder| holder.retain_busy(now))
                + shard.callers.sweep(steps, |_, holder| holder.retain_busy(now))
        };
        let longest = |shard: &Shard| shard.orgs.len().max(shard.callers.len());
        (first..first + each).map(|place| in_turns(&self.shards[place % SHARDS], longest, sweep)).sum()
    }

    fn shard(&self, org: OrgId) -> &Mutex<Shard> {
        &self.shards[self.mix.shard(org.uuid().as_u128())]
    }
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
