//! A journal: a file that one process appends to, and that it or another reads. What is in it outlives the process, since
//! it is the system's from the write on; it does not outlive a power cut, for which nobody waits on a disk.
//!
//! Each is locked by whoever has it, and unlocked by the system when that process ends, however it ends.

use crate::ids::JournalId;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

const SUFFIX: &str = ".journal";

#[derive(Debug)]
pub struct Journal {
    pub id: JournalId,
    path: PathBuf,
    file: File,
    written: AtomicU64,
}

impl Journal {
    /// A new one in `folder`, which is made if it is not there.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let id = JournalId::new();
        let (hidden, path) = (folder.join(format!(".{id}")), folder.join(format!("{id}{SUFFIX}")));
        let file = OpenOptions::new().append(true).read(true).create_new(true).open(&hidden)?;
        // Under its name nobody ever finds it unlocked.
        file.lock()?;
        fs::rename(&hidden, &path)?;
        Ok(Self { id, path, file, written: AtomicU64::new(0) })
    }

    /// The one at `path`, if nobody has it.
    pub fn take_over(path: &Path) -> io::Result<Option<Self>> {
        let Some(id) = Self::named(path) else { return Ok(None) };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let written = AtomicU64::new(file.metadata()?.len());
        Ok(Some(Self { id, path: path.to_owned(), file, written }))
    }

    /// The paths of all in `folder`, whoever has them.
    pub fn all(folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if Self::named(&path).is_some() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    pub fn named(path: &Path) -> Option<JournalId> {
        path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// In one write, behind all that is there. After an error a part of it may be there.
    pub fn append(&self, frame: &[u8]) -> io::Result<()> {
        let count = (&self.file).write(frame)?;
        self.written.fetch_add(count as u64, Ordering::AcqRel);
        if count < frame.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// At most so many bytes from a place on, and whether there are more behind them.
    pub fn read(&self, from: u64, most: usize) -> io::Result<(Vec<u8>, bool)> {
        let end = self.file.metadata()?.len();
        let there = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; there.min(most)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok((bytes, there > most))
    }

    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_taken_over_when_its_owner_is_gone_and_not_before() {
        let folder = std::env::temp_dir().join(format!("insula-{}", JournalId::new()));
        let journal = Journal::create(&folder).unwrap();
        journal.append(b"first").unwrap();
        journal.append(b"second").unwrap();
        let [path] = &Journal::all(&folder).unwrap()[..] else { panic!("one journal") };
        assert!(Journal::take_over(path).unwrap().is_none(), "its owner is there");
        let id = journal.id;
        drop(journal);

        let taken = Journal::take_over(path).unwrap().unwrap();
        assert!(Journal::take_over(path).unwrap().is_none(), "by one");
        assert_eq!((taken.id, taken.written()), (id, 11));
        assert_eq!(taken.read(0, 100).unwrap(), (b"firstsecond".to_vec(), false));
        assert_eq!(taken.read(5, 3).unwrap(), (b"sec".to_vec(), true));
        assert_eq!(taken.read(12, 3).unwrap(), (Vec::new(), false));
        taken.remove().unwrap();
        assert!(Journal::take_over(path).unwrap().is_none(), "it is gone");
        assert!(Journal::all(&folder).unwrap().is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }
}
