//! The only reader of the wall clock; tests freeze it and move it by hand.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use time::OffsetDateTime;

/// Tells the time to everything that decides by it: tokens, limits, expiry.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Frozen>>);

#[derive(Debug)]
struct Frozen {
    /// Microseconds since 1970.
    wall: AtomicI64,
    /// Nanoseconds.
    steady: AtomicU64,
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at the present until it is moved.
    pub fn frozen() -> Self {
        let wall = AtomicI64::new(micros(Self::system().now()));
        Self(Some(Arc::new(Frozen { wall, steady: AtomicU64::default() })))
    }

    #[expect(clippy::disallowed_methods, reason = "the one home of now()")]
    pub fn now(&self) -> OffsetDateTime {
        match &self.0 {
            None => OffsetDateTime::now_utc(),
            Some(frozen) => {
                let at = frozen.wall.load(Ordering::SeqCst);
                OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(at)
            }
        }
    }

    /// Microseconds since 1970, never negative: the limiter's unit. No calendar is consulted: it costs more than the
    /// limiter's own work.
    #[expect(clippy::disallowed_methods, reason = "the one home of now()")]
    pub fn micros(&self) -> u64 {
        match &self.0 {
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX)),
            Some(frozen) => u64::try_from(frozen.wall.load(Ordering::SeqCst)).unwrap_or(0),
        }
    }

    /// Nanoseconds since this process first asked. For how long something lasts: it goes on while the wall clock is put
    /// forward or back.
    pub fn steady(&self) -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        match &self.0 {
            None => u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Some(frozen) => frozen.steady.load(Ordering::SeqCst),
        }
    }

    /// Puts the wall of a frozen clock to this moment, in microseconds since 1970, as an administrator would: no time
    /// passes. For what replays the past.
    pub fn set_micros(&self, micros: u64) {
        if let Some(frozen) = &self.0 {
            frozen.wall.store(i64::try_from(micros).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Lets time pass on a frozen clock; the machine's can't be moved.
    pub fn advance(&self, by: Duration) {
        if let Some(frozen) = &self.0 {
            frozen.wall.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
            frozen.steady.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

/// The moment that is so many microseconds after 1970 began.
pub fn at_micros(micros: u64) -> OffsetDateTime {
    let since = time::Duration::microseconds(i64::try_from(micros).unwrap_or(i64::MAX));
    OffsetDateTime::UNIX_EPOCH.checked_add(since).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Microseconds since 1970; 0 for what was before.
pub fn since_1970(at: OffsetDateTime) -> u64 {
    u64::try_from(micros(at)).unwrap_or(0)
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_goes_on_while_the_wall_is_put_back() {
        let clock = Clock::frozen();
        clock.advance(Duration::from_secs(2));
        let (wall, steady) = (clock.micros(), clock.steady());
        clock.set_micros(wall - 3_600_000_000);
        assert_eq!((clock.micros(), clock.steady()), (wall - 3_600_000_000, steady));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.steady(), steady + 1_000_000_000);

        let (machine, before) = (Clock::system(), Clock::system().steady());
        assert!(machine.steady() >= before);
    }
}
