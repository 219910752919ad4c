//! How many attempts at delivering webhooks came to what, and how long they took.

use super::Text;
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Duration};

/// By outcome: how many, and their seconds together.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<BTreeMap<&'static str, (u64, f64)>>);

impl Attempts {
    pub fn ended(&self, outcome: &'static str, took: Duration) {
        let mut outcomes = self.0.lock();
        let (count, seconds) = outcomes.entry(outcome).or_default();
        *count += 1;
        *seconds += took.as_secs_f64();
    }

    /// Since the process began.
    pub fn tell(&self, text: &mut Text) {
        let outcomes = self.0.lock();
        let name = "insula_webhook_attempts_total";
        text.family(name, "counter", "Attempts at delivering webhooks that came to an end.");
        for (outcome, (count, _)) in &*outcomes {
            text.sample(name, &[("outcome", outcome)], count);
        }
        let name = "insula_webhook_attempt_seconds_total";
        text.family(name, "counter", "How long they took together.");
        for (outcome, (_, seconds)) in &*outcomes {
            text.sample(name, &[("outcome", outcome)], seconds);
        }
    }
}
