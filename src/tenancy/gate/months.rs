//! Monthly quotas: what is taken of them in the billing month that runs.

use crate::{db::Pools, error::Result, ids::OrgId};
use anyhow::Context as _;
use time::Date;
use uuid::Uuid;

/// What a replica wants of one quota.
pub struct MonthTake<'a> {
    pub org: OrgId,
    /// The org itself, or the user or key that is counted by itself.
    pub subject: Uuid,
    pub policy: &'a str,
    pub quota: u32,
    /// The billing day that the replica has in mind, and when its month began by that; none before it was told.
    pub day: Option<u8>,
    pub start: Date,
    /// Units that must fit, or nothing is taken; 0 to look only.
    pub need: i64,
    /// Units that may be taken beyond, and a part of what is left that they may not exceed.
    pub most: i64,
    pub parts: i64,
    /// Units taken before that are not wanted any more.
    pub back: i64,
    /// Units that were admitted while nobody could be asked.
    pub owed: i64,
}

/// The answer. If `day` is not the one that was in mind, nothing was done.
pub struct MonthTaken {
    pub granted: i64,
    /// All that is used or reserved, `granted` included.
    pub total: i64,
    pub day: Option<i16>,
}

pub async fn take_month(pools: &Pools, take: &MonthTake<'_>) -> Result<MonthTaken> {
    let taken = sqlx::query_as!(
        MonthTaken,
        r#"select granted as "granted!", total as "total!", billing_day as day
           from take_month($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"#,
        take.org.uuid(),
        take.subject,
        take.policy,
        i64::from(take.quota),
        take.day.map(i16::from),
        take.start,
        take.need,
        take.most,
        take.parts,
        take.back,
        take.owed
    );
    Ok(taken.fetch_optional(&pools.platform).await?.context("take_month answers one row")?)
}
