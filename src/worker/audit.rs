//! Seals what the audit has recorded: numbers the events of each org, and chains them by their hashes.
//!
//! After commit, so that writers never wait for each other: an event that commits late is sealed late, and the order of
//! the chain is that of sealing.

use super::turns::{again_and_again, in_turns};
use crate::{
    audit::{
        AuditEvent, AuditRow,
        chain::{self, GENESIS},
    },
    error::{Error, Result},
    ids::OrgId,
    state::AppState,
    tenancy::{PlatformDb, PlatformTx},
};
use anyhow::anyhow;
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EVERY: Duration = Duration::from_secs(1);
/// Events sealed in one transaction.
const BATCH: i64 = 1_000;

/// Every replica tries; one at a time seals.
pub async fn keep_audit_sealed(state: AppState, until: CancellationToken) {
    again_and_again(EVERY, until, "the audit can't be sealed", || seal_audit(&state.platform)).await;
}

/// Seals what is committed, and answers how many events that were. While another replica seals, none.
pub async fn seal_audit(platform: &PlatformDb) -> Result<usize> {
    in_turns(|after| seal_batch(platform, after)).await
}

/// Seals a batch of the orgs beyond `after`, and answers how many events, and the last org among them.
async fn seal_batch(platform: &PlatformDb, after: Uuid) -> Result<Option<(usize, Uuid)>> {
    let mut tx = platform.begin().await?;
    if !alone(&mut tx).await? {
        return Ok(None);
    }
    let rows = unsealed(&mut tx, after).await?;
    let Some(last) = rows.last().map(|row| row.org_id.uuid()) else { return Ok(None) };
    let mut tips = tips(&mut tx, rows.iter().map(|row| row.org_id)).await?;
    let mut sealed = Sealed::default();
    for mut row in rows {
        let tip = tips.entry(row.org_id).or_insert_with(|| Tip { seq: 0, hash: GENESIS.to_vec() });
        tip.seq += 1;
        row.seq = Some(tip.seq);
        let (org, id) = (row.org_id.uuid(), row.id.uuid());
        tip.hash = chain::hash(&tip.hash, &AuditEvent::from(row))?;
        sealed.push(org, id, tip.clone());
    }
    write(&mut tx, &sealed).await?;
    write_heads(&mut tx, &tips).await?;
    tx.commit().await?;
    Ok(Some((sealed.ids.len(), last)))
}

/// The last event of an org's chain.
#[derive(Clone)]
struct Tip {
    seq: i64,
    hash: Vec<u8>,
}

/// Side by side, as Postgres takes them.
#[derive(Default)]
struct Sealed {
    orgs: Vec<Uuid>,
    ids: Vec<Uuid>,
    seqs: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl Sealed {
    fn push(&mut self, org: Uuid, id: Uuid, Tip { seq, hash }: Tip) {
        self.orgs.push(org);
        self.ids.push(id);
        self.seqs.push(seq);
        self.hashes.push(hash);
    }
}

/// Whether nobody else seals; nobody will to the end of the transaction.
async fn alone(tx: &mut PlatformTx) -> Result<bool> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('insula audit chain', 0)) as "locked!""#
    );
    Ok(locked.fetch_one(&mut **tx).await?)
}

async fn unsealed(tx: &mut PlatformTx, after: Uuid) -> Result<Vec<AuditRow>> {
    let rows = sqlx::query_as!(
        AuditRow,
        r#"select org_id as "org_id: _", id as "id: _", at, actor_type, actor_id, action, target_type, target, before,
                  after, host(ip) as ip, request_id as "request_id: _", seq, hash
           from audit_events where seq is null and org_id > $1 order by org_id, at, id limit $2"#,
        after,
        BATCH
    );
    Ok(rows.fetch_all(&mut **tx).await?)
}

/// Where the chains of these orgs end. Were there events beyond a head, which only somebody with more rights than the
/// platform's can write, the chain would go on after them: it is broken, and `verify` says so, but not stuck.
async fn tips(tx: &mut PlatformTx, orgs: impl Iterator<Item = OrgId>) -> Result<BTreeMap<OrgId, Tip>> {
    let mut orgs: Vec<Uuid> = orgs.map(OrgId::uuid).collect();
    orgs.dedup();
    let tips = sqlx::query!(
        r#"select distinct on (org_id) org_id as "org!: OrgId", seq as "seq!", hash as "hash!"
           from (
               select org_id, seq, hash, true as is_head from audit_heads where org_id = any($1)
               union all
               select o.org_id, e.seq, coalesce(e.hash, ''), false
               from unnest($1::uuid[]) o (org_id)
               cross join lateral (
                   select seq, hash from audit_events e
                   where e.org_id = o.org_id and seq is not null order by seq desc limit 1
               ) e
           ) ends
           order by org_id, seq desc, is_head desc"#,
        &orgs
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(tips.into_iter().map(|tip| (tip.org, Tip { seq: tip.seq, hash: tip.hash })).collect())
}

/// By their keys: with `seq is null` besides, each batch would walk all that is still unsealed.
async fn write(tx: &mut PlatformTx, sealed: &Sealed) -> Result<()> {
    let written = sqlx::query!(
        "update audit_events e set seq = s.seq, hash = s.hash
         from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[]) s (org_id, id, seq, hash)
         where e.org_id = s.org_id and e.id = s.id",
        &sealed.orgs,
        &sealed.ids,
        &sealed.seqs,
        &sealed.hashes
    )
    .execute(&mut **tx)
    .await?;
    if usize::try_from(written.rows_affected()) != Ok(sealed.ids.len()) {
        return Err(Error::Internal(anyhow!("events of the audit are gone while they are sealed")));
    }
    Ok(())
}

async fn write_heads(tx: &mut PlatformTx, tips: &BTreeMap<OrgId, Tip>) -> Result<()> {
    let orgs: Vec<Uuid> = tips.keys().map(|org| org.uuid()).collect();
    let (seqs, hashes): (Vec<i64>, Vec<Vec<u8>>) =
        tips.values().map(|tip| (tip.seq, tip.hash.clone())).unzip();
    sqlx::query!(
        "insert into audit_heads (org_id, seq, hash)
         select * from unnest($1::uuid[], $2::bigint[], $3::bytea[])
         on conflict (org_id) do update set seq = excluded.seq, hash = excluded.hash",
        &orgs,
        &seqs,
        &hashes
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
