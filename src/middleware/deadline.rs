//! How long a request may take: no longer than the server is patient, but while a long body goes on arriving.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// When a request is given up; for handlers that take in more than fits into one patience.
#[derive(Clone)]
pub struct Deadline {
    patience: Duration,
    ends: Arc<Mutex<Instant>>,
}

/// How much has to arrive for the deadline to be put off: whoever sends a byte now and then is not waited for.
const WORTH_WAITING: u64 = 64 << 10;

impl Deadline {
    fn after(patience: Duration) -> Self {
        Self { patience, ends: Arc::new(Mutex::new(Instant::now() + patience)) }
    }

    /// Counts what arrives: `arrived` is how much of the body there is with this `piece`.
    pub fn put_off_by(&self, piece: usize, arrived: u64) {
        let before = arrived.saturating_sub(piece as u64);
        if arrived / WORTH_WAITING > before / WORTH_WAITING {
            self.put_off();
        }
    }

    /// From here on the whole patience is there again.
    pub fn put_off(&self) {
        *self.ends.lock() = Instant::now() + self.patience;
    }

    async fn passed(&self) {
        loop {
            let ends = *self.ends.lock();
            if ends <= Instant::now() {
                return;
            }
            sleep_until(ends).await;
        }
    }
}

/// Answers 503 for a handler that is not done in time, and drops it.
pub async fn deadline(State(patience): State<Duration>, mut request: Request, next: Next) -> Response {
    let deadline = Deadline::after(patience);
    request.extensions_mut().insert(deadline.clone());
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = deadline.passed() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_is_put_off_by_what_arrives_and_not_by_drops() {
        let deadline = Deadline::after(Duration::ZERO);
        deadline.passed().await;
        let first = *deadline.ends.lock();
        deadline.put_off_by(100, 100);
        assert_eq!(*deadline.ends.lock(), first);
        deadline.put_off_by(64 << 10, 100 + (64 << 10));
        assert!(*deadline.ends.lock() > first);
    }
}
