//! How long a request may take: so long, and longer while something of it goes on arriving.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Slower than so many bytes a second nobody uploads who means it.
const LEAST_PER_SECOND: u64 = 32 << 10;

/// What a request that brings much is given beyond what every request has; found in its extensions.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// So many more bytes have arrived.
    pub fn arrived(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much longer it may take, for what has arrived so far.
    pub fn granted(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).saturating_mul(1_000) / LEAST_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_at_a_bearable_rate_may_go_on_for_as_long_as_it_takes() {
        let patience = Patience::default();
        assert_eq!(patience.granted(), Duration::ZERO);
        patience.clone().arrived(10 << 20);
        assert_eq!(patience.granted(), Duration::from_secs(320));
    }
}
