//! How many streams of events an org has open, in all processes together.

use crate::{
    db::Pools,
    error::Result,
    ids::{OrgId, ReplicaId},
};

/// Opens one more, which makes `here` of them in this process, if there are no more than `most` in all then; where there
/// would be, answers how many are open.
pub async fn open_live(
    pools: &Pools,
    replica: ReplicaId,
    org: OrgId,
    here: usize,
    most: u32,
) -> Result<Result<(), u32>> {
    let [here, most] = [here, most as usize].map(|count| i32::try_from(count).unwrap_or(i32::MAX));
    let row = sqlx::query!(
        r#"select admitted as "admitted!", total as "total!" from gate_open_live($1, $2, $3, $4)"#,
        replica.uuid(),
        org.uuid(),
        here,
        most
    )
    .fetch_one(&pools.gate)
    .await?;
    Ok(if row.admitted { Ok(()) } else { Err(u32::try_from(row.total).unwrap_or_default()) })
}
