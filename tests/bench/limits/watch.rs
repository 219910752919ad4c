//! How long things take, with and without the time for which the system let something else run.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// What is slower is looked into: was it this thread's turn at all?
const SLOW: Duration = Duration::from_micros(100);

/// What one thread saw.
pub struct Watch {
    took: Vec<Duration>,
    /// The longest, less what this thread had to wait for a processor.
    longest_running: Duration,
    waited: Duration,
}

impl Watch {
    /// Begins on the thread that is watched.
    pub fn start() -> Self {
        Self { took: Vec::new(), longest_running: Duration::ZERO, waited: waited() }
    }

    pub fn time(&mut self, act: impl FnOnce()) {
        let start = Instant::now();
        act();
        let took = start.elapsed();
        self.took.push(took);
        let mut running = took;
        if took > SLOW {
            let waited = waited();
            running = took.saturating_sub(waited.saturating_sub(self.waited));
            self.waited = waited;
        }
        self.longest_running = self.longest_running.max(running);
    }

    /// Sleeps. To be woken late is nothing that what comes next took.
    pub fn pause(&mut self, time: Duration) {
        thread::sleep(time);
        self.waited = waited();
    }

    /// In microseconds.
    pub fn summary(mut self) -> String {
        self.took.sort_unstable();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let at = |thousandth: usize| {
            let place = (self.took.len() * thousandth / 1_000).min(self.took.len().saturating_sub(1));
            self.took.get(place).copied().map_or(f64::NAN, micros)
        };
        format!(
            "{} times, p50 {:.2}, p99.9 {:.1}, longest {:.0} us, {:.0} us without waiting for a processor",
            self.took.len(),
            at(500),
            at(999),
            at(1_000),
            micros(self.longest_running)
        )
    }
}

/// How long this thread was ready to run, and something else ran; 0 where the system does not say.
fn waited() -> Duration {
    let nanos =
        || fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().nth(1)?.parse().ok();
    Duration::from_nanos(nanos().unwrap_or(0))
}
