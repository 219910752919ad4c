//! Decisions in columns: how a batch of them is packed into a few bytes each, and read again one after the other.

use super::super::tier::Subject;
use crate::ids::{ApiKeyId, OrgId, UserId};
use integer_encoding::VarInt;
use std::collections::HashMap;
use uuid::Uuid;

/// Grows when the layout changes; what has another one is not read.
const LAYOUT: u8 = 1;

/// One decision, as it is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Microseconds since 1970.
    pub at: u64,
    pub org: OrgId,
    pub who: Subject,
    /// The operation's id.
    pub route: &'static str,
    pub cost: u32,
    pub admitted: bool,
}

/// The bytes are no batch, or one of a newer release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of recorded decisions can't be read")]
pub struct Unreadable;

/// In the order of their times, those of one time in the order in which they were pushed.
pub fn pack(decisions: &mut [Recorded]) -> Vec<u8> {
    decisions.sort_by_key(|decision| decision.at);
    let (mut orgs, mut callers, mut routes) = (Words::default(), Words::default(), Words::default());
    let (mut times, mut who, mut what, mut costs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut before = 0;
    for decision in &*decisions {
        put(&mut times, decision.at - before);
        before = decision.at;
        let org = orgs.place(decision.org);
        put(&mut who, callers.place((org, decision.who)));
        put(&mut what, routes.place(decision.route));
        put(&mut costs, u64::from(decision.cost) << 1 | u64::from(decision.admitted));
    }
    let mut packed = vec![LAYOUT];
    put(&mut packed, orgs.list.len() as u64);
    for org in orgs.list {
        packed.extend(org.uuid().as_bytes());
    }
    put(&mut packed, callers.list.len() as u64);
    for (org, who) in callers.list {
        put(&mut packed, org);
        let (kind, id) = match who {
            Subject::User(user) => (0, user.uuid()),
            Subject::ApiKey(key) => (1, key.uuid()),
        };
        packed.push(kind);
        packed.extend(id.as_bytes());
    }
    put(&mut packed, routes.list.len() as u64);
    for route in routes.list {
        put(&mut packed, route.len() as u64);
        packed.extend(route.as_bytes());
    }
    put(&mut packed, decisions.len() as u64);
    for column in [times, who, what, costs] {
        put(&mut packed, column.len() as u64);
        packed.extend(column);
    }
    packed
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    let mut buffer = [0; 10];
    let length = number.encode_var(&mut buffer);
    bytes.extend_from_slice(&buffer[..length]);
}

/// Each word once, numbered as they come.
struct Words<T> {
    known: HashMap<T, u64>,
    list: Vec<T>,
}

impl<T> Default for Words<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), list: Vec::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Words<T> {
    fn place(&mut self, word: T) -> u64 {
        *self.known.entry(word).or_insert_with(|| {
            self.list.push(word);
            self.list.len() as u64 - 1
        })
    }
}

/// A packed batch, opened: its dictionaries, and where in its columns a reader stands.
#[derive(Debug)]
pub struct Batch {
    pub callers: Vec<(OrgId, Subject)>,
    pub routes: Vec<String>,
    bytes: Vec<u8>,
    /// Where the next time, caller, route and cost stand.
    columns: [usize; 4],
    left: u64,
    at: u64,
}

/// The next decision of a batch; `caller` and `route` are places in its dictionaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub at: u64,
    pub caller: usize,
    pub route: usize,
    pub cost: u32,
    pub admitted: bool,
}

impl Batch {
    pub fn open(bytes: Vec<u8>) -> Result<Self, Unreadable> {
        let mut reader = Reader { bytes: &bytes, place: 1 };
        if bytes.first() != Some(&LAYOUT) {
            return Err(Unreadable);
        }
        let orgs = (0..reader.number()?).map(|_| reader.uuid().map(OrgId::from_uuid));
        let orgs = orgs.collect::<Result<Vec<_>, _>>()?;
        let mut callers = Vec::new();
        for _ in 0..reader.number()? {
            let org = *orgs.get(reader.place()?).ok_or(Unreadable)?;
            let kind = reader.take(1)?[0];
            let id = reader.uuid()?;
            callers.push(match kind {
                0 => (org, Subject::User(UserId::from_uuid(id))),
                1 => (org, Subject::ApiKey(ApiKeyId::from_uuid(id))),
                _ => return Err(Unreadable),
            });
        }
        let mut routes = Vec::new();
        for _ in 0..reader.number()? {
            let length = reader.place()?;
            let route = str::from_utf8(reader.take(length)?).map_err(|_| Unreadable)?;
            routes.push(route.to_owned());
        }
        let left = reader.number()?;
        let mut columns = [0; 4];
        for column in &mut columns {
            let length = reader.place()?;
            *column = reader.place;
            reader.take(length)?;
        }
        Ok(Self { callers, routes, bytes, columns, left, at: 0 })
    }

    /// The next one, until there is none.
    pub fn advance(&mut self) -> Result<Option<Next>, Unreadable> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut read = [0; 4];
        for (place, number) in self.columns.iter_mut().zip(&mut read) {
            let mut reader = Reader { bytes: &self.bytes, place: *place };
            *number = reader.number()?;
            *place = reader.place;
        }
        let [elapsed, caller, route, cost] = read;
        self.at = self.at.saturating_add(elapsed);
        let place = |number: u64, words: usize| {
            usize::try_from(number).ok().filter(|place| *place < words).ok_or(Unreadable)
        };
        Ok(Some(Next {
            at: self.at,
            caller: place(caller, self.callers.len())?,
            route: place(route, self.routes.len())?,
            cost: u32::try_from(cost >> 1).map_err(|_| Unreadable)?,
            admitted: cost & 1 == 1,
        }))
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    place: usize,
}

impl<'b> Reader<'b> {
    fn number(&mut self) -> Result<u64, Unreadable> {
        // Most are below 128.
        let rest = self.bytes.get(self.place..).ok_or(Unreadable)?;
        if let Some(&small) = rest.first().filter(|byte| **byte < 128) {
            self.place += 1;
            return Ok(small.into());
        }
        let (number, length) = u64::decode_var(rest).ok_or(Unreadable)?;
        self.place += length;
        Ok(number)
    }

    fn place(&mut self) -> Result<usize, Unreadable> {
        self.number()?.try_into().map_err(|_| Unreadable)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Unreadable> {
        let end = self.place.checked_add(length).ok_or(Unreadable)?;
        let taken = self.bytes.get(self.place..end).ok_or(Unreadable)?;
        self.place = end;
        Ok(taken)
    }

    fn uuid(&mut self) -> Result<Uuid, Unreadable> {
        Uuid::from_slice(self.take(16)?).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTES: [&str; 3] = ["list_products", "get_product", "create_order"];

    fn decisions() -> impl Strategy<Value = Vec<Recorded>> {
        let orgs = [1, 2, u128::MAX].map(|id| OrgId::from_uuid(Uuid::from_u128(id)));
        let decision = (0..1_u64 << 52, 0..3_usize, 0..4_u128, any::<bool>(), 0..3_usize, any::<u32>());
        proptest::collection::vec(decision, 0..200).prop_map(move |all| {
            let recorded =
                |(at, org, who, key, route, cost): (u64, usize, u128, bool, usize, u32)| Recorded {
                    at,
                    org: orgs[org],
                    who: if key {
                        Subject::ApiKey(ApiKeyId::from_uuid(Uuid::from_u128(who)))
                    } else {
                        Subject::User(UserId::from_uuid(Uuid::from_u128(who)))
                    },
                    route: ROUTES[route],
                    cost,
                    admitted: cost % 3 == 0,
                };
            all.into_iter().map(recorded).collect()
        })
    }

    fn unpacked(bytes: Vec<u8>) -> Result<Vec<Recorded>, Unreadable> {
        let mut batch = Batch::open(bytes)?;
        let mut all = Vec::new();
        while let Some(Next { at, caller, route, cost, admitted }) = batch.advance()? {
            let (org, who) = batch.callers[caller];
            let route = ROUTES.into_iter().find(|known| *known == batch.routes[route]).ok_or(Unreadable)?;
            all.push(Recorded { at, org, who, route, cost, admitted });
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_again_in_the_order_of_time(mut decisions in decisions()) {
            let packed = pack(&mut decisions);
            prop_assert_eq!(unpacked(packed).unwrap(), decisions);
        }

        #[test]
        fn what_is_torn_or_scribbled_on_is_an_error_or_other_decisions_and_never_a_panic(
            mut decisions in decisions(), cut: prop::sample::Index, letter: prop::sample::Index, to: u8,
        ) {
            let mut packed = pack(&mut decisions);
            let (cut, letter) = (cut.index(packed.len()), letter.index(packed.len()));
            prop_assert!(unpacked(packed[..cut].to_vec()).is_err());
            packed[letter] = to;
            let _ = unpacked(packed);
        }
    }

    #[test]
    fn a_busy_second_takes_less_than_ten_bytes_a_decision() {
        let callers: Vec<_> = (0..500).map(|_| (OrgId::new(), Subject::User(UserId::new()))).collect();
        let mut decisions: Vec<Recorded> = (0..10_000_u64)
            .map(|place| {
                let (org, who) = callers[usize::try_from(place * 7 % 500).unwrap()];
                let (at, route) = (1_700_000_000_000_000 + place * 100, ROUTES[(place % 3) as usize]);
                Recorded { at, org, who, route, cost: 2, admitted: true }
            })
            .collect();
        let packed = pack(&mut decisions);
        assert!(packed.len() < 100_000, "{}", packed.len());
    }
}
