//! What Casbin has answered about one subject, a bit for each permission.

use super::Permission;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = Permission::COUNT.div_ceil(64);

#[derive(Default)]
pub(super) struct Answers {
    known: [AtomicU64; WORDS],
    allowed: [AtomicU64; WORDS],
}

impl Answers {
    /// None where it has not been asked.
    pub fn get(&self, permission: Permission) -> Option<bool> {
        let (word, bit) = place(permission);
        (self.known[word].load(Ordering::Acquire) & bit != 0)
            .then(|| self.allowed[word].load(Ordering::Relaxed) & bit != 0)
    }

    pub fn put(&self, permission: Permission, allowed: bool) {
        let (word, bit) = place(permission);
        if allowed {
            self.allowed[word].fetch_or(bit, Ordering::Relaxed);
        }
        self.known[word].fetch_or(bit, Ordering::Release);
    }
}

fn place(permission: Permission) -> (usize, u64) {
    (permission.index() / 64, 1 << (permission.index() % 64))
}
