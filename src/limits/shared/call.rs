//! What `decide.lua` is told, and what its answer says.

use super::{
    super::{
        cell::{Mark, NEVER},
        decision::Marks,
        rule::Rule,
        tier::{Subject, View},
    },
    births::Births,
    keys,
};
use crate::ids::OrgId;
use redis::ScriptInvocation;
use std::sync::Arc;

/// `terms`: 1 to charge or 0 to look, the cost, and when the first Redis was born.
pub(super) fn fill(
    call: &mut ScriptInvocation<'_>,
    births: &Births,
    org: OrgId,
    who: Subject,
    view: &View,
    terms: &[u64; 3],
) {
    call.key(births.beside(&org.to_string())).arg(terms);
    for (rule, bucket) in view.buckets().filter_map(|rule| Some((rule, rule.bucket()?))) {
        let made = keys::made(org, who, rule);
        let shadow = u64::from(rule.is_shadow());
        call.key(keys::cell(org, who, rule));
        call.arg(&[bucket.interval, bucket.depth, rule.step.at / 1_000, made, shadow]);
    }
}

/// The time of Redis, in nanoseconds, and a mark for each bucket of the view.
pub(super) fn read(view: &View, cost: u32, answer: &[u64]) -> Option<(u64, Marks)> {
    let (now, cells) = answer.split_first()?;
    let (cells, _) = cells.as_chunks::<2>();
    let marks: Marks = view.buckets().zip(cells).map(|(rule, cell)| mark(rule, *cell, cost)).collect();
    (marks.len() == view.buckets().count()).then_some((now.saturating_mul(1_000), marks))
}

fn mark(rule: &Rule, [owed, wait]: [u64; 2], cost: u32) -> Mark {
    let interval = rule.bucket().map_or(0, |bucket| bucket.interval);
    match wait {
        _ if cost > rule.policy.burst => Mark::told(owed, owed, NEVER),
        0 => Mark::told(owed, owed.saturating_add(interval.saturating_mul(cost.into())), 0),
        wait => Mark::told(owed, owed, wait),
    }
}

/// In the view's order.
pub(super) fn merge(view: &View, gauges: Marks, buckets: Marks) -> Marks {
    let (mut gauges, mut buckets) = (gauges.into_iter(), buckets.into_iter());
    let next = |rule: &Arc<Rule>| if rule.bucket().is_some() { buckets.next() } else { gauges.next() };
    view.rules.iter().filter_map(next).collect()
}
