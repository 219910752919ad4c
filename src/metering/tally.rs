//! Calls added up: by org and minute, by policy, by route and key; and the parts of quotas that were reached.

use super::{
    call::{Call, Outcome},
    said::words,
};
use crate::{
    ids::{ApiKeyId, OrgId},
    limits::Reached,
};
use std::{collections::BTreeMap, ops::AddAssign};
use uuid::Uuid;

const MINUTE: u64 = 60_000_000;

/// An org, and minutes since 1970.
pub type Minute = (OrgId, u64);

/// In the order of their keys, so that whoever writes the same rows as another does not wait for them in a circle.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many calls these are.
    pub calls: u64,
    pub minutes: BTreeMap<Minute, Asked>,
    pub policies: BTreeMap<(Minute, Box<str>, Box<str>), ByPolicy>,
    pub routes: BTreeMap<Place, Became>,
    pub reached: BTreeMap<QuotaWindow, PartReached>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub requests: i64,
    pub units: i64,
    pub refused: i64,
    pub shadow_refused: i64,
}

/// What a policy, named by where it stands written and by its name, looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByPolicy {
    pub weighed: i64,
    pub refused: i64,
    pub shadow_refused: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub minute: Minute,
    /// Empty for the calls themselves.
    pub policy: Box<str>,
    pub route: Box<str>,
    /// Nil without one.
    pub key: Uuid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Became {
    pub passed: i64,
    pub limited: i64,
    pub shadow: i64,
    pub errors: i64,
    pub units: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuotaWindow {
    pub org: OrgId,
    pub policy: Box<str>,
    /// Microseconds since 1970.
    pub since: u64,
    pub quota: u64,
}

/// The highest part of those that are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartReached {
    pub percent: u8,
    pub used: u64,
    pub scope: &'static str,
    pub until: u64,
    pub at: u64,
}

impl Tally {
    pub fn add(&mut self, call: &Call<'_>) {
        self.calls += 1;
        let minute = (call.org, call.at / MINUTE);
        let key = call.key.map_or(Uuid::nil(), ApiKeyId::uuid);
        let place = |policy: &str| Place { minute, policy: policy.into(), route: call.route.into(), key };
        self.routes.entry(place("")).or_default().became(call);
        if !call.limits.were_asked {
            return;
        }
        self.minutes.entry(minute).or_default().asked(call);
        for word in words(call.limits.said) {
            let became = self.routes.entry(place(word.policy)).or_default();
            match (word.fits, word.is_shadow) {
                (true, _) => became.passed += 1,
                (false, false) => became.limited += 1,
                (false, true) => became.shadow += 1,
            }
            if !word.fits || word.is_shadow {
                let named = (minute, word.source.into(), word.policy.into());
                let weighed = self.policies.entry(named).or_default();
                weighed.weighed += 1;
                weighed.refused += i64::from(!word.fits && !word.is_shadow);
                weighed.shadow_refused += i64::from(!word.fits && word.is_shadow);
            }
            if let Some(reached) = word.reached {
                self.reach(call, word.policy, word.scope, reached);
            }
        }
    }

    fn reach(&mut self, call: &Call<'_>, policy: &str, scope: &'static str, reached: Reached) {
        let Reached { percent, used, quota, since, until } = reached;
        let window = QuotaWindow { org: call.org, policy: policy.into(), since, quota };
        let part = PartReached { percent, used, scope, until, at: call.at };
        let highest = self.reached.entry(window).or_insert(part);
        if percent > highest.percent {
            *highest = part;
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.calls += other.calls;
        for (key, asked) in other.minutes {
            *self.minutes.entry(key).or_default() += asked;
        }
        for (key, weighed) in other.policies {
            *self.policies.entry(key).or_default() += weighed;
        }
        for (key, became) in other.routes {
            *self.routes.entry(key).or_default() += became;
        }
        for (window, part) in other.reached {
            let highest = self.reached.entry(window).or_insert(part);
            if part.percent > highest.percent {
                *highest = part;
            }
        }
    }

    /// How many rows it would write, at most.
    pub fn rows(&self) -> usize {
        self.minutes.len() + self.policies.len() + self.routes.len() + 3 * self.reached.len()
    }
}

impl AddAssign for Asked {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.units += other.units;
        self.refused += other.refused;
        self.shadow_refused += other.shadow_refused;
    }
}

impl AddAssign for ByPolicy {
    fn add_assign(&mut self, other: Self) {
        self.weighed += other.weighed;
        self.refused += other.refused;
        self.shadow_refused += other.shadow_refused;
    }
}

impl AddAssign for Became {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.limited += other.limited;
        self.shadow += other.shadow;
        self.errors += other.errors;
        self.units += other.units;
    }
}

impl Asked {
    fn asked(&mut self, call: &Call<'_>) {
        self.requests += 1;
        self.units += i64::from(call.limits.units);
        self.refused += i64::from(call.outcome == Outcome::Limited);
        self.shadow_refused += i64::from(call.limits.is_shadowed);
    }
}

impl Became {
    fn became(&mut self, call: &Call<'_>) {
        match call.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Limited => self.limited += 1,
            Outcome::Error => self.errors += 1,
        }
        self.shadow += i64::from(call.limits.is_shadowed);
        self.units += i64::from(call.limits.units);
    }
}
