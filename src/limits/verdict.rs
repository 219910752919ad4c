//! What each policy said in a decision, for whoever counts it.

use super::{
    decision::{Decision, Level},
    month::Period,
    policy::Scope,
    rule::{Meter, Rule},
};
use crate::limits::cell::{Mark, NEVER};

/// Windows from here on are quotas, of which one wants to know how much is left; shorter ones are rates.
const LONG: u32 = 3_600;
/// The parts of a quota that are told of, in percent.
const PARTS: [u8; 3] = [100, 80, 50];

/// What one policy said.
#[derive(Debug)]
pub struct Verdict<'d> {
    /// Where it stands written: `tier:free@v7`.
    pub source: &'d str,
    pub policy: &'d str,
    pub scope: Scope,
    /// Whether the request fits it.
    pub fits: bool,
    pub is_shadow: bool,
    /// Where a part of a quota is used that is told of.
    pub reached: Option<Reached>,
}

/// How far a quota for an hour or longer is used. Of a window, what may come at once is the quota; windows that slide are
/// told apart by the clock, from 1970 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// 50, 80 or 100.
    pub percent: u8,
    /// Units.
    pub used: u64,
    pub quota: u64,
    /// The window, in microseconds since 1970.
    pub since: u64,
    pub until: u64,
}

impl Decision {
    /// What each policy that applies said.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict<'_>> {
        let windows = self.view().rules.iter().map(|_| None);
        let windows = windows.chain(self.months().iter().map(|month| Some(month.period)));
        self.each().zip(windows).map(|((rule, mark), period)| Verdict {
            source: &rule.source,
            policy: &rule.policy.name,
            scope: rule.policy.scope,
            fits: mark.fits(),
            is_shadow: rule.is_shadow(),
            reached: self.reached(rule, mark, period),
        })
    }

    fn reached(&self, rule: &Rule, mark: &Mark, period: Option<Period>) -> Option<Reached> {
        if rule.is_shadow() || self.cost == 0 || mark.wait == NEVER {
            return None;
        }
        let now = self.at_micros();
        let (quota, since, until) = match (&rule.meter, period) {
            (Meter::Month, Some(period)) => {
                (rule.policy.quota, period.begins() / 1_000, period.ends() / 1_000)
            }
            (Meter::Bucket(_), _) if rule.policy.window_seconds >= LONG => {
                let window = u64::from(rule.policy.window_seconds) * 1_000_000;
                let since = now - now % window;
                (rule.policy.burst, since, since + window)
            }
            _ => return None,
        };
        let (used, quota) = (u64::from(Level::of(rule, mark).used), u64::from(quota));
        // Who is refused has reached the end, though some units may be left that were too few.
        let wanted = used + if mark.fits() { 0 } else { u64::from(self.cost) };
        let reaches = |percent: &u8| match percent {
            100 => wanted >= quota,
            percent => used * 100 >= quota * u64::from(*percent),
        };
        let percent = PARTS.into_iter().find(reaches)?;
        Some(Reached { percent, used, quota, since, until })
    }
}
