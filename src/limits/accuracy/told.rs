//! What a replica counted since it began, as Prometheus is told of it.

use super::{Counting, Counts, Key};
use crate::metrics::Text;
use std::collections::BTreeMap;

pub(super) fn tell(totals: &BTreeMap<Key, Counts>, text: &mut Text) {
    let name = "insula_limit_decisions_total";
    text.family(
        name,
        "counter",
        "Decisions about a limit: those that it let pass, and those that it refused.",
    );
    for (Key { tier, policy, counting }, counts) in totals {
        let labels = |outcome| {
            [("tier", &**tier), ("policy", policy), ("counting", counting.as_str()), ("outcome", outcome)]
        };
        text.sample(name, &labels("passed"), counts.decisions - counts.refused);
        text.sample(name, &labels("refused"), counts.refused);
    }
    let name = "insula_limit_admitted_units_total";
    text.family(name, "counter", "Units that no limit refused.");
    for (Key { tier, policy, counting }, counts) in totals {
        let labels = [("tier", &**tier), ("policy", policy), ("counting", counting.as_str())];
        text.sample(name, &labels, counts.admitted_units);
    }
    let leased = || totals.iter().filter(|(key, _)| key.counting == Counting::Leased);
    let name = "insula_limit_over_units_total";
    text.family(name, "counter", "Units that were admitted beyond the limit.");
    for (Key { tier, policy, .. }, counts) in leased() {
        text.sample(name, &[("tier", tier), ("policy", policy)], counts.over_units);
    }
    let name = "insula_limit_under_units_total";
    text.family(name, "counter", "Units that were refused while other replicas held as many unused.");
    for (Key { tier, policy, .. }, counts) in leased() {
        text.sample(name, &[("tier", tier), ("policy", policy)], counts.under_units);
    }
}
