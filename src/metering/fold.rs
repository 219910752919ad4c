//! Counting journals into the database: the own one again and again, and those that ended processes have left.

use super::{Meter, frame, journal::Journal, store, tally::Tally};
use crate::{
    error::{Error, Result},
    ids::{JournalId, RequestId},
    tenancy::PlatformDb,
};
use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::task::spawn_blocking;

/// Bytes that are counted in one transaction: some thousand requests.
const BATCH: usize = 1 << 20;
/// A journal that is longer, or older, is left for a new one, so that it can be deleted.
const LONG: u64 = 16 << 20;
const OLD: Duration = Duration::from_hours(24);
/// How often it is looked for what others have left.
const LOOK: Duration = Duration::from_secs(5);
/// How many of the last requests in a left journal are named, and in how much of its end they are looked for.
const LAST: usize = 32;
const END: u64 = 64 << 10;

/// How far whoever counts has come.
#[derive(Default)]
pub struct Folding {
    /// In the own journal.
    position: u64,
    opened: Option<Instant>,
    looked: Option<Instant>,
    /// Journals of this process that it has finished.
    finished: HashSet<JournalId>,
    /// Of another database: they are not ours to count.
    foreign: HashSet<JournalId>,
}

/// Some of a journal.
struct Batch {
    tally: Tally,
    end: u64,
}

impl Meter {
    /// Opens a journal, where that can be done: before anything is counted.
    pub async fn open(&self, platform: &PlatformDb) -> Result<()> {
        let mut folding = self.folding.lock().await;
        self.next_journal(platform, &mut folding).await
    }

    /// Counts all that there is, once.
    pub async fn fold(&self, platform: &PlatformDb) -> Result<()> {
        let mut folding = self.folding.lock().await;
        self.fold_spilled(platform).await?;
        let own = self.journal.read().clone();
        if let Some(own) = &own {
            self.fold_own(platform, own, &mut folding).await?;
        }
        let age = folding.opened.map(|at| at.elapsed());
        let full = folding.position >= LONG || age.is_some_and(|age| age >= OLD);
        if full || own.is_none() {
            let finished = own.as_ref().map(|own| own.id);
            drop(own);
            self.next_journal(platform, &mut folding).await?;
            folding.finished.extend(finished);
        }
        if full || folding.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.fold_left(platform, &mut folding).await?;
            folding.looked = Some(Instant::now());
        }
        Ok(())
    }

    async fn fold_spilled(&self, platform: &PlatformDb) -> Result<()> {
        let (tally, why) = {
            let mut spilled = self.spilled.lock();
            (std::mem::take(&mut spilled.tally), spilled.why.clone())
        };
        if tally.calls == 0 {
            return Ok(());
        }
        tracing::warn!(
            requests = tally.calls,
            why,
            "the journal of usage can't be written: what is asked for is counted in memory, and lost if the process is \
             killed"
        );
        let adding = async {
            let mut tx = platform.begin().await?;
            store::add(&mut tx, &tally).await?;
            tx.commit().await
        };
        let added = adding.await;
        if added.is_err() {
            self.spilled.lock().tally.merge(tally);
        }
        added
    }

    async fn fold_own(&self, platform: &PlatformDb, own: &Arc<Journal>, folding: &mut Folding) -> Result<()> {
        let figures = &self.figures;
        loop {
            let since = self.clock.steady();
            let batch = read(own, folding.position, false).await?;
            if batch.end == folding.position {
                figures.caught_up.store(since, Ordering::Relaxed);
                return Ok(());
            }
            let stretch = (folding.position, batch.end);
            let counted = store::add_from(platform, own.id, stretch, &batch.tally, self.clock.now()).await?;
            let Some(counted) = counted else {
                // The database is an older one of itself: what was counted since is lost there, like all else.
                tracing::warn!(journal = %own.id, "the database has forgotten the journal of usage");
                store::begin(platform, own.id, folding.position, self.clock.now()).await?;
                continue;
            };
            // Elsewhere than meant if a commit was not heard of.
            folding.position = counted;
            figures.bytes_counted.store(folding.position, Ordering::Relaxed);
            if folding.position == batch.end {
                figures.counted.fetch_add(batch.tally.calls, Ordering::Relaxed);
            }
        }
    }

    /// Puts a new journal in the place of the one there is, which is left as that of an ended process would be.
    async fn next_journal(&self, platform: &PlatformDb, folding: &mut Folding) -> Result<()> {
        let folder = self.folder.clone();
        let created = blocking(move || Journal::create(&folder)).await;
        let journal = match created {
            Ok(journal) => Arc::new(journal),
            Err(error) => {
                self.spilled.lock().why =
                    format!("no journal can be made in {}: {error}", self.folder.display());
                return Ok(());
            }
        };
        if let Err(error) = store::begin(platform, journal.id, 0, self.clock.now()).await {
            // It is empty; who finds it deletes it otherwise.
            journal.remove().ok();
            return Err(error);
        }
        *self.journal.write() = Some(journal);
        (folding.position, folding.opened) = (0, Some(Instant::now()));
        self.figures.bytes_counted.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Counts what ended processes have left in the folder, and this one.
    async fn fold_left(&self, platform: &PlatformDb, folding: &mut Folding) -> Result<()> {
        let own = self.journal.read().as_ref().map(|own| own.id);
        let folder = self.folder.clone();
        let Ok(paths) = blocking(move || Journal::all(&folder)).await else { return Ok(()) };
        for path in paths {
            let id = Journal::named(&path);
            if id == own || id.is_some_and(|id| folding.foreign.contains(&id)) {
                continue;
            }
            let taken = blocking(move || take_over(&path)).await;
            match taken {
                Ok(Some(left)) => self.fold_one_left(platform, Arc::new(left), folding).await?,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a journal of usage can't be opened"),
            }
        }
        Ok(())
    }

    async fn fold_one_left(
        &self,
        platform: &PlatformDb,
        left: Arc<Journal>,
        folding: &mut Folding,
    ) -> Result<()> {
        let Some(mut position) = store::counted(platform, left.id).await? else {
            tracing::warn!(journal = %left.id, "this journal of usage is of another database, and stays where it is");
            folding.foreign.insert(left.id);
            return Ok(());
        };
        let mut requests = 0;
        loop {
            let batch = read(&left, position, true).await?;
            if batch.end <= position {
                break;
            }
            let stretch = (position, batch.end);
            let counted = store::add_from(platform, left.id, stretch, &batch.tally, self.clock.now()).await?;
            position = counted.ok_or_else(|| unknown(left.id))?;
            requests += batch.tally.calls;
        }
        if folding.finished.remove(&left.id) {
            self.figures.counted.fetch_add(requests, Ordering::Relaxed);
        } else {
            let last = last(&left).await?;
            let last: Vec<String> = last.iter().map(ToString::to_string).collect();
            tracing::info!(
                journal = %left.id,
                requests,
                last = last.join(" "),
                "an ended process has left a journal of usage, which is counted now"
            );
        }
        blocking(move || left.remove()).await.map_err(internal)
    }
}

/// What nobody has written to is only deleted.
fn take_over(path: &Path) -> io::Result<Option<Journal>> {
    let Some(left) = Journal::take_over(path)? else { return Ok(None) };
    if left.written() == 0 {
        left.remove()?;
        return Ok(None);
    }
    Ok(Some(left))
}

/// Some of a journal from a place on. Of one that nobody writes to any more, what can't be read is passed over to its end.
async fn read(journal: &Arc<Journal>, from: u64, is_left: bool) -> Result<Batch> {
    let journal = Arc::clone(journal);
    let reading = move || {
        let (bytes, has_more) = journal.read(from, BATCH)?;
        let mut tally = Tally::default();
        let (mut done, mut skipped) = frame::read_all(&bytes, |call| tally.add(&call));
        let rest = bytes.len() - done;
        let give_up = if has_more && done == 0 {
            rest - frame::LONGEST
        } else if is_left && !has_more {
            rest
        } else {
            0
        };
        (done, skipped) = (done + give_up, skipped + give_up);
        if skipped > 0 {
            tracing::warn!(journal = %journal.id, bytes = skipped, "a part of a journal of usage can't be read");
        }
        Ok(Batch { tally, end: from + done as u64 })
    };
    blocking(reading).await.map_err(internal)
}

/// The last requests in it, counted before or now.
async fn last(journal: &Arc<Journal>) -> Result<Vec<RequestId>> {
    let journal = Arc::clone(journal);
    let reading = move || {
        let from = journal.written().saturating_sub(END);
        let (bytes, _) = journal.read(from, BATCH)?;
        let mut requests = Vec::new();
        frame::read_all(&bytes, |call| requests.push(call.request));
        Ok(requests.split_off(requests.len().saturating_sub(LAST)))
    };
    blocking(reading).await.map_err(internal)
}

/// Disks may be slow.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn internal(error: io::Error) -> Error {
    Error::Internal(error.into())
}

fn unknown(journal: JournalId) -> Error {
    Error::Internal(anyhow::anyhow!("the database has forgotten the journal {journal}"))
}
