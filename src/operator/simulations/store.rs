//! The simulations that operators asked for, and what came of them.

use super::{Counts, NewSimulation, Progress, Simulation, SimulationStatus};
use crate::{
    error::{Error, Result},
    ids::{OrgId, SimulationId},
    tenancy::PlatformTx,
};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
pub struct Row {
    id: SimulationId,
    status: SimulationStatus,
    tier: String,
    policies: Value,
    starts_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    done: i64,
    total: i64,
    error: Option<String>,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl From<Row> for Simulation {
    fn from(row: Row) -> Self {
        let policies = row.policies.as_array().map_or(&[][..], Vec::as_slice).iter();
        let not_simulated = policies
            .filter(|policy| policy["unit"] == "concurrent" || policy["period"].is_string())
            .filter_map(|policy| policy["name"].as_str().map(ToOwned::to_owned))
            .collect();
        Self {
            id: row.id,
            status: row.status,
            tier: row.tier,
            policies: row.policies,
            not_simulated,
            from: row.starts_at,
            to: row.ends_at,
            progress: Progress { done: row.done, total: row.total },
            error: row.error,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

/// What became of an org's decisions on one route.
pub struct Outcome {
    pub org: OrgId,
    pub slug: Option<String>,
    pub route: String,
    pub counts: Counts,
}

pub async fn insert(
    tx: &mut PlatformTx,
    id: SimulationId,
    new: &NewSimulation,
    author: Uuid,
    at: OffsetDateTime,
) -> Result<Simulation> {
    let policies = serde_json::to_value(&new.policies).map_err(|error| Error::Internal(error.into()))?;
    let row = sqlx::query_as!(
        Row,
        r#"insert into simulations (id, tier, policies, starts_at, ends_at, author, created_at)
           values ($1, $2, $3, $4, $5, $6, $7)
           returning id as "id: _", status as "status: _", tier, policies, starts_at, ends_at, done, total, error,
                     created_at, finished_at"#,
        id.uuid(),
        new.tier,
        policies,
        new.from,
        new.to,
        author,
        at
    );
    Ok(row.fetch_one(&mut **tx).await?.into())
}

pub async fn select(tx: &mut PlatformTx, id: SimulationId) -> Result<Option<Simulation>> {
    let row = sqlx::query_as!(
        Row,
        r#"select id as "id: _", status as "status: _", tier, policies, starts_at, ends_at, done, total, error,
                  created_at, finished_at
           from simulations where id = $1"#,
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

/// Whether it was still to be done: who works at it hears of it within a second.
pub async fn cancel(tx: &mut PlatformTx, id: SimulationId, at: OffsetDateTime) -> Result<bool> {
    let cancelled = sqlx::query!(
        "update simulations set status = 'cancelled', finished_at = $2
         where id = $1 and status in ('queued', 'running')",
        id.uuid(),
        at
    );
    Ok(cancelled.execute(&mut **tx).await?.rows_affected() > 0)
}

/// How many orgs there are, and all their decisions.
pub async fn totals(tx: &mut PlatformTx, id: SimulationId) -> Result<(i64, Counts)> {
    let row = sqlx::query!(
        r#"select count(distinct org) as "orgs!", coalesce(sum(decisions), 0)::bigint as "decisions!",
                  coalesce(sum(refused), 0)::bigint as "refused!", min(first_refused_at) as first_refused_at,
                  coalesce(sum(refused_really), 0)::bigint as "refused_really!",
                  coalesce(sum(newly_hurt), 0)::bigint as "newly_hurt!",
                  min(first_newly_hurt_at) as first_newly_hurt_at,
                  coalesce(sum(relieved), 0)::bigint as "relieved!", min(first_relieved_at) as first_relieved_at,
                  coalesce(sum(refused_in_shadow), 0)::bigint as "refused_in_shadow!"
           from simulation_outcomes where simulation_id = $1"#,
        id.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    let counts = Counts {
        decisions: row.decisions,
        refused: row.refused,
        first_refused_at: row.first_refused_at,
        refused_really: row.refused_really,
        newly_hurt: row.newly_hurt,
        first_newly_hurt_at: row.first_newly_hurt_at,
        relieved: row.relieved,
        first_relieved_at: row.first_relieved_at,
        refused_in_shadow: row.refused_in_shadow,
    };
    Ok((row.orgs, counts))
}

/// Of the `most` orgs that are hurt most, each route: org by org, and worst first.
pub async fn outcomes(tx: &mut PlatformTx, id: SimulationId, most: i64) -> Result<Vec<Outcome>> {
    let rows = sqlx::query!(
        r#"select o.org as "org: OrgId", orgs.slug as "slug?", o.route, o.decisions, o.refused, o.first_refused_at,
                  o.refused_really, o.newly_hurt, o.first_newly_hurt_at, o.relieved, o.first_relieved_at,
                  o.refused_in_shadow
           from (
               select org, row_number() over (order by sum(newly_hurt) desc, sum(refused) desc, org) as place
               from simulation_outcomes where simulation_id = $1
               group by org order by place limit $2
           ) worst
           join simulation_outcomes o on o.simulation_id = $1 and o.org = worst.org
           left join orgs on orgs.id = o.org
           order by worst.place, o.newly_hurt desc, o.refused desc, o.route"#,
        id.uuid(),
        most
    );
    let outcomes = rows.map(|row| Outcome {
        org: row.org,
        slug: row.slug,
        route: row.route,
        counts: Counts {
            decisions: row.decisions,
            refused: row.refused,
            first_refused_at: row.first_refused_at,
            refused_really: row.refused_really,
            newly_hurt: row.newly_hurt,
            first_newly_hurt_at: row.first_newly_hurt_at,
            relieved: row.relieved,
            first_relieved_at: row.first_relieved_at,
            refused_in_shadow: row.refused_in_shadow,
        },
    });
    Ok(outcomes.fetch_all(&mut **tx).await?)
}
