//! Where files are kept: a folder of this machine, or a bucket of an S3-compatible store.

use crate::{
    config::{self, Unusable},
    error::{Error, Result},
    ids::OrgId,
};
use anyhow::anyhow;
use axum::body::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, buffered::BufWriter,
    local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use secrecy::ExposeSecret as _;
use std::{fmt::Display, fs, ops::Range, os::unix::fs::DirBuilderExt as _, sync::Arc};
use tokio::io::AsyncWriteExt as _;

/// What of a file is held in memory while it is written: no store takes smaller parts than 5 MiB.
const PART: usize = 5 << 20;

#[derive(Clone)]
pub struct Storage(Arc<dyn ObjectStore>);

/// Where one file is kept: below its org's own prefix, so that no key reaches into another's.
#[derive(Clone, Debug)]
pub struct Key(Path);

impl Key {
    /// `id` is unique in the org, and an id of ours: nothing that a client has chosen.
    pub fn of(org: OrgId, id: impl Display) -> Self {
        Self(Path::from_iter([org.to_string(), id.to_string()]))
    }
}

/// A file that is being written. Nobody sees anything of it before [`finish`](Self::finish); dropped, it never was.
pub struct Writing {
    to: Path,
    writer: BufWriter,
    /// Bytes so far.
    pub written: u64,
}

impl Storage {
    /// # Errors
    /// Names the setting that can't be used.
    pub fn open(config: &config::Storage) -> Result<Self, Unusable> {
        let bucket = &config.bucket;
        if bucket.is_empty() { folder(config) } else { in_bucket(config, bucket) }
    }

    pub fn write(&self, key: &Key) -> Writing {
        let writer =
            BufWriter::with_capacity(Arc::clone(&self.0), key.0.clone(), PART).with_max_concurrency(2);
        Writing { to: key.0.clone(), writer, written: 0 }
    }

    /// All of it, or from the byte at `from` on.
    ///
    /// # Errors
    /// Internal where there is no such file: who names one has read of it in the database. 503 where the store is out.
    pub async fn read(
        &self,
        key: &Key,
        from: u64,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        self.get(key, (from > 0).then_some(GetRange::Offset(from))).await
    }

    /// The bytes of a range that is not empty and ends within the file; errors are those of [`read`](Self::read).
    pub async fn read_part(
        &self,
        key: &Key,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        self.get(key, Some(GetRange::Bounded(range))).await
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<GetRange>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.0.get_opts(&key.0, options).await.map_err(|error| out(&key.0, error))?;
        let from = key.0.clone();
        Ok(found.into_stream().map_err(move |error| out(&from, error)))
    }

    /// Deletes it, or finds that somebody has.
    pub async fn delete(&self, key: &Key) -> Result<()> {
        match self.0.delete(&key.0).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(out(&key.0, error)),
        }
    }

    /// How many files of this org there are, and what they are called below it.
    pub async fn list(&self, org: OrgId) -> Result<Vec<String>> {
        let prefix = Path::from(org.to_string());
        let name = |meta: object_store::ObjectMeta| meta.location.filename().map(str::to_owned);
        let found = self.0.list(Some(&prefix)).map_ok(name).filter_map(async |name| name.transpose());
        found.try_collect().await.map_err(|error| out(&prefix, error))
    }
}

impl Writing {
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.written += bytes.len() as u64;
        self.writer.put(bytes).await.map_err(|error| out(&self.to, error))
    }

    /// It is there from here on, whole.
    pub async fn finish(mut self) -> Result<()> {
        let done = self.writer.shutdown().await;
        done.map_err(|error| unavailable(&self.to, &error))
    }

    /// Nothing is left of it; where this is not called, a bucket keeps its parts until a rule of the bucket's ends them.
    pub async fn give_up(mut self) -> Result<()> {
        self.writer.abort().await.map_err(|error| out(&self.to, error))
    }
}

fn folder(config: &config::Storage) -> Result<Storage, Unusable> {
    let folder = &config.folder;
    let unusable = |error: &dyn Display| {
        Unusable::new("INSULA_STORAGE__FOLDER", format!("{}: {error}", folder.display()))
    };
    // Who can read it reads everybody's files.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(&error))?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| unusable(&error))?;
    Ok(Storage(Arc::new(store.with_fsync(true))))
}

fn in_bucket(config: &config::Storage, bucket: &str) -> Result<Storage, Unusable> {
    // What the settings leave out, the machine may know: AWS_* variables, or the identity it runs under.
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if !config.region.is_empty() {
        builder = builder.with_region(&config.region);
    }
    if !config.endpoint.is_empty() {
        let in_the_clear = config.endpoint.starts_with("http://");
        builder = builder.with_endpoint(&config.endpoint).with_allow_http(in_the_clear);
    }
    if !config.access_key_id.is_empty() {
        builder = builder
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(config.secret_access_key.expose_secret());
    }
    let store = builder.build().map_err(|error| Unusable::new("INSULA_STORAGE__BUCKET", error))?;
    Ok(if config.prefix.is_empty() {
        Storage(Arc::new(store))
    } else {
        Storage(Arc::new(PrefixStore::new(store, config.prefix.as_str())))
    })
}

fn out(what: &Path, error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => {
            Error::Internal(anyhow!("{what} is not in the storage, and the database says it is"))
        }
        error => unavailable(what, &error),
    }
}

fn unavailable(what: &Path, error: &dyn Display) -> Error {
    tracing::warn!(%what, %error, "the storage of files is out of reach");
    Error::Unavailable("files can't be reached right now; try again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    async fn text(storage: &Storage, key: &Key, from: u64) -> String {
        let parts: Vec<Bytes> = storage.read(key, from).await.unwrap().try_collect().await.unwrap();
        String::from_utf8(parts.concat()).unwrap()
    }

    fn here(name: &str) -> (Storage, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("insula-storage-{name}-{}", std::process::id()));
        let settings = format!("[storage]\nfolder = {folder:?}");
        (Storage::open(&Config::with(&settings).unwrap().storage).unwrap(), folder)
    }

    #[tokio::test]
    async fn a_file_is_there_once_it_is_finished_and_not_before() {
        let (storage, folder) = here("finished");
        let (acme, globex) = (OrgId::new(), OrgId::new());
        let key = Key::of(acme, "a");
        let mut writing = storage.write(&key);
        writing.push(Bytes::from(vec![b'x'; PART + 1])).await.unwrap();
        writing.push(Bytes::from_static(b"end")).await.unwrap();
        assert_eq!(writing.written, PART as u64 + 4);
        assert!(storage.read(&key, 0).await.is_err());
        assert!(storage.list(acme).await.unwrap().is_empty());
        writing.finish().await.unwrap();
        assert_eq!(text(&storage, &key, PART as u64).await, "xend");
        assert_eq!(storage.list(acme).await.unwrap(), ["a"]);
        assert!(storage.read(&Key::of(globex, "a"), 0).await.is_err());
        assert!(storage.list(globex).await.unwrap().is_empty());

        storage.delete(&key).await.unwrap();
        storage.delete(&key).await.unwrap();
        assert!(storage.read(&key, 0).await.is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_was_given_up() {
        let (storage, folder) = here("given-up");
        for dropped in [false, true] {
            let mut writing = storage.write(&Key::of(OrgId::new(), "a"));
            writing.push(Bytes::from(vec![b'x'; 3 * PART])).await.unwrap();
            if !dropped {
                writing.give_up().await.unwrap();
            }
        }
        let files = |dir: fs::DirEntry| fs::read_dir(dir.path()).unwrap().count();
        let left = || fs::read_dir(&folder).unwrap().map(|org| files(org.unwrap())).sum::<usize>();
        // What is dropped is cleaned up after by another thread.
        let begun = std::time::Instant::now();
        while left() > 0 {
            assert!(begun.elapsed().as_secs() < 20, "{} files are left", left());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let settings = "[storage]\nfolder = \"/dev/null/files\"";
        let refused = Storage::open(&Config::with(settings).unwrap().storage).err().unwrap().to_string();
        assert!(refused.starts_with("INSULA_STORAGE__FOLDER: /dev/null/files: "), "{refused}");
    }
}
