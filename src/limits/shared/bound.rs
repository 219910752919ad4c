//! However replicas, their leases and Redis play together: no more passes than is published.

use super::{
    super::{
        Policy, Scope, TierPlan,
        fixture::{HOUR, World, policy},
    },
    leases::{Call, Leases, Moment, Question, Verdict},
    rig::Rig,
};
use crate::clock::Clock;
use proptest::{collection::vec, prelude::*};
use std::{sync::Arc, time::Duration};

const REPLICAS: u32 = 3;

#[derive(Clone, Copy, Debug)]
enum Act {
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
    /// The clock of Redis is put back, by milliseconds; that of no replica is.
    SetBack(u64),
    /// Redis is away; answers again, while the replicas go on alone and tell what they did; is asked again.
    Turn,
}

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
        3 => Just(Act::Turn),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redis {
    Well,
    Away,
    Settling,
}

/// Replicas that are at the same time in Redis' eyes, and each at another in its own.
struct Fleet<'r> {
    rig: &'r mut Rig,
    world: World,
    plan: Arc<TierPlan>,
    first_born: u64,
    replicas: Vec<Leases>,
    /// Which replica's, and the call that waits for it.
    under_way: Vec<(usize, Question, Option<Call>)>,
    /// When how many units passed: nanoseconds since the start.
    passed: Vec<(u64, u32)>,
    /// Units that Redis has measured: beyond the limit, and refused though unused.
    over: u64,
    under: u64,
    redis: Redis,
    kills: u64,
    outages: u64,
}

impl<'r> Fleet<'r> {
    fn new(rig: &'r mut Rig, policy: Policy) -> Self {
        rig.flush();
        let mut world = World::at(Clock::frozen());
        let plan = world.plan([policy]);
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
            outages: 0,
        }
    }

    fn moment(&self, replica: usize) -> Moment {
        let boot = u64::try_from(replica).unwrap() * 3_600_000_000_000;
        Moment { now: boot + self.world.clock.steady(), replicas: REPLICAS }
    }

    fn call(&self, cost: u32) -> Call {
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

    fn answer(&mut self, place: usize, heard: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let (replica, question, call) = self.under_way.remove(place % self.under_way.len());
        let terms = (2 * REPLICAS, self.first_born);
        let told = self.rig.tell(self.world.clock.micros(), self.world.org, terms, &question.cells);
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

    fn act(&mut self, act: Act) {
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
                    question.sent() + 20_000_000 < fleet.moment(*replica).now + next - before
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

    fn turn(&mut self) {
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
    fn worst(&self, interval: u64) -> u64 {
        // As a bucket without a bottom sees it: what is owed never falls below nothing.
        let (mut owed, mut at, mut worst) = (0_u64, 0, 0);
        for (now, units) in &self.passed {
            owed = owed.saturating_sub(now - at) + u64::from(*units) * interval;
            (at, worst) = (*now, worst.max(owed));
        }
        worst.div_ceil(interval)
    }
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
    let mut fleet = Fleet::new(&mut rig, policy("org", Scope::Org, 24, HOUR));
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
    let mut fleet = Fleet::new(&mut rig, policy("org", Scope::Org, 24, HOUR));
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
    let mut fleet = Fleet::new(&mut rig, policy("org", Scope::Org, 24, HOUR));
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
    let mut fleet = Fleet::new(&mut rig, policy("org", Scope::Org, 24, HOUR));
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
    let mut fleet = Fleet::new(&mut rig, policy("org", Scope::Org, 24, HOUR));
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
        let mut fleet = Fleet::new(&mut rig, policy.clone());
        for act in acts {
            fleet.act(act);
        }
        // Who is killed has spent its credit untold, and so has each in an outage.
        let credits = u64::from(REPLICAS) * (1 + fleet.outages) + fleet.kills;
        let late = 500_000_000_u64.div_ceil(policy.interval());
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
