//! How fast a count is used by this replica, from which follows how much it leases.

/// Short spans tell nothing.
const SPAN: u64 = 10_000_000;
const SECOND: f64 = 1e9;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Units a second.
    rate: f64,
    since: u64,
    units: u32,
}

impl Pace {
    pub fn count(&mut self, units: u32) {
        self.units = self.units.saturating_add(units);
    }

    /// Units a second, the last spans before all others. `now` is in steady nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "a span of years is rounded")]
    pub fn at(&mut self, now: u64) -> f64 {
        let span = now.saturating_sub(self.since);
        if span >= SPAN {
            let lately = f64::from(self.units) * SECOND / span as f64;
            // What was before counts for less the longer ago it is.
            let weight = (-(span as f64) / (4.0 * SPAN as f64)).exp();
            self.rate = self.rate * weight + lately * (1.0 - weight);
            (self.since, self.units) = (now, 0);
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_within_a_few_spans_and_forgotten_within_a_second() {
        let mut pace = Pace::default();
        let mut now = 5_000_000_000;
        pace.at(now);
        for _ in 0..100 {
            now += 1_000_000;
            pace.count(2);
            pace.at(now);
        }
        let rate = pace.at(now);
        assert!((1_500.0..=2_000.0).contains(&rate), "{rate}");
        assert!(pace.at(now + 1_000_000_000) < 1.0);
    }
}
