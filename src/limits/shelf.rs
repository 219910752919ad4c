//! A map that is swept a few entries at a time, so that no lock is held for as long as a walk takes.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, Hash},
    thread,
};

/// Below this many entries room is never given back.
const SMALL: usize = 64;
/// Entries that are looked at before others are let in.
const STEPS: usize = 128;

/// Entries by key, and a ring of the keys on which a hand goes round. Every key in the map is once on the ring.
#[derive(Debug, Default)]
pub(super) struct Shelf<K, V, S> {
    map: HashMap<K, V, S>,
    ring: Vec<K>,
    hand: usize,
}

impl<K: Copy + Eq + Hash, V, S: BuildHasher> Shelf<K, V, S> {
    pub fn with_hasher(hasher: S) -> Self {
        Self { map: HashMap::with_hasher(hasher), ring: Vec::new(), hand: 0 }
    }

    pub fn len(&self) -> usize {
        self.ring.len()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        match self.map.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.ring.push(key);
                entry.insert(V::default())
            }
        }
    }

    /// Shows the next `steps` entries to `keep` and drops those it does not keep. Returns how many went.
    pub fn sweep(&mut self, steps: usize, mut keep: impl FnMut(&K, &mut V) -> bool) -> usize {
        let before = self.len();
        for _ in 0..steps.min(before) {
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            let Some(key) = self.ring.get(self.hand) else { break };
            if self.map.get_mut(key).is_some_and(|value| keep(key, value)) {
                self.hand += 1;
            } else {
                self.drop_at(self.hand);
            }
        }
        if self.ring.capacity() > SMALL + 4 * self.len() {
            self.ring.shrink_to(2 * self.len());
            self.map.shrink_to(2 * self.len());
        }
        before - self.len()
    }

    /// Drops the entry that weighs least among the next `sample`.
    pub fn drop_lightest(&mut self, sample: usize, weigh: impl Fn(&V) -> u64) {
        let len = self.len();
        let lightest = (0..sample.min(len))
            .map(|step| (self.hand + step) % len)
            .min_by_key(|place| self.map.get(&self.ring[*place]).map_or(0, &weigh));
        if let Some(place) = lightest {
            self.drop_at(place);
            self.hand = (self.hand + sample) % len;
        }
    }

    fn drop_at(&mut self, place: usize) {
        let key = self.ring.swap_remove(place);
        self.map.remove(&key);
    }
}

/// Lets `sweep` see all of the `longest` shelf behind a lock, so many entries at a time, and others in between. Returns how
/// many went. No lock is held for more than some microseconds.
pub(super) fn in_turns<T>(
    shard: &Mutex<T>,
    longest: impl Fn(&T) -> usize,
    sweep: impl Fn(&mut T, usize) -> usize,
) -> usize {
    let turns = longest(&shard.lock()).div_ceil(STEPS);
    let turn = |_| {
        let gone = sweep(&mut shard.lock(), STEPS);
        // If the system stops this thread, then here, where nobody waits for it.
        thread::yield_now();
        gone
    };
    (0..turns).map(turn).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::HashMap, hash::RandomState};

    fn shelf(keys: impl IntoIterator<Item = u8>) -> Shelf<u8, u64, RandomState> {
        let mut shelf = Shelf::default();
        for key in keys {
            *shelf.get_or_default(key) = u64::from(key);
        }
        shelf
    }

    #[test]
    fn as_many_steps_as_entries_see_each_of_them_once() {
        let mut shelf = shelf(0..100);
        let mut seen = Vec::new();
        for _ in 0..10 {
            shelf.sweep(10, |_, value| {
                seen.push(*value);
                true
            });
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn room_is_given_back() {
        let mut shelf: Shelf<u32, u64, RandomState> = Shelf::default();
        for key in 0..10_000 {
            shelf.get_or_default(key);
        }
        while shelf.sweep(1_000, |_, _| false) > 0 {}
        assert!(shelf.map.capacity() < 1_000 && shelf.ring.capacity() < 1_000);
    }

    #[test]
    fn the_lightest_of_the_sample_goes() {
        let mut shelf = shelf([7, 3, 9]);
        shelf.drop_lightest(3, |value| *value);
        assert!(shelf.get_mut(&3).is_none() && shelf.len() == 2);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(acts in proptest::collection::vec((0..4_u8, any::<u8>()), 0..200)) {
            let mut map = HashMap::new();
            let mut shelf = shelf([]);
            for (act, key) in acts {
                match act {
                    0 | 1 => {
                        *shelf.get_or_default(key) += u64::from(key);
                        *map.entry(key).or_insert(0) += u64::from(key);
                    }
                    2 => {
                        shelf.sweep(usize::from(key), |_, value| *value % 3 != 0);
                        map.retain(|key, _| shelf.map.contains_key(key));
                    }
                    _ => {
                        shelf.drop_lightest(4, |value| *value);
                        map.retain(|key, _| shelf.map.contains_key(key));
                    }
                }
                prop_assert_eq!(&shelf.map, &map);
                let mut ring = shelf.ring.clone();
                ring.sort_unstable();
                ring.dedup();
                prop_assert_eq!(ring.len(), map.len());
                prop_assert_eq!(shelf.len(), map.len());
            }
        }
    }
}
