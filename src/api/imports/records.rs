//! The records of a file, one at a time, out of pieces as they come: no more than one is held, and each has its place.

use crate::error::Result;
use axum::body::Bytes;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use std::pin::Pin;

/// The longest record, in bytes.
pub const LONGEST: usize = 1 << 20;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// In bytes.
    pub offset: u64,
    /// From 1 on.
    pub line: i64,
}

impl Place {
    pub const START: Self = Self { offset: 0, line: 1 };
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Without its end of line.
    Record {
        line: i64,
        text: Vec<u8>,
    },
    TooLong {
        line: i64,
    },
    /// A quote that begins in the record at this line is never closed: what follows can't be told apart.
    Unclosed {
        line: i64,
    },
    End,
}

pub struct Records {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    held: Vec<u8>,
    /// How far `held` was looked through, and whether a quote is open there.
    seen: usize,
    in_quotes: bool,
    ended: bool,
    /// Whether a record goes on to a further line within quotes.
    quotes: bool,
    /// Of the next record.
    pub place: Place,
}

impl Records {
    /// Those of a file, from `place` on.
    pub fn of(
        stream: impl Stream<Item = Result<Bytes>> + Send + 'static,
        quotes: bool,
        place: Place,
    ) -> Self {
        let (held, stream) = (Vec::new(), Box::pin(stream));
        Self { stream, held, seen: 0, in_quotes: false, ended: false, quotes, place }
    }

    /// The next one that is not empty.
    pub async fn next(&mut self) -> Result<Found> {
        loop {
            let line = self.place.line;
            let Some(text) = self.take_record().await? else {
                return Ok(if self.in_quotes { Found::Unclosed { line } } else { Found::End });
            };
            match text {
                Some(text) if text.is_empty() => {}
                Some(text) => return Ok(Found::Record { line, text }),
                None if self.in_quotes => return Ok(Found::Unclosed { line }),
                None => return Ok(Found::TooLong { line }),
            }
        }
    }

    /// None at the end; within, nothing for one that is too long.
    async fn take_record(&mut self) -> Result<Option<Option<Vec<u8>>>> {
        let mut too_long = false;
        loop {
            while self.seen < self.held.len() {
                let byte = self.held[self.seen];
                self.seen += 1;
                if byte == b'"' && self.quotes {
                    self.in_quotes = !self.in_quotes;
                }
                if byte == b'\n' {
                    self.place.line += 1;
                    if !self.in_quotes {
                        return Ok(Some(self.cut(too_long)));
                    }
                }
            }
            if self.held.len() > LONGEST {
                if self.in_quotes {
                    return Ok(Some(None));
                }
                too_long = true;
                self.place.offset += self.held.len() as u64;
                self.held.clear();
                self.seen = 0;
            }
            let next = if self.ended { None } else { self.stream.next().await };
            let Some(piece) = next else {
                self.ended = true;
                if self.in_quotes || self.held.is_empty() && !too_long {
                    return Ok(None);
                }
                self.place.line += 1;
                return Ok(Some(self.cut(too_long)));
            };
            self.held.extend_from_slice(&piece?);
        }
    }

    fn cut(&mut self, too_long: bool) -> Option<Vec<u8>> {
        let rest = self.held.split_off(self.seen);
        let mut record = std::mem::replace(&mut self.held, rest);
        let at_the_start = self.place.offset == 0;
        self.place.offset += record.len() as u64;
        self.seen = 0;
        if record.last() == Some(&b'\n') {
            record.pop();
        }
        if record.last() == Some(&b'\r') {
            record.pop();
        }
        if at_the_start && record.starts_with(b"\xef\xbb\xbf") {
            record.drain(..3);
        }
        (!too_long && record.len() <= LONGEST).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], pieces: usize, quotes: bool) -> Vec<Found> {
        let pieces: Vec<_> = text.chunks(pieces).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut records = Records::of(futures::stream::iter(pieces), quotes, Place::START);
        let mut found = Vec::new();
        loop {
            found.push(records.next().await.unwrap());
            if matches!(found.last(), Some(Found::End | Found::Unclosed { .. })) {
                return found;
            }
        }
    }

    fn record(line: i64, text: &str) -> Found {
        Found::Record { line, text: text.into() }
    }

    #[tokio::test]
    async fn records_are_the_same_in_whatever_pieces_they_come() {
        let text = "\u{feff}a,b\r\n\r\n\"x\ny\"\"\",2\nlast".as_bytes();
        for pieces in [1, 2, 3, 7, 100] {
            let found = all(text, pieces, true).await;
            assert_eq!(
                found,
                [record(1, "a,b"), record(3, "\"x\ny\"\"\",2"), record(5, "last"), Found::End],
                "{pieces}"
            );
        }
        assert_eq!(all(b"\"\n\"\n", 1, false).await, [record(1, "\""), record(2, "\""), Found::End]);
    }

    #[tokio::test]
    async fn what_is_too_long_is_passed_over_and_a_quote_that_is_never_closed_ends_it() {
        let long = [vec![b'x'; LONGEST + 1], b"\nshort".to_vec()].concat();
        for pieces in [4096, 1 << 22] {
            let found = all(&long, pieces, true).await;
            assert_eq!(found, [Found::TooLong { line: 1 }, record(2, "short"), Found::End], "{pieces}");
        }
        assert_eq!(all(b"a\n\"b\nc\n", 2, true).await, [record(1, "a"), Found::Unclosed { line: 2 }]);
        let open = [b"\"".to_vec(), vec![b'x'; 3 * LONGEST]].concat();
        assert_eq!(all(&open, 4096, true).await, [Found::Unclosed { line: 1 }]);
    }
}
