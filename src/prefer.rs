//! `Prefer`: how a client would like a request to be done (RFC 7240).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The preferences that are known here; others are ignored, as they may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `return=minimal`: of what was written, no body.
    pub minimal: bool,
    /// `dry-run`: everything is checked, and nothing is kept.
    pub dry_run: bool,
    /// `count=exact`: of a list, how long it is.
    pub count: bool,
}

const NAME: &str = "prefer";
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

impl Prefer {
    /// Of a preference that is said twice, the first counts.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let lines = headers.get_all(NAME).iter().filter_map(|line| line.to_str().ok());
        let mut seen: Vec<String> = Vec::new();
        for preference in lines.flat_map(|line| line.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if seen.contains(&name) {
                continue;
            }
            match (name.as_str(), value) {
                ("return", "minimal") => prefer.minimal = true,
                ("dry-run", "") => prefer.dry_run = true,
                ("count", "exact") => prefer.count = true,
                _ => {}
            }
            seen.push(name);
        }
        prefer
    }
}

/// Says in an answer that a preference was met.
pub fn applied(headers: &mut HeaderMap, preference: &'static str) {
    headers.append(APPLIED, HeaderValue::from_static(preference));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(lines: &[&str]) -> Prefer {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(NAME, HeaderValue::from_str(line).unwrap());
        }
        Prefer::of(&headers)
    }

    #[test]
    fn preferences_are_read_from_one_line_or_several_and_the_first_counts() {
        let minimal = Prefer { minimal: true, ..Prefer::default() };
        for lines in [
            &["return=minimal"][..],
            &["respond-async", "Return = \"minimal\"; foo=bar"],
            &["return=minimal, return=representation"],
        ] {
            assert_eq!(prefer(lines), minimal, "{lines:?}");
        }
        for lines in [&["return=representation, return=minimal"][..], &["returns=minimal"], &["count"], &[]] {
            assert_eq!(prefer(lines), Prefer::default(), "{lines:?}");
        }
        let all = Prefer { minimal: true, dry_run: true, count: true };
        assert_eq!(prefer(&["dry-run, count=exact", "return=minimal"]), all);
    }
}
