//! Whether Redis may be asked: it holds the connection while all is well, and nothing once a call has failed.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Who has no connection does not wait for one. It is opened by a failed call, and closed by a heartbeat that came
/// through on a new connection: no request ever is the probe.
#[derive(Debug)]
pub(super) struct Breaker<C> {
    state: Mutex<State<C>>,
    tripped: Notify,
}

#[derive(Debug)]
struct State<C> {
    line: Option<C>,
    /// Of what connection a failure tells: that of an earlier one is no news.
    number: u64,
}

/// A connection, and which one it is.
#[derive(Clone, Debug)]
pub(super) struct Line<C> {
    pub connection: C,
    number: u64,
}

impl<C: Clone> Breaker<C> {
    pub fn open() -> Self {
        Self { state: Mutex::new(State { line: None, number: 0 }), tripped: Notify::new() }
    }

    pub fn line(&self) -> Option<Line<C>> {
        let state = self.state.lock();
        state.line.clone().map(|connection| Line { connection, number: state.number })
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().line.is_some()
    }

    /// A call on this line has failed. Tells whether that is news.
    pub fn trip(&self, line: &Line<C>) -> bool {
        let mut state = self.state.lock();
        let news = state.line.is_some() && state.number == line.number;
        if news {
            state.line = None;
            self.tripped.notify_one();
        }
        news
    }

    pub fn close(&self, connection: C) {
        let mut state = self.state.lock();
        state.number += 1;
        state.line = Some(connection);
    }

    /// Returns once it has been tripped since the last time.
    pub async fn tripped(&self) {
        self.tripped.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn after_a_failure_nobody_is_let_through_until_it_is_closed() {
        let breaker = Breaker::open();
        assert!(breaker.line().is_none());
        breaker.close("first");
        let line = breaker.line().unwrap();
        assert_eq!(line.connection, "first");
        assert!(breaker.trip(&line));
        assert!(breaker.line().is_none());
        breaker.close("second");
        assert_eq!(breaker.line().unwrap().connection, "second");
    }

    #[test]
    fn a_failure_is_news_once_and_wakes_who_mends_it_once() {
        let breaker = Breaker::open();
        breaker.close(());
        let (one, other) = (breaker.line().unwrap(), breaker.line().unwrap());
        assert!(breaker.tripped().now_or_never().is_none());
        assert_eq!((breaker.trip(&one), breaker.trip(&other)), (true, false));
        assert!(breaker.tripped().now_or_never().is_some());
        assert!(breaker.tripped().now_or_never().is_none());
    }

    #[test]
    fn a_late_failure_of_an_earlier_connection_does_not_break_the_next() {
        let breaker = Breaker::open();
        breaker.close("first");
        let late = breaker.line().unwrap();
        assert!(breaker.trip(&late));
        breaker.close("second");
        assert!(!breaker.trip(&late));
        assert!(breaker.line().is_some());
    }
}
