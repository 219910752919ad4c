//! What a file is called, in the list and by whoever saves it.

use axum::http::HeaderValue;
use std::fmt::Write as _;

/// In characters.
pub const LONGEST: usize = 200;

/// What is wrong with a name that somebody chose; nothing where it will do.
pub fn flaw(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() || name == "." || name == ".." {
        return Some("is no name");
    }
    if name.chars().count() > LONGEST {
        return Some("longer than 200 characters");
    }
    if name.chars().any(|letter| letter == '/' || letter == '\\' || is_hidden(letter)) {
        return Some("has a slash, or a character that can't be seen");
    }
    None
}

/// A name made of what a client's form calls the file: some send whole paths.
pub fn of_form(file_name: &str) -> String {
    let last = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|letter| !is_hidden(*letter)).take(LONGEST).collect();
    let name = name.trim();
    if flaw(name).is_some() { "file".to_owned() } else { name.to_owned() }
}

/// Control characters, and those that turn the direction of a text: with them `gpj.exe` reads `exe.jpg`.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `Content-Disposition` (RFC 6266): in ASCII for whoever reads no more, and as it is (RFC 8187).
pub fn disposition(kind: &str, name: &str) -> HeaderValue {
    let plain =
        |letter: char| if letter.is_ascii_graphic() && !"\"\\%;".contains(letter) { letter } else { '_' };
    let ascii: String = name.chars().map(|letter| if letter == ' ' { ' ' } else { plain(letter) }).collect();
    let mut exact = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            exact.push(char::from(byte));
        } else {
            let _ = write!(exact, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{exact}"))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_the_last_part_is_the_name_and_nothing_that_misleads_is_in_it() {
        for (given, name) in [
            ("cog.png", "cog.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\ada\\cog.png", "cog.png"),
            ("a/..", "file"),
            ("", "file"),
            ("/", "file"),
            (" . ", "file"),
            ("co\ng\0.png", "cog.png"),
            ("photo\u{202e}gpj.exe", "photogpj.exe"),
            ("Zahnrad \u{2699}.png", "Zahnrad \u{2699}.png"),
        ] {
            assert_eq!(of_form(given), name, "{given:?}");
        }
        assert_eq!(of_form(&"x".repeat(300)).len(), LONGEST);
        for refused in ["", "  ", "..", "a/b", "a\\b", "a\nb", "a\u{202e}b", &"x".repeat(201)] {
            assert!(flaw(refused).is_some(), "{refused:?}");
        }
        assert_eq!(flaw("\"quoted\"; x=1"), None);
    }

    #[test]
    fn whatever_a_file_is_called_its_header_is_one_and_says_so() {
        for (name, header) in [
            ("cog.png", "inline; filename=\"cog.png\"; filename*=UTF-8''cog.png"),
            ("a \"b\"; c.png", "inline; filename=\"a _b__ c.png\"; filename*=UTF-8''a%20%22b%22%3B%20c.png"),
            ("50%\\.png", "inline; filename=\"50__.png\"; filename*=UTF-8''50%25%5C.png"),
            ("\u{20ac}.png", "inline; filename=\"_.png\"; filename*=UTF-8''%E2%82%AC.png"),
            ("a\r\nx: y", "inline; filename=\"a__x: y\"; filename*=UTF-8''a%0D%0Ax%3A%20y"),
        ] {
            assert_eq!(disposition("inline", name), header, "{name:?}");
        }
    }
}
