//! What each org asks for, counted once and exactly, and off the way of requests.
//!
//! Each request of somebody whose credentials were good is one record in the journal of its process, written before its
//! line in the log: by one write into the memory of the system, which outlives the process. Once a second the journal is
//! counted into rows of minutes, in one transaction with how far it is counted, so that whoever is killed when, each
//! record counts once. Journals of processes that have ended are counted by whoever finds them in the same folder.
//!
//! What can differ from the log is a request whose process was killed between its record and its line; the last ids of
//! such a journal are logged. A power cut takes what was not counted yet. Where the journal can't be written, or has
//! grown to its bound because the database is away, counts are kept in memory, by minute, and are lost with the process.

mod alerts;
mod bytes;
mod call;
mod fold;
mod frame;
mod journal;
mod said;
mod slip;
mod store;
mod tally;

pub use alerts::{Alert, take_untold};
pub use call::{Call, Known, Outcome};
pub use slip::Slip;
pub use store::sweep;

use crate::{clock::Clock, config, metrics::Text};
use fold::Folding;
use journal::Journal;
use parking_lot::{Mutex, RwLock};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tally::Tally;

/// Rows of counts that are kept in memory where there is no journal, about 200 bytes each.
const MOST_ROWS: usize = 100_000;

pub struct Meter {
    clock: Clock,
    folder: PathBuf,
    /// Bytes that a journal may grow to.
    most: u64,
    journal: RwLock<Option<Arc<Journal>>>,
    /// Held by whoever counts.
    folding: tokio::sync::Mutex<Folding>,
    spilled: Mutex<Spilled>,
    figures: Figures,
}

/// Counted in memory.
#[derive(Debug, Default)]
struct Spilled {
    tally: Tally,
    /// Why, the last time.
    why: String,
}

/// Since the process began.
#[derive(Debug, Default)]
struct Figures {
    recorded: AtomicU64,
    counted: AtomicU64,
    bytes_counted: AtomicU64,
    unrecorded: AtomicU64,
    lost: AtomicU64,
    /// When all that was recorded was counted, on the steady clock.
    caught_up: AtomicU64,
}

impl Meter {
    pub fn new(config: &config::Usage, clock: Clock) -> Self {
        Self {
            folder: config.journal.clone(),
            most: config.journal_bytes(),
            journal: RwLock::default(),
            folding: tokio::sync::Mutex::default(),
            spilled: Mutex::new(Spilled { why: "it is not open yet".to_owned(), ..Spilled::default() }),
            figures: Figures::default(),
            clock,
        }
    }

    /// The time that calls are counted at: microseconds since 1970.
    pub fn now(&self) -> u64 {
        self.clock.micros()
    }

    /// Counts a call. From here on it is not lost if the process is killed, unless the journal can't be written.
    pub fn count(&self, call: &Call<'_>) {
        if let Err(why) = self.record(call) {
            self.spill(call, why);
        }
    }

    fn record(&self, call: &Call<'_>) -> Result<(), String> {
        let frame = frame::write(call).ok_or("a record is too long")?;
        let journal = self.journal.read();
        let Some(journal) = &*journal else { return Err(String::new()) };
        if journal.written() + frame.len() as u64 > self.most {
            return Err("it has grown to its bound, since nothing can be counted".to_owned());
        }
        journal.append(&frame).map_err(|error| error.to_string())?;
        self.figures.recorded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// `why` is empty where it is known already.
    fn spill(&self, call: &Call<'_>, why: String) {
        let mut spilled = self.spilled.lock();
        if !why.is_empty() {
            spilled.why = why;
        }
        if spilled.tally.rows() < MOST_ROWS {
            spilled.tally.add(call);
            self.figures.unrecorded.fetch_add(1, Ordering::Relaxed);
        } else {
            self.figures.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn tell(&self, text: &mut Text) {
        let Figures { recorded, counted, bytes_counted, unrecorded, lost, caught_up } = &self.figures;
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        // Read first: what is recorded meanwhile only waits.
        let counted = of(counted);
        let waiting = of(recorded).saturating_sub(counted);
        text.family(
            "insula_usage_waiting_records",
            "gauge",
            "Requests in the journal that are not counted yet.",
        );
        text.sample("insula_usage_waiting_records", &[], waiting);
        let written = self.journal.read().as_ref().map_or(0, |journal| journal.written());
        text.family("insula_usage_journal_bytes", "gauge", "What of the journal is not counted yet.");
        text.sample("insula_usage_journal_bytes", &[], written.saturating_sub(of(bytes_counted)));
        let since = self.clock.steady().saturating_sub(of(caught_up)) / 1_000_000_000;
        text.family("insula_usage_lag_seconds", "gauge", "How long ago all that was recorded was counted.");
        text.sample("insula_usage_lag_seconds", &[], if waiting == 0 { 0 } else { since });
        text.family(
            "insula_usage_unrecorded_total",
            "counter",
            "Requests counted in memory, since the journal could not be written; and those not counted at all.",
        );
        for (kept, count) in [("memory", unrecorded), ("nowhere", lost)] {
            text.sample("insula_usage_unrecorded_total", &[("kept", kept)], of(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, thread, time::Instant};

    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;

    #[test]
    fn what_many_threads_record_at_once_is_all_there_and_whole() {
        let folder = std::env::temp_dir().join(format!("insula-{}", crate::ids::JournalId::new()));
        let config = config::Usage { journal: folder.clone(), journal_mebibytes: 64, retention_days: 1 };
        let meter = Meter::new(&config, Clock::system());
        meter.count(&frame::tests::some_call(1, b""));
        assert_eq!(meter.spilled.lock().tally.calls, 1, "before there is a journal");

        let journal = Arc::new(Journal::create(&folder).unwrap());
        *meter.journal.write() = Some(Arc::clone(&journal));
        let started = Instant::now();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let meter = &meter;
                scope.spawn(move || {
                    for nth in 0..EACH {
                        meter.count(&frame::tests::some_call(thread * EACH + nth, b"what was said"));
                    }
                });
            }
        });
        println!("{} ns a record", started.elapsed().as_nanos() / u128::from(THREADS * EACH));
        let (bytes, has_more) = journal.read(0, usize::MAX).unwrap();
        let mut seen: Vec<u64> = Vec::new();
        assert_eq!(frame::read_all(&bytes, |call| seen.push(call.at)), (bytes.len(), 0));
        seen.sort_unstable();
        assert!(!has_more && seen.iter().copied().eq(0..THREADS * EACH));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_journal_that_has_grown_to_its_bound_is_written_no_more_and_what_comes_is_counted_in_memory() {
        let folder = std::env::temp_dir().join(format!("insula-{}", crate::ids::JournalId::new()));
        let config = config::Usage { journal: folder.clone(), journal_mebibytes: 1, retention_days: 1 };
        let meter = Meter::new(&config, Clock::system());
        *meter.journal.write() = Some(Arc::new(Journal::create(&folder).unwrap()));
        for at in 0..20_000 {
            meter.count(&frame::tests::some_call(at, b""));
        }
        let written = meter.journal.read().as_ref().unwrap().written();
        assert!(written <= 1 << 20 && written > (1 << 20) - 200, "{written}");
        let recorded = meter.figures.recorded.load(Ordering::Relaxed);
        assert_eq!(recorded + meter.spilled.lock().tally.calls, 20_000);
        fs::remove_dir_all(&folder).unwrap();
    }
}
