//! Units that were leased: each may be used until its lease ends, and is handed back after.

/// Two batches, so that a lease is not made longer by the next one: units of the older are used first, and whatever is
/// left of both when a third comes ends with the older.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tokens {
    older: Batch,
    newer: Batch,
}

#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    units: u32,
    /// In steady nanoseconds.
    ends: u64,
}

impl Tokens {
    /// Used or not, in time or not.
    pub fn units(&self) -> u32 {
        self.older.units + self.newer.units
    }

    pub fn add(&mut self, units: u32, ends: u64) {
        if units == 0 {
            return;
        }
        let ends_first = if self.older.units > 0 { self.older.ends } else { self.newer.ends };
        self.older = Batch { units: self.units(), ends: ends_first };
        self.newer = Batch { units, ends };
    }

    /// The caller has looked whether there are so many.
    pub fn take(&mut self, units: u32) {
        let of_older = units.min(self.older.units);
        self.older.units -= of_older;
        self.newer.units = self.newer.units.saturating_sub(units - of_older);
    }

    /// Takes out what may not be used any more.
    pub fn ended(&mut self, now: u64) -> u32 {
        let ended = |batch: &mut Batch| if batch.ends <= now { std::mem::take(&mut batch.units) } else { 0 };
        ended(&mut self.older) + ended(&mut self.newer)
    }

    /// Takes out everything.
    pub fn all(&mut self) -> u32 {
        std::mem::take(self).units()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_older_go_first_and_end_first() {
        let mut tokens = Tokens::default();
        tokens.add(5, 100);
        tokens.add(7, 200);
        tokens.take(2);
        assert_eq!(tokens.ended(99), 0);
        assert_eq!((tokens.ended(100), tokens.units()), (3, 7));
        tokens.take(7);
        assert_eq!(tokens.ended(200), 0);
    }

    proptest! {
        #[test]
        fn none_is_used_after_its_end_and_none_is_lost(acts in prop::collection::vec((1..20_u32, 0..20_u32, 0..30_u64), 1..60)) {
            let mut tokens = Tokens::default();
            // The end of each unit that is held, in the order in which they came.
            let mut held = std::collections::VecDeque::new();
            let mut now = 0;
            for (got, used, pause) in acts {
                now += pause;
                let ended = usize::try_from(tokens.ended(now)).unwrap();
                let overdue = held.iter().filter(|end| **end <= now).count();
                prop_assert!(ended >= overdue, "{ended} of {overdue} ended");
                held.drain(..ended);
                tokens.add(got, now + 50);
                held.extend((0..got).map(|_| now + 50));
                let used = used.min(tokens.units());
                tokens.take(used);
                held.drain(..usize::try_from(used).unwrap());
                prop_assert_eq!(usize::try_from(tokens.units()).unwrap(), held.len());
            }
        }
    }
}
