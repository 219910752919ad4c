//! What a file is: by its first bytes, whatever it is called.

use crate::file_links::PICTURES;
use std::borrow::Cow;

/// Of what may stand as text, what is more than that.
const TEXTS_OF_A_KIND: [&str; 6] = [
    "text/html",
    "text/xml",
    "text/x-shellscript",
    "application/pdf",
    "application/rtf",
    "application/postscript",
];

/// Holds other kinds of files, which `declared` may tell apart.
const CONTAINERS: [(&str, &[&str]); 3] = [
    ("application/zip", &["application/vnd.", "application/epub+zip", "application/java-archive"]),
    ("application/x-ole-storage", &["application/vnd.", "application/msword", "application/x-msi"]),
    ("text/xml", &["application/", "image/svg+xml"]),
];

/// The media type of a file that begins with `head`.
///
/// # Errors
/// What it is instead, where it is not of the type that was declared.
pub fn of(head: &[u8], declared: Option<&str>) -> Result<Cow<'static, str>, &'static str> {
    let declared = declared.map(essence).filter(|declared| !declared.is_empty());
    let declared = declared.as_deref().filter(|declared| !UNKNOWN.contains(declared));
    let (found, text) = (sniffed(head), is_text(head));
    let Some(declared) = declared else {
        return Ok(found.unwrap_or(if text { "text/plain" } else { UNKNOWN[0] }).into());
    };
    let nothing = if text { "text/plain" } else { UNKNOWN[0] };
    match found {
        Some(found) if agree(found, declared) => {
            let refined = CONTAINERS.iter().any(|(container, kinds)| {
                *container == found && kinds.iter().any(|kind| declared.starts_with(kind))
            });
            Ok(if refined { declared.to_owned().into() } else { found.into() })
        }
        Some(found) => Err(found),
        None if is_text_type(declared) => {
            if text {
                Ok(declared.to_owned().into())
            } else {
                Err(nothing)
            }
        }
        // Of these each kind there is would have been found.
        None if ["image/", "audio/", "video/", "application/pdf", "application/zip"]
            .iter()
            .any(|kind| declared.starts_with(kind)) =>
        {
            Err(nothing)
        }
        None => Ok(nothing.into()),
    }
}

const UNKNOWN: [&str; 2] = ["application/octet-stream", "binary/octet-stream"];

fn sniffed(head: &[u8]) -> Option<&'static str> {
    let found = infer::get(head)?.mime_type();
    // Some kinds are known by two letters, with which many a text begins.
    (!is_text(head) || TEXTS_OF_A_KIND.contains(&found)).then_some(found)
}

/// A media type without its parameters, under the name that it has here; nothing where it is none.
fn essence(declared: &str) -> String {
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_one = essence.len() <= 100
        && essence.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
        && essence.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte))
        && essence.matches('/').count() == 1;
    match essence.as_str() {
        _ if !is_one => String::new(),
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        "image/x-png" | "image/apng" => "image/png".to_owned(),
        _ => essence,
    }
}

/// Whether a file of the kind `found` may be declared so. Kinds go by many names: it is held to what one would be
/// misled by.
fn agree(found: &str, declared: &str) -> bool {
    let both = |kind: &str| (found.starts_with(kind), declared.starts_with(kind));
    let one_alone = |(a, b): (bool, bool)| a != b;
    if found == declared {
        return true;
    }
    if PICTURES.contains(&found)
        || PICTURES.contains(&declared)
        || found == "application/pdf"
        || declared == "application/pdf"
    {
        return false;
    }
    match found {
        "text/html" => {
            is_text_type(declared) && declared != "image/svg+xml" && declared != "application/json"
        }
        "text/xml" => is_text_type(declared) && declared != "application/json",
        "text/x-shellscript" => is_text_type(declared) || declared.contains("sh"),
        _ => {
            let media = |kind: &str| kind.starts_with("audio/") || kind.starts_with("video/");
            let is_media = (media(found), media(declared));
            !one_alone(both("image/"))
                && !is_text_type(declared)
                && (!one_alone(is_media) || declared.starts_with("application/"))
        }
    }
}

fn is_text_type(kind: &str) -> bool {
    kind.starts_with("text/")
        || ["+xml", "+json", "/json", "/xml", "/javascript", "/yaml", "/x-yaml", "/toml"]
            .iter()
            .any(|end| kind.ends_with(end))
}

/// UTF-8, but for a letter that is cut at the end, and no character that no text has.
fn is_text(head: &[u8]) -> bool {
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    valid
        .chars()
        .all(|letter| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}'))
}

/// Width and height of a picture in pixels.
///
/// # Errors
/// It has none that could be, and `head` is all there is of it.
pub fn dimensions(kind: &str, head: &[u8], is_whole: bool) -> Result<Option<(i32, i32)>, ()> {
    if !PICTURES.contains(&kind) {
        return Ok(None);
    }
    let pixels = |count: usize| i32::try_from(count).ok().filter(|count| *count > 0);
    let size =
        imagesize::blob_size(head).ok().and_then(|size| Some((pixels(size.width)?, pixels(size.height)?)));
    if size.is_none() && is_whole { Err(()) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x03\x08\x02\0\0\0";
    const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0a";

    #[test]
    fn a_file_is_what_its_bytes_say() {
        for (head, declared, kind) in [
            (PNG, None, "image/png"),
            (PNG, Some("image/png"), "image/png"),
            (PNG, Some("Application/Octet-Stream"), "image/png"),
            (PNG, Some("nonsense"), "image/png"),
            (b"\xff\xd8\xff\xe0", Some("image/jpg; q=1"), "image/jpeg"),
            (b"<!DOCTYPE html><p>x", None, "text/html"),
            (b"# Title", None, "text/plain"),
            (b"# Title", Some("text/markdown"), "text/markdown"),
            (b"<p>Title</p>", Some("text/markdown"), "text/html"),
            (b"BM and W: prices", Some("text/plain; charset=utf-8"), "text/plain"),
            (b"{\"a\": 1}", Some("application/json"), "application/json"),
            (b"<svg xmlns=\"..\"/>", Some("image/svg+xml"), "image/svg+xml"),
            (b"<?xml version=\"1.0\"?><svg/>", Some("image/svg+xml"), "image/svg+xml"),
            (b"<svg xmlns=\"..\"/>", None, "text/plain"),
            (b"%PDF-1.7 text", None, "application/pdf"),
            (ZIP, Some("application/vnd.oasis.opendocument.text"), "application/vnd.oasis.opendocument.text"),
            (ZIP, Some("application/x-zip-compressed"), "application/zip"),
            (b"\0\x01\x02\x03", Some("application/x-own"), "application/octet-stream"),
            ("Gr\u{fc}\u{df}e".as_bytes(), None, "text/plain"),
            (&"Gr\u{fc}".as_bytes()[..3], None, "text/plain"),
        ] {
            assert_eq!(of(head, declared).as_deref(), Ok(kind), "{declared:?} {}", head.escape_ascii());
        }
    }

    #[test]
    fn what_is_declared_as_something_else_is_told_what_it_is() {
        for (head, declared, found) in [
            (b"<!DOCTYPE html><script>".as_slice(), "image/png", "text/html"),
            (b"just text", "image/png", "text/plain"),
            (b"just text", "application/pdf", "text/plain"),
            (PNG, "image/jpeg", "image/png"),
            (PNG, "text/plain", "image/png"),
            (PNG, "application/zip", "image/png"),
            (ZIP, "image/png", "application/zip"),
            (ZIP, "text/csv", "application/zip"),
            (b"\0\x01\x02", "text/plain", "application/octet-stream"),
            (b"\0\x01\x02", "video/mp4", "application/octet-stream"),
            (b"<html>", "image/svg+xml", "text/html"),
            (b"%PDF-1.7", "text/plain", "application/pdf"),
        ] {
            assert_eq!(of(head, Some(declared)), Err(found), "{declared} {}", head.escape_ascii());
        }
    }

    #[test]
    fn a_picture_has_a_size_and_what_ends_before_it_is_broken() {
        assert_eq!(dimensions("image/png", PNG, true), Ok(Some((2, 3))));
        assert_eq!(dimensions("image/png", &PNG[..10], true), Err(()));
        assert_eq!(dimensions("image/png", &PNG[..10], false), Ok(None));
        assert_eq!(dimensions("text/plain", b"x", true), Ok(None));
    }
}
