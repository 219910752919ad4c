//! How many reads were answered from memory, by operation.

use super::Text;
use parking_lot::Mutex;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Reads(Mutex<BTreeMap<&'static str, [u64; 2]>>);

const OUTCOMES: [&str; 2] = ["miss", "hit"];

impl Reads {
    pub fn answered(&self, operation: &'static str, at_hand: bool) {
        self.0.lock().entry(operation).or_default()[usize::from(at_hand)] += 1;
    }

    /// Since the process began.
    pub fn tell(&self, text: &mut Text) {
        let name = "insula_cache_reads_total";
        text.family(name, "counter", "Reads of the catalogue, by whether their answer was at hand.");
        for (operation, counts) in &*self.0.lock() {
            for (outcome, count) in OUTCOMES.iter().zip(counts) {
                text.sample(name, &[("operation", operation), ("outcome", outcome)], count);
            }
        }
    }
}
