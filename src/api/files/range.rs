//! Which part of a file is asked for (RFC 9110, section 14).

use std::ops::Range;

#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    Part(Range<u64>),
    /// Of a part that is not there.
    Beyond,
}

/// What `Range` asks of a file of `size` bytes. Several ranges at once are answered with all of it, as are those that
/// can't be read.
pub fn asked(header: Option<&str>, size: u64) -> Asked {
    let bounds = header.and_then(|header| header.strip_prefix("bytes=")?.trim().split_once('-'));
    let Some((first, last)) = bounds else { return Asked::All };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(last)) if first.is_empty() => size.saturating_sub(last)..size,
        _ => return Asked::All,
    };
    if range.is_empty() { Asked::Beyond } else { Asked::Part(range) }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_within_the_file_or_not_there() {
        for (header, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=2-", 2..10),
            ("bytes=9-99999999999999999999", 9..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
        ] {
            assert_eq!(asked(Some(header), 10), Asked::Part(range), "{header}");
        }
        for header in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(asked(Some(header), 10), Asked::Beyond, "{header}");
        }
        for header in
            ["bytes=0-1,3-4", "bytes=4-2", "bytes=a-b", "bytes=", "bytes=-", "lines=0-1", "bytes=+1-2", "0-1"]
        {
            assert_eq!(asked(Some(header), 10), Asked::All, "{header}");
        }
        assert_eq!(asked(None, 10), Asked::All);
    }
}
