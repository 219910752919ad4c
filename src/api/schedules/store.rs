//! Schedules as they are stored.

use super::{NewSchedule, Schedule, SchedulePatch, ScheduleRow};
use crate::{authn::Actor, error::Result, ids::ScheduleId, tenancy::TenantTx};
use sqlx::types::Json;
use time::OffsetDateTime;

/// How many there are; whoever asks next waits for the end of this transaction.
pub async fn count_in_turn(tx: &mut TenantTx) -> Result<i64> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('schedules ' || $1, 0))",
        tx.org().to_string()
    )
    .execute(&mut **tx)
    .await?;
    let many = sqlx::query_scalar!(
        r#"select count(*) as "many!" from schedules where org_id = $1"#,
        tx.org().uuid()
    );
    Ok(many.fetch_one(&mut **tx).await?)
}

pub async fn insert(
    tx: &mut TenantTx,
    by: &Actor,
    new: &NewSchedule,
    zone: &str,
    next: Option<OffsetDateTime>,
) -> Result<Schedule> {
    let (user, key) = by.columns();
    let made = sqlx::query_as!(
        ScheduleRow,
        r#"insert into schedules (org_id, id, name, kind, args, cron, timezone, is_paused, next_run_at, created_by_user,
                                  created_by_key)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
           returning id as "id: _", name, kind as "kind: _", args as "args: _", cron, timezone, is_paused, next_run_at,
                     last_run_at, last_job_id as "last_job_id: _", created_by_user as "created_by_user: _",
                     created_by_key as "created_by_key: _", created_at, updated_at"#,
        tx.org().uuid(),
        ScheduleId::new().uuid(),
        new.name,
        new.kind as _,
        Json(new.args) as _,
        new.cron,
        zone,
        new.is_paused,
        next,
        user,
        key
    );
    Ok(made.fetch_one(&mut **tx).await?.into())
}

pub async fn select(tx: &mut TenantTx, id: ScheduleId) -> Result<Option<Schedule>> {
    let found = sqlx::query_as!(
        ScheduleRow,
        r#"select id as "id: _", name, kind as "kind: _", args as "args: _", cron, timezone, is_paused, next_run_at,
                  last_run_at, last_job_id as "last_job_id: _", created_by_user as "created_by_user: _",
                  created_by_key as "created_by_key: _", created_at, updated_at
           from schedules where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(found.fetch_optional(&mut **tx).await?.map(Into::into))
}

/// The same, locked to the end of the transaction: a time that is due meanwhile is enqueued before or after.
pub async fn lock(tx: &mut TenantTx, id: ScheduleId) -> Result<Option<Schedule>> {
    sqlx::query!(
        "select from schedules where org_id = $1 and id = $2 for no key update",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    select(tx, id).await
}

pub async fn update(
    tx: &mut TenantTx,
    id: ScheduleId,
    patch: &SchedulePatch,
    zone: &str,
    next: Option<OffsetDateTime>,
) -> Result<Schedule> {
    let changed = sqlx::query_as!(
        ScheduleRow,
        r#"update schedules
           set name = coalesce($3, name), args = coalesce($4, args), cron = coalesce($5, cron), timezone = $6,
               is_paused = coalesce($7, is_paused), next_run_at = $8, updated_at = now()
           where org_id = $1 and id = $2
           returning id as "id: _", name, kind as "kind: _", args as "args: _", cron, timezone, is_paused, next_run_at,
                     last_run_at, last_job_id as "last_job_id: _", created_by_user as "created_by_user: _",
                     created_by_key as "created_by_key: _", created_at, updated_at"#,
        tx.org().uuid(),
        id.uuid(),
        patch.name,
        patch.args.map(Json) as _,
        patch.cron,
        zone,
        patch.is_paused,
        next
    );
    Ok(changed.fetch_one(&mut **tx).await?.into())
}

pub async fn delete(tx: &mut TenantTx, id: ScheduleId) -> Result<()> {
    sqlx::query!("delete from schedules where org_id = $1 and id = $2", tx.org().uuid(), id.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
