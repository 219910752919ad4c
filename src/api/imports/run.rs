//! The job of an import: batch by batch, each with how far it has come in one transaction, so that whoever is killed
//! loses nothing and repeats nothing.

use super::{
    Args,
    records::{Found, Place, Records},
    rows::{Reader, Row},
    store,
};
use crate::{
    error::Flaw,
    events,
    jobs::{Broken, Run, Succeeded, files, files::Format},
    storage::Storage,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A batch is full at so many rows, or bytes.
const ROWS: usize = 500;
const BYTES: usize = 4 << 20;
/// How many flaws are written down; all rows that have some are counted.
const TOLD: usize = 10_000;

/// What an attempt leaves for the next.
#[derive(Clone, Serialize, Deserialize)]
struct SoFar {
    place: Place,
    rows: i64,
    created: i64,
    updated: i64,
    unchanged: i64,
    failed: i64,
    told: usize,
}

#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    flaws: Vec<(i64, Flaw)>,
    failed: i64,
    bytes: usize,
}

pub async fn import(run: Run, storage: Storage) -> Result<Succeeded, Broken> {
    let unknown = |error| Broken::ForGood(format!("it asks for what this release does not know: {error}"));
    let args: Args = serde_json::from_value(run.job.args.clone()).map_err(unknown)?;
    let key = files::key(run.job.org, run.job.id);
    let quotes = args.format == Format::Csv;
    let mut records = Records::of(storage.read(&key, 0).await?, quotes, Place::START);
    let mut reader = Reader::of(args.format, &mut records).await?.map_err(Broken::ForGood)?;
    let mut so_far = match run.job.state.clone() {
        Some(state) => {
            let so_far: SoFar = serde_json::from_value(state).map_err(unknown)?;
            records = Records::of(storage.read(&key, so_far.place.offset).await?, quotes, so_far.place);
            so_far
        }
        None => {
            SoFar { place: records.place, rows: 0, created: 0, updated: 0, unchanged: 0, failed: 0, told: 0 }
        }
    };
    loop {
        let (batch, end) = fill(&mut records, &mut reader).await?;
        let mut next = so_far.clone();
        next.place = records.place;
        let mut tries = 0;
        let tx = loop {
            let mut tx = run.begin().await?;
            let Some(applied) = store::apply(&mut tx, &batch.rows, args.costs).await? else {
                tx.rollback().await;
                tries += 1;
                if tries > 5 {
                    return Err(Broken::Again("its rows are made by somebody else meanwhile".to_owned()));
                }
                continue;
            };
            events::record_all(&mut tx, run.job.by(), &run.trail(), applied.told).await?;
            let failed = i64::try_from(applied.flaws.len()).unwrap_or(i64::MAX);
            next.created += applied.created;
            next.updated += applied.updated;
            next.unchanged += applied.unchanged;
            next.failed += batch.failed + failed;
            next.rows = next.created + next.updated + next.unchanged + next.failed;
            let placed = applied.flaws.into_iter().map(|(line, flaw)| (line, reader.place(flaw)));
            let mut flaws: Vec<_> = batch.flaws.iter().cloned().chain(placed).collect();
            flaws.sort_by_key(|(line, _)| *line);
            flaws.truncate(TOLD.saturating_sub(next.told));
            next.told += flaws.len();
            store::tell(&mut tx, run.job.id, &flaws).await?;
            break tx;
        };
        let mut tx = tx;
        let done = i64::try_from(next.place.offset).unwrap_or(i64::MAX);
        run.checkpoint(&mut tx, (done, Some(args.bytes)), &json!(next)).await?;
        so_far = next;
        match end {
            None => tx.commit().await?,
            Some(Ok(())) => {
                let SoFar { rows, created, updated, unchanged, failed, .. } = so_far;
                let result = json!({"rows": rows, "created": created, "updated": updated, "unchanged": unchanged,
                                    "failed": failed});
                let succeeded = run.succeed(tx, &result).await?;
                // Where that fails, a sweep does it.
                storage.delete(&key).await.ok();
                return Ok(succeeded);
            }
            Some(Err(why)) => {
                tx.commit().await?;
                return Err(Broken::ForGood(why));
            }
        }
    }
}

/// Reads the next batch, and whether the file ends with it: well, or for a reason why it can't be read any further.
async fn fill(
    records: &mut Records,
    reader: &mut Reader,
) -> Result<(Batch, Option<Result<(), String>>), Broken> {
    let mut batch = Batch::default();
    while batch.rows.len() + batch.flaws.len() < ROWS && batch.bytes < BYTES {
        match records.next().await? {
            Found::Record { line, text } => {
                batch.bytes += text.len();
                match reader.read(line, &text) {
                    Ok(row) => batch.rows.push(row),
                    Err(flaws) => {
                        batch.failed += 1;
                        batch.flaws.extend(flaws.into_iter().map(|flaw| (line, flaw)));
                    }
                }
            }
            Found::TooLong { line } => {
                batch.failed += 1;
                batch.flaws.push((line, Flaw::new("", "too_long", "it is longer than 1 MiB")));
            }
            Found::Unclosed { line } => {
                let why = format!(
                    "line {line}: a quote is not closed within 1 MiB; what stands before it has been imported"
                );
                return Ok((batch, Some(Err(why))));
            }
            Found::End => return Ok((batch, Some(Ok(())))),
        }
    }
    Ok((batch, None))
}
