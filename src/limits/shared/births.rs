//! When Redis was born, said where it is lost with what it tells of: in a cluster once a hash slot, for a node is lost
//! without the others.
//!
//! A node that has lost its data says of each slot that it was born when the slot is first asked for. So an org whose slot
//! nobody has asked for since starts with nothing left as well, even if it is younger than the loss: strict, for one window.

use crc16::{State, XMODEM};

const SLOTS: u16 = 16_384;

/// The keys that tell it.
pub(super) enum Births {
    One,
    /// By the number of the slot.
    Slots(Box<[String]>),
}

impl Births {
    /// Takes a few milliseconds.
    pub fn of_a_cluster() -> Self {
        let mut keys = vec![String::new(); SLOTS.into()];
        let mut left = SLOTS;
        let mut number = 0_u32;
        while left > 0 {
            let tag = format!("{number:x}");
            let key = &mut keys[usize::from(slot(&tag))];
            if key.is_empty() {
                *key = format!("rl:born:{{{tag}}}");
                left -= 1;
            }
            number += 1;
        }
        Self::Slots(keys.into())
    }

    /// The one in the slot of a key that is `tag`, or has it as its hash tag.
    pub fn beside(&self, tag: &str) -> &str {
        match self {
            Self::One => "rl:born",
            Self::Slots(keys) => &keys[usize::from(slot(tag))],
        }
    }

    /// Those that Redis has to be told of when its first node is born.
    pub fn of_slots(&self) -> &[String] {
        match self {
            Self::One => &[],
            Self::Slots(keys) => keys,
        }
    }
}

fn slot(tag: &str) -> u16 {
    State::<XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT says.
        assert_eq!(["123456789", "foo", ""].map(slot), [12_739, 12_182, 0]);
    }

    #[test]
    fn each_slot_has_a_short_key_of_its_own() {
        let births = Births::of_a_cluster();
        for (number, key) in births.of_slots().iter().enumerate() {
            let tag = key.strip_prefix("rl:born:{").and_then(|rest| rest.strip_suffix('}')).unwrap();
            assert_eq!(usize::from(slot(tag)), number);
            assert!(tag.len() <= 5, "{tag}");
            assert_eq!(births.beside(tag), key);
        }
        assert_eq!(Births::One.beside("anything"), "rl:born");
    }
}
