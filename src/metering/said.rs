//! What each policy said of a request, packed into a few bytes as soon as it is decided, so that nothing is copied later.

use super::bytes::{Reader, put, put_text};
use crate::limits::{Decision, Reached, Scope, Verdict};
use smallvec::SmallVec;

/// Room for what three or four policies say, without an allocation.
const ROOM: usize = 128;

const FITS: u8 = 1;
const SHADOW: u8 = 2;
const REACHED: u8 = 4;

#[derive(Debug, Default)]
pub struct Said(SmallVec<[u8; ROOM]>);

/// The same, as it is read again.
#[derive(Debug, PartialEq, Eq)]
pub struct Word<'s> {
    pub source: &'s str,
    pub policy: &'s str,
    pub scope: &'static str,
    pub fits: bool,
    pub is_shadow: bool,
    pub reached: Option<Reached>,
}

impl Said {
    pub fn of(decision: &Decision) -> Self {
        let mut said = Self::default();
        decision.verdicts().for_each(|verdict| said.push(&verdict));
        said
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn push(&mut self, verdict: &Verdict<'_>) {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        let reached = verdict.reached;
        let flags =
            flag(verdict.fits, FITS) | flag(verdict.is_shadow, SHADOW) | flag(reached.is_some(), REACHED);
        self.0.push(flags);
        self.0.push(number(verdict.scope));
        put_text(&mut self.0, verdict.source);
        put_text(&mut self.0, verdict.policy);
        if let Some(Reached { percent, used, quota, since, until }) = reached {
            self.0.push(percent);
            for number in [used, quota, since, until] {
                put(&mut self.0, number);
            }
        }
    }
}

/// What was said, one policy after the other; ends at what can't be read.
pub fn words(said: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut reader = Reader(said);
    std::iter::from_fn(move || {
        let flags = reader.byte()?;
        let scope = scope(reader.byte()?);
        let (source, policy) = (reader.text()?, reader.text()?);
        let reached = if flags & REACHED == 0 {
            None
        } else {
            let percent = reader.byte()?;
            let [used, quota, since, until] =
                [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
            Some(Reached { percent, used, quota, since, until })
        };
        Some(Word { source, policy, scope, fits: flags & FITS != 0, is_shadow: flags & SHADOW != 0, reached })
    })
}

fn number(scope: Scope) -> u8 {
    match scope {
        Scope::Org => 0,
        Scope::User => 1,
        Scope::ApiKey => 2,
        Scope::Ip => 3,
    }
}

fn scope(number: u8) -> &'static str {
    match number {
        0 => "org",
        1 => "user",
        2 => "api_key",
        _ => "ip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_as_it_was_said_and_no_further_than_it_goes() {
        let reached = Reached { percent: 80, used: 81, quota: 100, since: 5, until: u64::MAX };
        let verdict = |fits, is_shadow, reached| Verdict {
            source: "tier:free@v7",
            policy: "month",
            scope: Scope::User,
            fits,
            is_shadow,
            reached,
        };
        let mut said = Said::default();
        for (fits, is_shadow, reached) in [(true, false, Some(reached)), (false, true, None)] {
            said.push(&verdict(fits, is_shadow, reached));
        }
        let word = |fits, is_shadow, reached| Word {
            source: "tier:free@v7",
            policy: "month",
            scope: "user",
            fits,
            is_shadow,
            reached,
        };
        let expected = [word(true, false, Some(reached)), word(false, true, None)];
        assert_eq!(words(said.bytes()).collect::<Vec<_>>(), expected);
        for cut in 0..said.bytes().len() {
            let read: Vec<_> = words(&said.bytes()[..cut]).collect();
            assert!(read.len() < 2 && expected.starts_with(&read), "cut at {cut}: {read:?}");
        }
    }
}
