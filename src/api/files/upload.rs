//! Taking a file in: a chunk at a time, into the storage, while it is measured and looked at.

use super::{kind, name};
use crate::{
    error::{Error, Result},
    extract::{Form, Part, too_large},
    storage::{Key, Storage, Writing},
};
use sha2::{Digest as _, Sha256};

/// How much of a file is looked at: in a photograph its size may stand after a preview and a profile.
const HEAD: usize = 512 << 10;

/// A file that is in the storage, whole.
pub struct Received {
    pub name: String,
    pub content_type: String,
    pub size: i64,
    pub sha256: Vec<u8>,
    /// Width and height.
    pub pixels: Option<(i32, i32)>,
}

/// Puts the file of a form under `key`. Whatever it is refused for, nothing of it stays.
///
/// # Errors
/// 400 for a form that can't be read, 413 beyond `most` bytes, 422 for what is not as it should be, 503 where the storage
/// is out.
pub async fn receive(mut form: Form, storage: &Storage, key: &Key, most: u64) -> Result<Received> {
    let mut writing = storage.write(key);
    match read(&mut form, &mut writing, most).await {
        Ok(received) => {
            writing.finish().await?;
            Ok(received)
        }
        Err(error) => {
            if let Err(error) = writing.give_up().await {
                tracing::warn!(%error, "an upload can't be taken back");
            }
            form.drain().await;
            Err(error)
        }
    }
}

async fn read(form: &mut Form, writing: &mut Writing, most: u64) -> Result<Received> {
    let (mut called, mut received) = (None, None);
    while let Some(part) = form.next().await? {
        match part.name.as_str() {
            "file" if received.is_none() => received = Some(take(part, writing, most).await?),
            "name" if called.is_none() => {
                // A character has four bytes at most.
                let text = part.text(4 * name::LONGEST).await?;
                if let Some(flaw) = name::flaw(&text) {
                    return Err(Error::invalid("/name", "invalid", flaw));
                }
                called = Some(text);
            }
            "file" | "name" => return Err(part.flaw("given_twice", "is given twice")),
            _ => return Err(part.flaw("unknown_field", "is no part of this form; there are file and name")),
        }
    }
    let received = received.ok_or_else(|| Error::invalid("/file", "missing_field", "there is no file"))?;
    Ok(Received { name: called.unwrap_or(received.name), ..received })
}

async fn take(mut part: Part, writing: &mut Writing, most: u64) -> Result<Received> {
    let (mut head, mut digest) = (Vec::new(), Sha256::new());
    while let Some(bytes) = part.chunk().await? {
        if writing.written + bytes.len() as u64 > most {
            return Err(too_large(most));
        }
        digest.update(&bytes);
        head.extend_from_slice(&bytes[..bytes.len().min(HEAD - head.len())]);
        writing.push(bytes).await?;
    }
    if head.is_empty() {
        return Err(part.flaw("empty", "there is nothing in it"));
    }
    let content_type = kind::of(&head, part.content_type.as_deref()).map_err(|found| {
        part.flaw("wrong_type", &format!("is not of the type it is declared as, but looks like {found}"))
    })?;
    let is_whole = head.len() as u64 == writing.written;
    let pixels = kind::dimensions(&content_type, &head, is_whole)
        .map_err(|()| part.flaw("broken_image", &format!("begins like {content_type}, and is none")))?;
    Ok(Received {
        name: name::of_form(part.file_name.as_deref().unwrap_or_default()),
        content_type: content_type.into_owned(),
        // Bounded by the configuration.
        size: i64::try_from(writing.written).unwrap_or(i64::MAX),
        sha256: digest.finalize().to_vec(),
        pixels,
    })
}
