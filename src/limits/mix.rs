//! A hasher for ids, which the server makes and clients can't choose: a fold of a multiplication, seeded per process.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Not for keys that clients invent: those go through the standard hasher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    start: u64,
    key: u64,
}

impl Mix {
    pub fn new() -> Self {
        let random = RandomState::new();
        Self { start: random.hash_one(0), key: random.hash_one(1) | 1 }
    }
}

impl Mix {
    /// One of 256, by the random end of an id.
    #[expect(clippy::cast_possible_truncation, reason = "the random end")]
    pub fn shard(self, id: u128) -> usize {
        ((id as u64 ^ self.start).wrapping_mul(self.key) >> 56) as usize
    }
}

impl BuildHasher for Mix {
    type Hasher = Mixing;

    fn build_hasher(&self) -> Mixing {
        Mixing { state: self.start, key: self.key }
    }
}

#[derive(Debug)]
pub(super) struct Mixing {
    state: u64,
    key: u64,
}

impl Mixing {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key ^ word.rotate_left(32));
        self.state = fold(product);
    }
}

impl Hasher for Mixing {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    /// Only lengths come this way, and all ids are of one length.
    fn write_usize(&mut self, _: usize) {}

    fn write_isize(&mut self, word: isize) {
        self.word(word.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        fold(u128::from(self.state) * u128::from(self.key))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn fold(product: u128) -> u64 {
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrgId;

    #[test]
    fn ids_of_one_moment_spread_over_all_shards() {
        let mix = Mix::new();
        let (mut shards, mut places) = ([0_u32; 256], [0_u32; 256]);
        for _ in 0..256_000 {
            let org = OrgId::new();
            shards[mix.shard(org.uuid().as_u128())] += 1;
            places[usize::try_from(mix.hash_one(org) & 255).unwrap()] += 1;
        }
        assert!(shards.iter().all(|count| (700..1_300).contains(count)), "{shards:?}");
        assert!(places.iter().all(|count| (700..1_300).contains(count)), "{places:?}");
    }
}
