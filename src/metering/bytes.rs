//! Numbers and short texts in bytes, written and read one after the other.

use integer_encoding::VarInt as _;
use smallvec::{Array, SmallVec};

/// As many bits as it has, seven a byte.
pub fn put<A: Array<Item = u8>>(bytes: &mut SmallVec<A>, number: u64) {
    let mut buffer = [0; 10];
    let length = number.encode_var(&mut buffer);
    bytes.extend_from_slice(&buffer[..length]);
}

/// After its length.
pub fn put_text<A: Array<Item = u8>>(bytes: &mut SmallVec<A>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// What is not read yet. Whatever is not there, or is not what it should be, is `None`.
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    pub fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn number(&mut self) -> Option<u64> {
        let (number, length) = u64::decode_var(self.0)?;
        self.take(length)?;
        Some(number)
    }

    pub fn text(&mut self) -> Option<&'b str> {
        let length = usize::try_from(self.number()?).ok()?;
        str::from_utf8(self.take(length)?).ok()
    }
}
