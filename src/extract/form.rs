//! Forms with files in them (RFC 7578), read part by part and never held as a whole.

use crate::{
    error::{Error, Flaw, Problem, Result},
    patience::Patience,
    state::AppState,
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use futures::{Stream, StreamExt as _, stream};
use multer::{Constraints, Field, Multipart, SizeLimit};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

/// How far what has arrived may be ahead of what was handed out: a form that is all preamble or headers would be held
/// until its end.
const LEAD: u64 = 1 << 20;
/// How much longer than the largest file a form may be, for whatever stands around it.
const AROUND: u64 = 64 << 10;

/// A body of `multipart/form-data`.
///
/// # Errors
/// 415 for what is none, 413 for what is said to be too long; each part has errors of its own.
pub struct Form {
    parts: Multipart<'static>,
    /// Bytes of parts that were handed out.
    given: Arc<AtomicU64>,
}

/// One field or file.
pub struct Part {
    pub name: String,
    /// As the client calls it, unchecked.
    pub file_name: Option<String>,
    /// As the client says.
    pub content_type: Option<String>,
    field: Field<'static>,
    given: Arc<AtomicU64>,
}

impl Form {
    /// The next part, once the one before is dropped; none after the last.
    pub async fn next(&mut self) -> Result<Option<Part>> {
        let Some(field) = self.parts.next_field().await.map_err(unreadable)? else { return Ok(None) };
        let text = |name| field.headers().get(name).and_then(|value| value.to_str().ok());
        Ok(Some(Part {
            name: field.name().unwrap_or_default().to_owned(),
            file_name: extended_name(field.headers()).or_else(|| field.file_name().map(str::to_owned)),
            content_type: text(header::CONTENT_TYPE).map(str::to_owned),
            given: Arc::clone(&self.given),
            field,
        }))
    }

    /// Lets the rest of a refused form arrive, within reason: a client that is still sending would not read the answer.
    pub async fn drain(mut self) {
        self.given.store(u64::MAX / 2, Ordering::Relaxed);
        while let Ok(Some(rest)) = self.parts.next_field().await {
            drop(rest);
        }
    }
}

impl Part {
    /// The next of its bytes; none after the last.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.field.chunk().await.map_err(unreadable)?;
        if let Some(bytes) = &chunk {
            self.given.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(chunk)
    }

    /// All of a field that is a text of at most so many bytes.
    pub async fn text(mut self, most: usize) -> Result<String> {
        let mut text = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if text.len() + bytes.len() > most {
                return Err(self.flaw("invalid", &format!("longer than {most} bytes")));
            }
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).map_err(|_| self.flaw("invalid", "no UTF-8"))
    }

    /// What is wrong with it.
    pub fn flaw(&self, code: &'static str, detail: &str) -> Error {
        let name: String = self.name.chars().take(100).collect();
        Error::Invalid(vec![Flaw::new(
            format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            code,
            detail,
        )])
    }
}

impl FromRequest<AppState> for Form {
    type Rejection = Error;

    async fn from_request(request: Request, state: &AppState) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let Ok(boundary) = multer::parse_boundary(media.unwrap_or_default()) else {
            let detail = "send the body as multipart/form-data, with a boundary";
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
            return Err(Error::Unacceptable(Box::new(problem)));
        };
        let (largest, given) = (state.config.storage.file_bytes(), Arc::default());
        let length =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let too_long = length.is_some_and(|length: u64| length > largest + AROUND);
        // A client that asks first sends nothing; of others as much is taken in as lets them read the answer.
        let most =
            if too_long && parts.headers.contains_key(header::EXPECT) { 0 } else { 2 * largest + AROUND };
        let patience = parts.extensions.get::<Patience>().cloned().unwrap_or_default();
        let form = Self { parts: multipart(body, boundary, most, &given, patience), given };
        if too_long {
            if most > 0 {
                form.drain().await;
            }
            return Err(too_large(largest));
        }
        Ok(form)
    }
}

/// The answer to a file that is larger than `most` bytes.
pub fn too_large(most: u64) -> Error {
    let detail = format!("a file may have at most {} MiB", most >> 20);
    Error::Unacceptable(Box::new(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)))
}

fn multipart(
    body: Body,
    boundary: String,
    most: u64,
    given: &Arc<AtomicU64>,
    patience: Patience,
) -> Multipart<'static> {
    let given = Arc::clone(given);
    let mut arrived = 0;
    let stream = body.into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(|_| Halt::Cut)?;
        arrived += chunk.len() as u64;
        patience.arrived(chunk.len() as u64);
        if arrived > LEAD.saturating_add(given.load(Ordering::Relaxed)) {
            Err(Halt::Adrift)
        } else {
            Ok(chunk)
        }
    });
    Multipart::with_constraints(
        one_at_a_time(stream),
        boundary,
        Constraints::new().size_limit(SizeLimit::new().whole_stream(most)),
    )
}

/// The parser takes whatever is there before it hands anything out, and would hold all of what comes fast: after each
/// chunk there seems to be no other for a moment. After and not before, since it does not look at what comes along with
/// the end.
fn one_at_a_time<S: Stream + Unpin>(mut stream: S) -> impl Stream<Item = S::Item> {
    let mut pause = false;
    stream::poll_fn(move |context| {
        if std::mem::take(&mut pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = stream.poll_next_unpin(context);
        pause = matches!(next, Poll::Ready(Some(_)));
        next
    })
}

#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("the body did not arrive whole")]
    Cut,
    #[error("no part begins where one should")]
    Adrift,
}

fn unreadable(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamSizeExceeded { limit } => too_large(limit / 2),
        multer::Error::StreamReadFailed(cause) if !matches!(cause.downcast_ref(), Some(Halt::Adrift)) => {
            Error::malformed("body_incomplete", "the body did not arrive whole")
        }
        error => Error::malformed("malformed_form", format!("the body is no form: {error}")),
    }
}

/// The file's name where it is written as in RFC 5987, which forms should not do, and many clients do.
fn extended_name(headers: &HeaderMap) -> Option<String> {
    let disposition = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    let (name, value) = disposition
        .split(';')
        .find_map(|part| part.trim().split_once('=').filter(|(name, _)| name.ends_with('*')))?;
    let (charset, rest) = value.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    if !name.eq_ignore_ascii_case("filename*") || !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::new();
    let mut letters = encoded.bytes();
    while let Some(letter) = letters.next() {
        bytes.push(match letter {
            b'%' => {
                let digits = [letters.next()?, letters.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            letter => letter,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &'static [u8], chunk: usize) -> Form {
        let given = Arc::default();
        let chunks = body.chunks(chunk).map(|chunk| Ok::<_, std::io::Error>(Bytes::from_static(chunk)));
        let body = Body::from_stream(futures::stream::iter(chunks.collect::<Vec<_>>()));
        Form { parts: multipart(body, "cut".to_owned(), 100 << 20, &given, Patience::default()), given }
    }

    #[tokio::test]
    async fn a_form_is_read_part_by_part_however_it_is_cut_into_chunks() {
        let body = b"--cut\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\nCog\r\n\
            --cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a b.txt\"\r\ncontent-type: text/plain\r\n\r\n\
            one\r\n--cu\r\ntwo\r\n--cut--\r\n";
        for chunk in [1, 2, 7, 1000] {
            let mut form = form(body, chunk);
            let name = form.next().await.unwrap().unwrap();
            assert_eq!(name.name, "name");
            assert_eq!(name.text(10).await.unwrap(), "Cog");
            let mut file = form.next().await.unwrap().unwrap();
            assert_eq!(
                (file.file_name.as_deref(), file.content_type.as_deref()),
                (Some("a b.txt"), Some("text/plain"))
            );
            let mut whole = Vec::new();
            while let Some(bytes) = file.chunk().await.unwrap() {
                whole.extend_from_slice(&bytes);
            }
            assert_eq!(whole, b"one\r\n--cu\r\ntwo");
            drop(file);
            assert!(form.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_form_without_a_part_is_refused_before_it_is_held() {
        static ENDLESS: [u8; 8 << 20] = [b'x'; 8 << 20];
        let Err(Error::Malformed { code, .. }) = form(&ENDLESS, 10_000).next().await else { panic!("read") };
        assert_eq!(code, "malformed_form");
        let headers: &[u8] = Box::leak([b"--cut\r\nx: ".as_slice(), &ENDLESS].concat().into_boxed_slice());
        let Err(Error::Malformed { code, .. }) = form(headers, 10_000).next().await else { panic!("read") };
        assert_eq!(code, "malformed_form");
        let Err(Error::Malformed { code, .. }) = form(b"--cut\r\n", 3).next().await else { panic!("read") };
        assert_eq!(code, "malformed_form");
    }

    #[test]
    fn a_name_may_be_written_as_in_rfc_5987() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_DISPOSITION, text.parse().unwrap());
            extended_name(&headers)
        };
        assert_eq!(
            read("form-data; name=\"file\"; filename*=utf-8''%E2%82%AC%20rates"),
            Some("€ rates".to_owned())
        );
        for other in [
            "form-data; filename=\"a\"",
            "form-data; filename*=utf-8''%E2",
            "form-data; filename*=latin1''a",
            "x*",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
