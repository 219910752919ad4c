//! Some replicas, the questions they have under way and a Redis that is told the time: whatever may happen to them, one step
//! at a time.

use super::{
    super::{
        Policy, TierPlan,
        fixture::{HOUR, World},
    },
    call::Told,
    leases::Leases,
    question::{Call, Moment, Question, Verdict},
    rig::Rig,
};
use crate::clock::Clock;
use std::{sync::Arc, time::Duration};

pub const REPLICAS: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub enum Act {
    Wait(Duration),
    Call(usize, u32),
    /// One of the questions that are under way is answered.
    Answer(usize),
    /// The same, but nobody hears the answer.
    Lose(usize),
    /// A replica tells what no request tells.
    Tell(usize),
    /// A replica is killed and begins anew.
    Kill(usize),
    /// Redis loses all it knows.
    Flush,
    /// The clock of Redis is put back or forward, by milliseconds; that of no replica is.
    SetBack(u64),
    SetForward(u64),
    /// Redis is away; answers again, while the replicas go on alone and tell what they did; is asked again.
    Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redis {
    Well,
    Away,
    Settling,
}

/// Replicas that are at the same time in Redis' eyes, and each at another in its own.
pub struct Fleet<'r> {
    rig: &'r mut Rig,
    pub world: World,
    pub plan: Arc<TierPlan>,
    first_born: u64,
    pub replicas: Vec<Leases>,
    /// Which replica's, and the call that waits for it.
    pub under_way: Vec<(usize, Question, Option<Call>)>,
    /// When how many units passed: nanoseconds since the start.
    pub passed: Vec<(u64, u32)>,
    /// Units that Redis has measured: beyond the limit, and refused though unused.
    pub over: u64,
    pub under: u64,
    redis: Redis,
    pub kills: u64,
    /// Nanoseconds that the clock of Redis was put forward in all.
    pub forward: u64,
    pub outages: u64,
}

impl<'r> Fleet<'r> {
    pub fn new(rig: &'r mut Rig, policies: impl IntoIterator<Item = Policy>) -> Self {
        rig.flush();
        let mut world = World::at(Clock::frozen());
        let plan = world.plan(policies);
        let first_born = world.clock.micros();
        // The first Redis of the installation is born before anybody asks.
        rig.tell(first_born, world.org, (1, first_born), &[]);
        world.clock.advance(HOUR * 24);
        let replicas = (0..REPLICAS).map(|_| Leases::new()).collect();
        Self {
            rig,
            world,
            plan,
            first_born,
            replicas,
            under_way: Vec::new(),
            passed: Vec::new(),
            over: 0,
            under: 0,
            redis: Redis::Well,
            kills: 0,
            forward: 0,
            outages: 0,
        }
    }

    pub fn moment(&self, replica: usize) -> Moment {
        let boot = u64::try_from(replica).unwrap() * 3_600_000_000_000;
        Moment { now: boot + self.world.clock.steady(), replicas: REPLICAS }
    }

    pub fn call(&self, cost: u32) -> Call {
        Call { org: self.world.org, who: self.world.user, plan: Arc::clone(&self.plan), cost }
    }

    fn take(&mut self, replica: usize, verdict: Verdict, call: Call) {
        match verdict {
            Verdict::Decided(decided, more) => {
                if decided.admitted {
                    self.passed.push((self.world.clock.steady(), call.cost));
                }
                self.under_way.extend(more.map(|question| (replica, question, None)));
            }
            Verdict::Ask(question) => self.under_way.push((replica, question, Some(call))),
            // Its client does not wait.
            Verdict::Wait(_) => self.replicas[replica].waited(&call),
        }
    }

    pub fn told(&mut self, question: &Question) -> Vec<Told> {
        let terms = (2 * REPLICAS, self.first_born);
        self.rig.tell(self.world.clock.micros(), self.world.org, terms, &question.cells)
    }

    pub fn answer(&mut self, place: usize, heard: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let (replica, question, call) = self.under_way.remove(place % self.under_way.len());
        let told = self.told(&question);
        for told in &told {
            self.over += told.over;
            self.under += told.under;
        }
        let told = heard.then_some(told.as_slice());
        let verdict = self.replicas[replica].hear(&question, told, call.as_ref(), self.moment(replica));
        if let (Some(verdict), Some(call)) = (verdict, call) {
            self.take(replica, verdict, call);
        }
    }

    pub fn act(&mut self, act: Act) {
        match act {
            Act::Wait(time) => self.pass(time),
            Act::Call(replica, cost) if self.redis != Redis::Well => self.call_alone(replica, cost),
            Act::Call(replica, cost) => {
                let call = self.call(cost);
                let verdict = self.replicas[replica].judge(&call, self.moment(replica));
                self.take(replica, verdict, call);
            }
            Act::Answer(place) => self.answer(place, self.redis != Redis::Away),
            Act::Lose(place) => self.answer(place, false),
            Act::Tell(replica) if self.redis != Redis::Away => {
                let news = self.replicas[replica].news(self.moment(replica), false);
                self.under_way.extend(news.into_iter().map(|question| (replica, question, None)));
            }
            Act::Tell(_) => {}
            Act::Kill(replica) => {
                self.kills += 1;
                self.replicas[replica] = Leases::new();
                self.under_way.retain(|(of, ..)| *of != replica);
            }
            Act::Flush => self.rig.flush(),
            Act::SetBack(millis) => {
                let clock = &self.world.clock;
                clock.set_micros(clock.micros() - millis * 1_000);
            }
            Act::SetForward(millis) => {
                let clock = &self.world.clock;
                clock.set_micros(clock.micros() + millis * 1_000);
                self.forward += millis * 1_000_000;
            }
            Act::Turn => self.turn(),
        }
    }

    /// Replicas tell their news as often as they do, and wait for no answer longer than they do.
    fn pass(&mut self, time: Duration) {
        let tick = |at: u64| at / 50_000_000;
        let end = self.world.clock.steady() + u64::try_from(time.as_nanos()).unwrap();
        while self.world.clock.steady() < end {
            let before = self.world.clock.steady();
            let next = ((tick(before) + 1) * 50_000_000).min(end);
            let overdue = |fleet: &Self| {
                let is_late = |(replica, question, _): &(usize, Question, Option<Call>)| {
                    question.sent + 20_000_000 < fleet.moment(*replica).now + next - before
                };
                fleet.under_way.iter().position(is_late)
            };
            while let Some(place) = overdue(self) {
                self.answer(place, self.redis != Redis::Away);
            }
            self.world.clock.advance(Duration::from_nanos(next - before));
            if tick(next) > tick(before) {
                for replica in 0..self.replicas.len() {
                    self.act(Act::Tell(replica));
                }
            }
        }
    }

    pub fn turn(&mut self) {
        match self.redis {
            Redis::Well => {
                self.outages += 1;
                self.redis = Redis::Away;
                while !self.under_way.is_empty() {
                    self.answer(0, false);
                }
            }
            Redis::Away => self.redis = Redis::Settling,
            Redis::Settling => {
                for replica in 0..self.replicas.len() {
                    self.act(Act::Tell(replica));
                }
                while !self.under_way.is_empty() {
                    self.answer(0, true);
                }
                self.redis = Redis::Well;
            }
        }
    }

    fn call_alone(&mut self, replica: usize, cost: u32) {
        let (call, at) = (self.call(cost), self.moment(replica));
        let share = self.plan.share(REPLICAS);
        let view = share.view(call.who);
        let leases = &self.replicas[replica];
        let (decided, cost) = leases.judge_leased(&call, at).map_or_else(
            || {
                let cost = cost.min(view.largest_cost());
                (leases.judge_alone(&call, view, cost, at), cost)
            },
            |decided| (decided, cost),
        );
        if decided.admitted {
            self.passed.push((self.world.clock.steady(), cost));
        }
    }

    /// The most that passed beyond the rate in any span of time.
    pub fn worst(&self, interval: u64) -> u64 {
        // As a bucket without a bottom sees it: what is owed never falls below nothing.
        let (mut owed, mut at, mut worst) = (0_u64, 0, 0);
        for (now, units) in &self.passed {
            owed = owed.saturating_sub(now - at) + u64::from(*units) * interval;
            (at, worst) = (*now, worst.max(owed));
        }
        worst.div_ceil(interval)
    }
}
