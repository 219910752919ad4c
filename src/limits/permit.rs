//! A place among concurrent requests.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Free again when dropped: by an answer, a cancellation or a panic alike.
#[derive(Debug)]
pub struct Permit(Arc<AtomicU32>);

impl Permit {
    /// The caller holds the org's lock, so that nobody takes the same place.
    pub(super) fn take(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
