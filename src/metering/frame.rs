//! A request in a journal: a frame with its length and its checksum, so that whatever a crash left is told from what was
//! written whole.

use super::{
    bytes::{Reader, put, put_text},
    call::{Call, Limits, Outcome},
};
use crate::ids::{ApiKeyId, OrgId, RequestId};
use smallvec::SmallVec;
use uuid::Uuid;

/// Begins each frame, so that the next can be found behind what can't be read.
const MAGIC: [u8; 2] = [0xA5, 0x1E];
/// Magic, length of the body, checksum of the body.
const HEAD: usize = 8;
/// No frame is longer.
pub const LONGEST: usize = HEAD + u16::MAX as usize;
/// Grows when the layout changes; what has another one is not read.
const LAYOUT: u8 = 1;

const ASKED: u8 = 4;
const SHADOWED: u8 = 8;
const KEY: u8 = 16;

pub type Frame = SmallVec<[u8; 256]>;

/// `None` where it is longer than a frame can be: with more policies than any tier has.
pub fn write(call: &Call<'_>) -> Option<Frame> {
    let mut frame = Frame::new();
    frame.resize(HEAD, 0);
    let flag = |is: bool, flag| if is { flag } else { 0 };
    let Limits { were_asked, units, is_shadowed, said } = call.limits;
    frame.push(LAYOUT);
    frame.push(
        call.outcome as u8
            | flag(were_asked, ASKED)
            | flag(is_shadowed, SHADOWED)
            | flag(call.key.is_some(), KEY),
    );
    frame.extend_from_slice(&call.at.to_le_bytes());
    frame.extend_from_slice(call.request.uuid().as_bytes());
    frame.extend_from_slice(call.org.uuid().as_bytes());
    if let Some(key) = call.key {
        frame.extend_from_slice(key.uuid().as_bytes());
    }
    put(&mut frame, units.into());
    put_text(&mut frame, call.route);
    frame.extend_from_slice(said);
    let body = &frame[HEAD..];
    let (length, sum) = (u16::try_from(body.len()).ok()?, crc32fast::hash(body));
    frame[..2].copy_from_slice(&MAGIC);
    frame[2..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    Some(frame)
}

/// The frame that these bytes begin with, and how long it is; `None` where they begin with no whole one.
pub fn read(bytes: &[u8]) -> Option<(Call<'_>, usize)> {
    let mut reader = Reader(bytes);
    if reader.array()? != MAGIC {
        return None;
    }
    let length = usize::from(u16::from_le_bytes(reader.array()?));
    let sum = u32::from_le_bytes(reader.array()?);
    let body = reader.take(length)?;
    if crc32fast::hash(body) != sum {
        return None;
    }
    Some((call(body)?, HEAD + length))
}

fn call(body: &[u8]) -> Option<Call<'_>> {
    let mut reader = Reader(body);
    if reader.byte()? != LAYOUT {
        return None;
    }
    let flags = reader.byte()?;
    let outcome = *Outcome::ALL.get(usize::from(flags & 3))?;
    let at = u64::from_le_bytes(reader.array()?);
    let request = RequestId::from_uuid(Uuid::from_bytes(reader.array()?));
    let org = OrgId::from_uuid(Uuid::from_bytes(reader.array()?));
    let key = match flags & KEY {
        0 => None,
        _ => Some(ApiKeyId::from_uuid(Uuid::from_bytes(reader.array()?))),
    };
    let units = u32::try_from(reader.number()?).ok()?;
    let route = reader.text()?;
    let limits =
        Limits { were_asked: flags & ASKED != 0, units, is_shadowed: flags & SHADOWED != 0, said: reader.0 };
    Some(Call { request, at, org, key, route, outcome, limits })
}

/// Reads frame after frame and gives each to `of`. Answers how many of the bytes are done with, and how many of those are
/// no frames: what can't be read is passed over where a whole frame comes behind it, and left where none does, since it
/// may still be being written.
pub fn read_all<'b>(bytes: &'b [u8], mut of: impl FnMut(Call<'b>)) -> (usize, usize) {
    let (mut place, mut skipped) = (0, 0);
    while place < bytes.len() {
        if let Some((call, length)) = read(&bytes[place..]) {
            of(call);
            place += length;
        } else if let Some(next) = (place + 1..bytes.len()).find(|&next| read(&bytes[next..]).is_some()) {
            skipped += next - place;
            place = next;
        } else {
            break;
        }
    }
    (place, skipped)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    pub fn some_call(at: u64, said: &[u8]) -> Call<'_> {
        let limits = Limits { were_asked: true, units: 3, is_shadowed: at % 2 == 1, said };
        Call {
            request: RequestId::new(),
            at,
            org: OrgId::new(),
            key: at.is_multiple_of(3).then(ApiKeyId::new),
            route: "list_products",
            outcome: Outcome::ALL[usize::try_from(at % 3).unwrap()],
            limits,
        }
    }

    fn told(call: &Call<'_>) -> String {
        format!("{call:?}")
    }

    proptest! {
        #[test]
        fn what_is_written_whole_is_read_whatever_lies_between(
            calls in vec((any::<u64>(), vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..30)), 0..12),
            cut in 0..60_usize,
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            let mut junk_so_far = 0;
            for (at, said, junk) in &calls {
                let call = some_call(*at, said);
                // As a write that came to nothing leaves it: a part of a frame, or anything else.
                let torn = write(&call).unwrap();
                bytes.extend_from_slice(&torn[..junk.len()]);
                bytes.extend_from_slice(junk);
                junk_so_far += 2 * junk.len();
                bytes.extend_from_slice(&torn);
                expected.push(told(&call));
            }
            let whole = bytes.len();
            let last = some_call(1, b"the last one is still being written, and so it is longer than it seems");
            let last = write(&last).unwrap();
            bytes.extend_from_slice(&last[..cut.min(last.len() - 1)]);
            let mut read = Vec::new();
            let (done, skipped) = read_all(&bytes, |call| read.push(told(&call)));
            prop_assert_eq!(read, expected);
            prop_assert_eq!((done, skipped), (whole, junk_so_far));
        }
    }

    #[test]
    fn a_frame_of_which_one_bit_is_another_is_not_read() {
        let frame = write(&some_call(7, b"said")).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&other).is_none(), "bit {bit}");
        }
    }
}
