//! What `lease.lua` is told, and what its answer says.

use super::{
    super::{
        cell::{Mark, NEVER},
        decision::Marks,
        rule::Rule,
        tier::{Subject, View},
    },
    births::Births,
    keys,
    lease::{Answer, Ask},
};
use crate::ids::OrgId;
use redis::ScriptInvocation;
use std::sync::Arc;

/// One count that is asked for: its key, the tier of its org, its rule, when whom it counts was made, and what is asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub key: String,
    pub tier: Arc<str>,
    pub rule: Arc<Rule>,
    pub made: u64,
    pub ask: Ask,
}

impl Asked {
    pub fn new(org: OrgId, who: Option<Subject>, tier: &Arc<str>, rule: &Arc<Rule>, ask: Ask) -> Self {
        let (key, made) = (keys::cell(org, who, rule), keys::made(org, who, rule));
        Self { key, tier: Arc::clone(tier), rule: Arc::clone(rule), made, ask }
    }
}

/// What Redis says of one count, and what it has measured: units used beyond the limit, and refused though they were
/// unused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub answer: Answer,
    pub over: u64,
    pub under: u64,
}

/// `parts` as the script says, and when the first Redis was born.
pub(super) fn fill(
    call: &mut ScriptInvocation<'_>,
    births: &Births,
    org: OrgId,
    (parts, first): (u32, u64),
    cells: &[Asked],
) {
    call.key(births.beside(&org.to_string())).arg(parts).arg(first);
    for Asked { key, rule, made, ask, .. } in cells {
        let step = rule.step;
        call.key(key).arg(&[step.interval, step.depth, step.at / 1_000, *made, rule.is_shadow().into()]);
        let Ask { need, queued, want, debt, back, born, missed } = *ask;
        call.arg(&[need, queued, want, debt, back]).arg(born).arg(missed);
    }
}

/// An answer for each count; `None` if it is no answer to the question.
pub(super) fn read(answer: &[u64], cells: usize) -> Option<Vec<Told>> {
    let (&[_, born], numbers) = answer.split_first_chunk()?;
    let (numbers, rest) = numbers.as_chunks::<5>();
    let told = |&[owed, wait, leased, over, under]: &[u64; 5]| {
        let leased = u32::try_from(leased).ok()?;
        Some(Told { answer: Answer { born, owed, wait, leased }, over, under })
    };
    let told: Vec<Told> = numbers.iter().map(told).collect::<Option<_>>()?;
    (rest.is_empty() && told.len() == cells).then_some(told)
}

/// How `cost` would stand where so much is owed: what was used on credit may be more than an empty bucket.
pub(super) fn foresee(rule: &Rule, owed: u64, cost: u32) -> Mark {
    let wait = rule.bucket().filter(|_| cost > 0).map_or(Some(0), |bucket| bucket.wait(owed, cost));
    let owed = owed.min(rule.step.depth);
    let after = if wait == Some(0) { owed + rule.step.interval * u64::from(cost) } else { owed };
    Mark::told(owed, after, wait.unwrap_or(NEVER))
}

/// In the view's order.
pub(super) fn merge(view: &View, gauges: Marks, buckets: Marks) -> Marks {
    let (mut gauges, mut buckets) = (gauges.into_iter(), buckets.into_iter());
    let next = |rule: &Arc<Rule>| if rule.bucket().is_some() { buckets.next() } else { gauges.next() };
    view.rules.iter().filter_map(next).collect()
}
