//! What this replica knows of one count in Redis, and what it may use of it without asking.

use super::{
    super::{
        bucket::Refusal,
        cell::{Mark, NEVER},
        rule::Rule,
    },
    call,
    pace::Pace,
    tokens::Tokens,
};
use std::{ops::RangeInclusive, sync::Arc};

const MILLISECOND: u64 = 1_000_000;
/// How long units that were leased may be used, in nanoseconds since they were asked for.
const LASTS: u64 = 200 * MILLISECOND;
/// For how long a refusal is remembered: not longer than it takes until what rests with another replica is handed back.
const REFUSED: RangeInclusive<u64> = 3 * MILLISECOND..=200 * MILLISECOND;
/// Seconds that a lease should last.
const AHEAD: f64 = 0.03;
/// Who uses fewer in a second would hand most of a lease back.
const SLOW: f64 = 10.0;

/// One count. Times are steady nanoseconds of this replica: none of another clock is compared with them.
#[derive(Debug)]
pub(super) struct Lease {
    /// Of the org.
    pub tier: Arc<str>,
    pub rule: Arc<Rule>,
    told: Option<Told>,
    tokens: Tokens,
    /// When the Redis was born, in its microseconds, that leased them.
    born: u64,
    /// Units to be handed back.
    spare: u32,
    /// Units that were used on credit and that Redis does not know of yet.
    debt: u32,
    /// Of the debt, what Redis is being told.
    telling: u32,
    refused: Option<Refused>,
    /// Units refused since Redis last heard of them.
    missed: u32,
    /// So little is left that others may be using it up at this moment: there is no credit.
    wary: bool,
    /// As many as were last asked for ahead.
    want: u32,
    pace: Pace,
    alone: Option<Alone>,
    /// Questions to Redis that are under way.
    asking: u32,
}

/// What all replicas together owed, the units leased to this one included, and when.
#[derive(Clone, Copy, Debug)]
struct Told {
    owed: u64,
    at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    cost: u32,
    until: u64,
}

/// A share of the whole, while Redis is away.
#[derive(Clone, Copy, Debug)]
struct Alone {
    owed: u64,
    at: u64,
    interval: u64,
    admitted: u32,
}

/// Whether a cost fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is here.
    Leased,
    /// It will be charged afterwards.
    Credit,
    /// Redis has just said no.
    Refused,
    /// Redis has to be asked.
    Unknown,
}

/// What is asked for, and told, with one question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// Units without which nothing is leased of any count.
    pub need: u32,
    /// Units that requests wait for, `need` among them.
    pub queued: u32,
    /// Units to be had ahead, of what is in nobody's way.
    pub want: u32,
    /// Units to be charged that were used already.
    pub debt: u32,
    /// Units to be taken back, if the Redis that leased them was born then.
    pub back: u32,
    pub born: u64,
    /// Units that were refused since.
    pub missed: u32,
}

/// What Redis says of one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub born: u64,
    /// With what it has leased and charged.
    pub owed: u64,
    /// Until what was needed fits.
    pub wait: u64,
    pub leased: u32,
}

impl Lease {
    pub fn new(tier: &Arc<str>, rule: &Arc<Rule>) -> Self {
        Self {
            tier: Arc::clone(tier),
            rule: Arc::clone(rule),
            told: None,
            tokens: Tokens::default(),
            born: 0,
            spare: 0,
            debt: 0,
            telling: 0,
            refused: None,
            missed: 0,
            wary: false,
            want: 0,
            pace: Pace::default(),
            alone: None,
            asking: 0,
        }
    }

    /// From here on `rule` holds: Redis is asked before anything else is admitted. Units that were used stay used, as
    /// they do in Redis.
    pub fn turn_to(&mut self, tier: &Arc<str>, rule: &Arc<Rule>) {
        let (old, new) = (self.rule.step.interval.max(1), rule.step);
        if let Some(told) = &mut self.told {
            let owed = u128::from(told.owed) * u128::from(new.interval) / u128::from(old);
            told.owed = u64::try_from(owed).unwrap_or(u64::MAX).min(new.depth);
        }
        self.spare += self.tokens.all();
        self.refused = None;
        self.wary = true;
        self.want = 0;
        (self.tier, self.rule) = (Arc::clone(tier), Arc::clone(rule));
    }

    /// How `cost` stands, among so many replicas.
    pub fn standing(&mut self, now: u64, cost: u32, replicas: u32) -> Standing {
        self.spare += self.tokens.ended(now);
        if cost > self.rule.policy.burst {
            return Standing::Refused;
        }
        if cost <= self.tokens.units() {
            return Standing::Leased;
        }
        if self.refused.is_some_and(|refused| now < refused.until && cost >= refused.cost) {
            return Standing::Refused;
        }
        let all = u64::from(cost) * self.rule.step.interval;
        let fits = self.told.is_none() || self.owed(now) + all <= self.rule.step.depth;
        let in_bounds = self.debt == 0 && cost <= credit(&self.rule, replicas);
        if fits && in_bounds && !self.wary && !self.rule.policy.strict {
            Standing::Credit
        } else {
            Standing::Unknown
        }
    }

    /// Uses `cost` as [`standing`](Self::standing) said it may be.
    pub fn charge(&mut self, standing: Standing, cost: u32) {
        match standing {
            Standing::Leased => self.tokens.take(cost),
            Standing::Credit => self.debt += cost,
            Standing::Refused | Standing::Unknown => return,
        }
        self.pace.count(cost);
    }

    /// Undoes a charge of leased units.
    pub fn put_back(&mut self, cost: u32) {
        self.spare += cost;
    }

    pub fn refuse(&mut self, cost: u32) {
        self.missed = self.missed.saturating_add(cost);
    }

    /// Whether Redis had better be asked before something is needed.
    pub fn runs_low(&self) -> bool {
        let ahead = self.want >= 2 && self.tokens.units() < self.want / 2;
        self.debt > self.telling || ahead && self.asking == 0
    }

    /// A mark for a cost of which this was said.
    pub fn mark(&self, now: u64, standing: Standing, cost: u32) -> Mark {
        let mark = call::foresee(&self.rule, self.owed(now), cost);
        match (standing, self.refused) {
            (Standing::Leased | Standing::Credit, _) => Mark::told(mark.owed, mark.after, 0),
            // However it looks from here, until it may be asked again the answer is no.
            (Standing::Refused, Some(refused)) => {
                let rests = refused.until.saturating_sub(now).max(1);
                Mark::told(mark.owed, mark.owed, mark.wait.max(rests))
            }
            (Standing::Refused, None) | (Standing::Unknown, _) => mark,
        }
    }

    /// What is owed, as far as it is known: what others used since it was told is not.
    pub fn owed(&self, now: u64) -> u64 {
        let told = self.told.map_or(0, |told| told.owed.saturating_sub(now.saturating_sub(told.at)));
        self.corrected(told).min(self.rule.step.depth)
    }

    /// The same as Redis says it, less what is only leased, and more what it does not know.
    pub fn corrected(&self, told: u64) -> u64 {
        let units = |units: u32| u64::from(units) * self.rule.step.interval;
        (told + units(self.debt)).saturating_sub(units(self.tokens.units() + self.spare))
    }

    /// What to ask Redis when a request waits for `need`, or 0, and all that wait for `queued`; if anything.
    pub fn ask(&mut self, now: u64, need: u32, queued: u32, replicas: u32) -> Option<Ask> {
        let rate = self.pace.at(now);
        let ahead = if rate < SLOW { 0 } else { ahead(rate).max(credit(&self.rule, replicas)) };
        self.want = ahead.min(self.rule.policy.burst);
        // One question at a time is for what comes.
        let want = if self.asking == 0 { self.want.saturating_sub(self.tokens.units()) } else { 0 };
        self.with_news(now, Ask { need, queued, want, ..Ask::default() })
    }

    /// What Redis should hear of, if it is not being asked anyway.
    pub fn tell(&mut self, now: u64) -> Option<Ask> {
        if self.asking > 0 { None } else { self.with_news(now, Ask::default()) }
    }

    fn with_news(&mut self, now: u64, ask: Ask) -> Option<Ask> {
        self.spare += self.tokens.ended(now);
        if let Some(alone) = &mut self.alone {
            self.debt = self.debt.saturating_add(alone.settle(now));
        }
        let (debt, back) = (self.debt - self.telling, self.spare);
        if ask.need == 0 && ask.want == 0 && debt == 0 && back == 0 {
            return None;
        }
        self.telling += debt;
        self.spare = 0;
        self.asking += 1;
        Some(Ask { debt, back, born: self.born, missed: std::mem::take(&mut self.missed), ..ask })
    }

    /// What Redis has said to a question that was sent at `sent`.
    pub fn hear(&mut self, sent: u64, now: u64, ask: &Ask, answer: &Answer, replicas: u32) {
        self.asking = self.asking.saturating_sub(1);
        self.debt = self.debt.saturating_sub(ask.debt);
        self.telling = self.telling.saturating_sub(ask.debt);
        if self.told.is_none_or(|told| told.at <= sent) {
            self.told = Some(Told { owed: answer.owed, at: sent });
        }
        if self.born != answer.born {
            // What a Redis leased that has lost its memory is neither used nor handed back: it counts as used.
            self.tokens.all();
            (self.born, self.spare) = (answer.born, 0);
        }
        self.tokens.add(answer.leased, sent + LASTS);
        if ask.need > 0 {
            self.refused = (answer.wait > 0).then(|| Refused {
                cost: ask.need,
                until: now + answer.wait.clamp(*REFUSED.start(), *REFUSED.end()),
            });
        }
        let all_credit = credit(&self.rule, replicas).saturating_mul(replicas);
        let left = self.rule.step.depth.saturating_sub(answer.owed) / self.rule.step.interval.max(1);
        self.wary = left < all_credit.into();
    }

    /// Nobody knows what Redis made of the question. What was used is told again, what was handed back is not.
    pub fn unheard(&mut self, ask: &Ask) {
        self.asking = self.asking.saturating_sub(1);
        self.telling = self.telling.saturating_sub(ask.debt);
        self.wary = true;
    }

    /// Judges `cost` by a share of the rule, among so many replicas. It begins with as much as may be had on credit, for
    /// the others may have used up all the rest; and with nothing if the policy is strict.
    pub fn weigh_alone(&mut self, now: u64, share: &Rule, cost: u32, replicas: u32) -> Mark {
        let Some(bucket) = share.bucket() else { return Mark::told(0, 0, 0) };
        let credit = credit(&self.rule, replicas).saturating_sub(self.debt);
        let beginning = if share.policy.strict { 0 } else { credit };
        let owed = bucket.depth.saturating_sub(bucket.interval.saturating_mul(beginning.into()));
        let begun = Alone { owed, at: now, interval: bucket.interval, admitted: 0 };
        let alone = self.alone.get_or_insert(begun);
        let owed = alone.owed(now).min(bucket.depth);
        *alone = Alone { owed, at: now, interval: bucket.interval, admitted: alone.admitted };
        match bucket.take(owed, cost) {
            Ok(after) => Mark::told(owed, after, 0),
            Err(Refusal::Until(wait)) => Mark::told(owed, owed, wait),
            Err(Refusal::Never) => Mark::told(owed, owed, NEVER),
        }
    }

    /// Redis is asked again, and has been told of what was admitted.
    pub fn rejoin(&mut self) {
        self.alone = self.alone.filter(|alone| alone.admitted > 0);
    }

    /// Charges what [`weigh_alone`](Self::weigh_alone) foresaw.
    pub fn charge_alone(&mut self, mark: &Mark, cost: u32) {
        if let Some(alone) = &mut self.alone
            && mark.fits()
        {
            alone.owed = mark.after;
            alone.admitted = alone.admitted.saturating_add(cost);
        }
    }

    /// Whether Redis may have to hear of it some time.
    pub fn holds_any(&self) -> bool {
        let unsettled = self.alone.is_some_and(|alone| alone.admitted > 0);
        self.tokens.units() > 0 || self.spare > 0 || self.debt > 0 || unsettled
    }

    /// Everything is to be handed back.
    pub fn give_up(&mut self) {
        self.spare += self.tokens.all();
    }

    /// Whether forgetting it admits nothing more than remembering.
    pub fn is_idle(&self, now: u64) -> bool {
        let alone = self.alone.map_or(0, |alone| alone.owed(now));
        self.asking == 0 && !self.holds_any() && alone == 0 && self.owed(now) == 0
    }
}

impl Alone {
    fn owed(&self, now: u64) -> u64 {
        self.owed.saturating_sub(now.saturating_sub(self.at))
    }

    /// What was admitted and is not back by now: what is older than that has been paid for with time.
    fn settle(&mut self, now: u64) -> u32 {
        let owed = self.owed(now).div_ceil(self.interval.max(1));
        std::mem::take(&mut self.admitted).min(u32::try_from(owed).unwrap_or(u32::MAX))
    }
}

/// What one of so many replicas may admit before it asks.
fn credit(rule: &Rule, replicas: u32) -> u32 {
    rule.policy.burst.div_ceil(replicas.max(1).saturating_mul(4))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of units, rounded up")]
fn ahead(rate: f64) -> u32 {
    (rate * AHEAD).ceil() as u32
}
