//! A slip that goes down the stack with a request, on which is noted whose it is and what the limits said: whoever counts
//! it stands at the top, and the request may never come back up.

use super::call::Known;
use crate::limits::Decision;
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Slip(Arc<Mutex<Option<Known>>>);

impl Slip {
    /// Its credentials are good: from here on it is somebody's.
    pub fn is_known(&self, known: Known) {
        *self.0.lock() = Some(known);
    }

    pub fn decided(&self, decision: &Decision) {
        if let Some(known) = &mut *self.0.lock() {
            known.decided(decision);
        }
    }

    /// What was noted, once.
    pub fn take(&self) -> Option<Known> {
        self.0.lock().take()
    }
}
