//! How many replicas there are: each says once a second that it lives, and who is silent for three is gone.

use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

pub(super) const BEAT: Duration = Duration::from_secs(1);
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// A Redis that has lost its memory, or was away, counts too few until all have said again that they live.
const REMEMBERED: usize = 4;

#[derive(Debug)]
pub(super) struct Replicas {
    /// This one.
    pub id: String,
    heard: Mutex<VecDeque<u32>>,
    count: AtomicU32,
}

impl Replicas {
    /// `assumed` holds until they have been counted.
    pub fn new(assumed: u32) -> Self {
        let id = format!("{:032x}", rand::random::<u128>());
        Self { id, heard: Mutex::default(), count: AtomicU32::new(assumed.max(1)) }
    }

    /// Among how many the limits are shared: the most that were counted lately, so that the shares never add up to more
    /// than the whole.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn counted(&self, replicas: u32) {
        let mut heard = self.heard.lock();
        heard.push_back(replicas.max(1));
        if heard.len() > REMEMBERED {
            heard.pop_front();
        }
        let most = heard.iter().copied().max().unwrap_or(1);
        self.count.store(most, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_counts_at_once_and_one_less_when_it_is_sure() {
        let replicas = Replicas::new(2);
        assert_eq!(replicas.count(), 2);
        let counts = [1, 3, 1, 1, 1, 1].map(|count| {
            replicas.counted(count);
            replicas.count()
        });
        assert_eq!(counts, [1, 3, 3, 3, 3, 1]);
    }
}
