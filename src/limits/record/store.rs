//! Where batches of decisions are kept: a row each.

use super::batch::{self, Recorded};
use crate::{
    clock, config,
    error::Result,
    tenancy::{PlatformDb, PlatformTx},
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// A batch as it is kept.
pub struct Stored {
    pub id: Uuid,
    pub first_at: OffsetDateTime,
    pub columns: Vec<u8>,
}

pub(super) async fn write(platform: &PlatformDb, decisions: &mut [Recorded]) -> Result<()> {
    let packed = batch::pack(decisions);
    let (Some(first), Some(last)) = (decisions.first(), decisions.last()) else { return Ok(()) };
    let mut tx = platform.begin().await?;
    sqlx::query!(
        "insert into recorded_decisions (id, first_at, last_at, decisions, bytes, columns)
         values (gen_random_uuid(), $1, $2, $3, $4, $5)",
        clock::at_micros(first.at),
        clock::at_micros(last.at),
        i32::try_from(decisions.len()).unwrap_or(i32::MAX),
        i32::try_from(packed.len()).unwrap_or(i32::MAX),
        packed
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// The next few batches with decisions from `from` to before `to`, in the order of their first ones.
pub async fn read(
    tx: &mut PlatformTx,
    from: OffsetDateTime,
    to: OffsetDateTime,
    after: Option<(OffsetDateTime, Uuid)>,
    most: i64,
) -> Result<Vec<Stored>> {
    let (after_at, after_id) = after.unwrap_or((OffsetDateTime::UNIX_EPOCH, Uuid::nil()));
    let batches = sqlx::query_as!(
        Stored,
        "select id, first_at, columns from recorded_decisions
         where last_at >= $1 and first_at < $2 and (first_at, id) > ($3, $4)
         order by first_at, id limit $5",
        from,
        to,
        after_at,
        after_id,
        most
    );
    Ok(batches.fetch_all(&mut **tx).await?)
}

/// How many decisions stand in the batches that [`read`] would give.
pub async fn count(tx: &mut PlatformTx, from: OffsetDateTime, to: OffsetDateTime) -> Result<i64> {
    let decisions = sqlx::query_scalar!(
        r#"select coalesce(sum(decisions), 0)::bigint as "decisions!" from recorded_decisions
           where last_at >= $1 and first_at < $2"#,
        from,
        to
    );
    Ok(decisions.fetch_one(&mut **tx).await?)
}

/// Deletes what is older, or more, than the configuration keeps.
pub async fn sweep(tx: &mut PlatformTx, config: &config::Decisions, now: OffsetDateTime) -> Result<()> {
    let kept_since = now - Duration::days(config.retention_days.into());
    sqlx::query!("delete from recorded_decisions where last_at < $1", kept_since).execute(&mut **tx).await?;
    let most = i64::from(config.mebibytes) << 20;
    let bytes =
        sqlx::query_scalar!(r#"select coalesce(sum(bytes), 0)::bigint as "bytes!" from recorded_decisions"#);
    if bytes.fetch_one(&mut **tx).await? > most {
        sqlx::query!(
            "delete from recorded_decisions where id in (
                 select id from (
                     select id, sum(bytes) over (order by first_at desc, id desc) as bytes from recorded_decisions
                 ) newest
                 where newest.bytes > $1
             )",
            most
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
