//! How exactly limits are kept, as measured: what was admitted and refused, by what count, and what of it was wrong.

use crate::{
    authz::{Action::Read, Resource},
    error::Result,
    extract::{Json, Query, Span},
    limits::Counting,
    middleware::TenantRoutes,
    state::AppState,
    tenancy::PlatformTx,
};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// Policies of one answer.
const MOST: usize = 1_000;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(Resource::PlatformLimits).allow(Read, routes!(get_limit_accuracy))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccuracyQuery {
    /// From this minute on; an hour before `to` by default. Two months are kept.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// Up to before this; now by default.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// Of one tier; of all by default.
    #[param(example = "free", max_length = 40)]
    tier: Option<String>,
}

/// What all replicas counted together, up to about a second ago.
#[derive(Serialize, ToSchema)]
pub struct LimitAccuracy {
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub now: LimitingNow,
    /// The policies that decided anything, by tier and name.
    #[schema(max_items = 1_000)]
    pub data: Vec<PolicyAccuracy>,
}

/// How the replica that answers keeps limits at this moment.
#[derive(Serialize, ToSchema)]
pub struct LimitingNow {
    pub mode: Counting,
    /// How many replicas it counts, itself included.
    #[schema(example = 3)]
    pub replicas: u32,
}

/// Of all that decided by one policy of the organisations on one tier.
#[derive(Serialize, ToSchema)]
pub struct PolicyAccuracy {
    /// That of the organisations, for members with the limits of another tier too.
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    #[schema(example = "user", max_length = 40)]
    pub policy: String,
    /// Requests that the policy was asked about, whoever refused them.
    #[schema(example = 9_000)]
    pub decisions: i64,
    /// Units of requests that no policy refused.
    #[schema(example = 10_000)]
    pub admitted_units: i64,
    /// Requests that this policy refused.
    #[schema(example = 70)]
    pub refused: i64,
    /// Units that were admitted beyond the limit: used on credit, or while Redis was away, and found to be more than was
    /// left when they were charged to the whole count.
    #[schema(example = 12)]
    pub over_units: i64,
    /// Units that were refused while other replicas held as many unused, which they handed back afterwards.
    #[schema(example = 3)]
    pub under_units: i64,
    /// `over_units` for each unit that was admitted; 0 if none was.
    #[schema(example = 0.0012)]
    pub over_ratio: f64,
    /// `under_units` for each unit that was admitted; 0 if none was.
    #[schema(example = 0.0003)]
    pub under_ratio: f64,
    pub modes: Modes,
}

/// The same decisions by how they were counted.
#[derive(Default, Serialize, ToSchema)]
pub struct Modes {
    pub exact: Decided,
    pub leased: Decided,
    pub degraded: Decided,
}

#[derive(Clone, Copy, Default, Serialize, ToSchema)]
pub struct Decided {
    /// Requests that the policy was asked about, whoever refused them.
    #[schema(example = 9_000)]
    pub decisions: i64,
    /// Units of requests that no policy refused.
    #[schema(example = 10_000)]
    pub admitted_units: i64,
    /// Requests that this policy refused.
    #[schema(example = 70)]
    pub refused: i64,
}

/// See how exactly limits are kept
///
/// Measured, not estimated: each replica counts what it decides, and what turns out to be wrong of it when it settles with
/// the others through Redis. Only limits over time are in it: months and concurrency are counted elsewhere, shadows refuse
/// nobody, and what costs nothing is not counted. What a replica counted in the last second before it was killed is
/// missing, and so is what it had leased and never settled.
#[utoipa::path(get, path = "/limits/accuracy", tag = "operator: limits", params(AccuracyQuery),
    responses((status = 200, description = "What each policy admitted, refused and misjudged.", body = LimitAccuracy)))]
async fn get_limit_accuracy(
    State(state): State<AppState>,
    Query(AccuracyQuery { from, to, tier }): Query<AccuracyQuery>,
) -> Result<Json<LimitAccuracy>> {
    let span = Span::of(from, to, state.clock.now())?;
    let now = LimitingNow { mode: state.limits.mode(), replicas: state.limits.replicas() };
    let mut tx = state.platform.begin().await?;
    let counted = select(&mut tx, span, tier.as_deref()).await?;
    let policies = counted.chunk_by(|one, next| (&one.tier, &one.policy) == (&next.tier, &next.policy));
    let data = policies.take(MOST).map(PolicyAccuracy::of).collect();
    let Span { from, to } = span;
    Ok(Json(LimitAccuracy { from, to, now, data }))
}

/// One policy by one way of counting.
struct Counted {
    tier: String,
    policy: String,
    counting: Counting,
    decisions: i64,
    admitted_units: i64,
    refused: i64,
    over_units: i64,
    under_units: i64,
}

impl PolicyAccuracy {
    /// `counted` is one policy in each way it was counted.
    fn of(counted: &[Counted]) -> Self {
        let sum = |of: fn(&Counted) -> i64| counted.iter().map(of).sum::<i64>();
        let (admitted_units, over_units) = (sum(|of| of.admitted_units), sum(|of| of.over_units));
        let under_units = sum(|of| of.under_units);
        let by = |counting| {
            let of = counted.iter().find(|of| of.counting == counting);
            of.map(Decided::of).unwrap_or_default()
        };
        Self {
            tier: counted[0].tier.clone(),
            policy: counted[0].policy.clone(),
            decisions: sum(|of| of.decisions),
            admitted_units,
            refused: sum(|of| of.refused),
            over_units,
            under_units,
            over_ratio: ratio(over_units, admitted_units),
            under_ratio: ratio(under_units, admitted_units),
            modes: Modes {
                exact: by(Counting::Exact),
                leased: by(Counting::Leased),
                degraded: by(Counting::Degraded),
            },
        }
    }
}

impl Decided {
    fn of(counted: &Counted) -> Self {
        let Counted { decisions, admitted_units, refused, .. } = *counted;
        Self { decisions, admitted_units, refused }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody reads the fifteenth digit")]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

async fn select(tx: &mut PlatformTx, Span { from, to }: Span, tier: Option<&str>) -> Result<Vec<Counted>> {
    let counted = sqlx::query_as!(
        Counted,
        r#"select tier, policy, counting as "counting: Counting", sum(decisions)::bigint as "decisions!",
                  sum(admitted_units)::bigint as "admitted_units!", sum(refused)::bigint as "refused!",
                  sum(over_units)::bigint as "over_units!", sum(under_units)::bigint as "under_units!"
           from limit_accuracy_minutes
           where minute >= $1 and minute < $2 and ($3::text is null or tier = $3)
           group by tier, policy, counting
           order by tier, policy, counting"#,
        from,
        to,
        tier
    );
    Ok(counted.fetch_all(&mut **tx).await?)
}
