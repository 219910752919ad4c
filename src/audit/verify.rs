//! Walks the chain of each org and tells every break in it.

use super::{
    chain::{self, GENESIS},
    event::{AuditEvent, AuditRow, hex},
};
use crate::{
    error::{OptionExt as _, Result},
    ids::OrgId,
    tenancy::{PlatformDb, PlatformTx},
};
use sqlx::Executor as _;
use std::fmt;
use time::OffsetDateTime;

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// Events are gone, from the first to the last of these.
    Missing { from: i64, to: i64 },
    /// This event is not the one that was sealed, or does not follow the one before it.
    WrongHash { seq: i64 },
    /// An event in a place where none can be.
    Misplaced { seq: i64 },
    /// The end of the chain is gone: events up to `head` had been sealed.
    CutOff { last: i64, head: i64 },
    /// Events that the sealer knows nothing of, after `head`.
    BeyondHead { last: i64, head: i64 },
    /// The last event has another hash than the sealer gave it.
    WrongHead { seq: i64 },
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { from, to } if from == to => write!(f, "seq {from} is missing"),
            Self::Missing { from, to } => write!(f, "seq {from} to {to} are missing"),
            Self::WrongHash { seq } => {
                write!(f, "seq {seq} is not what was sealed, or not in its place: its hash is wrong")
            }
            Self::Misplaced { seq } => write!(f, "seq {seq} is no place in a chain"),
            Self::CutOff { last, head } => {
                write!(f, "the chain ends at seq {last}, and was sealed up to seq {head}")
            }
            Self::BeyondHead { last, head } => {
                write!(f, "the chain ends at seq {last}, and was sealed up to seq {head} only")
            }
            Self::WrongHead { seq } => {
                write!(f, "seq {seq}, the last, has another hash than it was sealed with")
            }
        }
    }
}

/// What was found of one org.
#[derive(Debug)]
pub struct Verified {
    pub org: OrgId,
    pub slug: String,
    /// How many events are sealed.
    pub sealed: u64,
    /// The hash of the last one, in hex. Kept elsewhere, it shows later whether the whole chain was rewritten.
    pub head: String,
    /// Events that are not sealed yet, and since when the oldest of them waits.
    pub unsealed: i64,
    pub oldest_unsealed: Option<OffsetDateTime>,
    /// How many breaks were told.
    pub breaks: u64,
}

/// The org of that id or slug.
///
/// # Errors
/// Not found.
pub async fn find(platform: &PlatformDb, org: &str) -> Result<OrgId> {
    let found = sqlx::query_scalar!(
        r#"select id as "id: OrgId" from orgs where id = $1 or slug = $2"#,
        org.parse().ok().map(OrgId::uuid),
        org
    );
    found.fetch_optional(&mut *platform.begin().await?).await?.or_not_found()
}

/// The org after `after` in the order of ids, if there is one: how to walk them all without holding them all.
pub async fn next_org(platform: &PlatformDb, after: Option<OrgId>) -> Result<Option<OrgId>> {
    let next = sqlx::query_scalar!(
        r#"select id as "id: OrgId" from orgs where $1::uuid is null or id > $1 order by id limit 1"#,
        after.map(OrgId::uuid)
    );
    Ok(next.fetch_optional(&mut *platform.begin().await?).await?)
}

/// Walks the chain of `org`, row by row, as it is at one moment, and tells each break as it is found.
pub async fn verify(platform: &PlatformDb, org: OrgId, mut tell: impl FnMut(Break)) -> Result<Verified> {
    let mut tx = platform.begin().await?;
    // The head and the rows, of one moment.
    tx.execute(sqlx::raw_sql("set transaction isolation level repeatable read read only")).await?;
    let known = sqlx::query!(
        r#"select o.slug, h.seq as "seq?", h.hash as "hash?"
           from orgs o left join audit_heads h on h.org_id = o.id where o.id = $1"#,
        org.uuid()
    )
    .fetch_optional(&mut *tx)
    .await?
    .or_not_found()?;
    let mut walk = Walk { sealed: 0, last: 0, previous: Some(GENESIS.to_vec()), breaks: 0, tell: &mut tell };
    walk.rows(&mut tx, org).await?;
    let (head, head_hash) = (known.seq.unwrap_or(0), known.hash.unwrap_or(GENESIS.to_vec()));
    if walk.last < head {
        walk.told(Break::CutOff { last: walk.last, head });
    } else if walk.last > head {
        walk.told(Break::BeyondHead { last: walk.last, head });
    } else if walk.previous.as_ref() != Some(&head_hash) {
        walk.told(Break::WrongHead { seq: head });
    }
    let (sealed, breaks, head) =
        (walk.sealed, walk.breaks, walk.previous.map_or(String::new(), |hash| hex(&hash)));
    let tail = sqlx::query!(
        r#"select count(*) as "count!", min(at) as oldest from audit_events where org_id = $1 and seq is null"#,
        org.uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    Ok(Verified {
        org,
        slug: known.slug,
        sealed,
        head,
        unsealed: tail.count,
        oldest_unsealed: tail.oldest,
        breaks,
    })
}

struct Walk<'a, Tell> {
    sealed: u64,
    /// The seq that the walk is at.
    last: i64,
    /// Its hash, as it is stored: a changed event is told once, and not again at each one after it. None where it
    /// can't be known.
    previous: Option<Vec<u8>>,
    breaks: u64,
    tell: &'a mut Tell,
}

impl<Tell: FnMut(Break)> Walk<'_, Tell> {
    /// A thousand rows at a time: a chain may be longer than memory.
    async fn rows(&mut self, tx: &mut PlatformTx, org: OrgId) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let rows = sqlx::query_as!(
                AuditRow,
                r#"select org_id as "org_id: _", id as "id: _", at, actor_type, actor_id, action, target_type, target,
                          before, after, host(ip) as ip, request_id as "request_id: _", seq, hash
                   from audit_events where org_id = $1 and seq > $2 order by seq limit 1000"#,
                org.uuid(),
                after
            )
            .fetch_all(&mut **tx)
            .await?;
            let Some(seq) = rows.last().and_then(|row| row.seq) else { return Ok(()) };
            after = seq;
            for row in rows {
                self.step(row)?;
            }
        }
    }

    fn step(&mut self, row: AuditRow) -> Result<()> {
        let (seq, stored) = (row.seq.unwrap_or_default(), row.hash.clone());
        self.sealed += 1;
        if seq <= self.last {
            self.told(Break::Misplaced { seq });
            return Ok(());
        }
        if seq > self.last + 1 {
            self.told(Break::Missing { from: self.last + 1, to: seq - 1 });
            self.previous = None;
        }
        // After a gap nobody can say what the hash should be.
        let wrong = match &self.previous {
            Some(previous) => Some(chain::hash(previous, &AuditEvent::from(row))?) != stored,
            None => stored.is_none(),
        };
        if wrong {
            self.told(Break::WrongHash { seq });
        }
        self.last = seq;
        self.previous = stored;
        Ok(())
    }

    fn told(&mut self, found: Break) {
        self.breaks += 1;
        (self.tell)(found);
    }
}
