//! What organisations ask for, as operators watch it: over time, by policy, and who asks the most.

use crate::{
    authz::{Action::Read, Resource},
    error::{Error, Result},
    extract::{Granularity, Json, Query, Span},
    ids::OrgId,
    middleware::TenantRoutes,
    state::AppState,
    tenancy::PlatformTx,
};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// Buckets of one answer.
const MOST_BUCKETS: i64 = 1_500;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of_operators(Resource::PlatformUsage)
        .allow(Read, routes!(get_platform_usage))
        .allow(Read, routes!(get_platform_usage_top))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// From this minute on; an hour before `to` by default. Two months are kept.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// Up to before this; now by default.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// Of one organisation; of all together by default.
    org: Option<OrgId>,
    /// How long each bucket is; by default what fits the span.
    bucket: Option<Granularity>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TopQuery {
    /// What there must be the most of.
    #[serde(default)]
    #[param(inline)]
    by: Measure,
    /// From this minute on; an hour before `to` by default.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// Up to before this; now by default.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// How many organisations at most.
    #[serde(default = "ten")]
    #[param(minimum = 1, maximum = 100, default = 10)]
    limit: i64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    #[default]
    Requests,
    Units,
    Refused,
    ShadowRefused,
}

/// What was asked for, up to about a second ago.
#[derive(Serialize, ToSchema)]
pub struct PlatformUsage {
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub bucket: Granularity,
    pub totals: UsageTotals,
    /// Those in which something was asked for, from the earliest on.
    #[schema(max_items = 1_500)]
    pub buckets: Vec<UsageBucket>,
    /// Policies that refused, and those in shadow with what they would have done.
    #[schema(max_items = 1_000)]
    pub policies: Vec<PolicyUsage>,
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct UsageTotals {
    /// Refused or not.
    #[schema(example = 1200)]
    pub requests: i64,
    /// Of those admitted.
    #[schema(example = 1900)]
    pub units: i64,
    #[schema(example = 12)]
    pub refused: i64,
    /// Admitted, though a policy in shadow would have refused.
    #[schema(example = 3)]
    pub shadow_refused: i64,
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct UsageBucket {
    /// Its first moment.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub requests: i64,
    pub units: i64,
    pub refused: i64,
    pub shadow_refused: i64,
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct PolicyUsage {
    /// Where it stands written.
    #[schema(example = "tier:free@v7", max_length = 100)]
    pub source: String,
    #[schema(example = "user", max_length = 40)]
    pub policy: String,
    /// Requests that it refused, and in shadow all that it looked at.
    pub weighed: i64,
    pub refused: i64,
    /// Requests that it would have refused.
    pub shadow_refused: i64,
    /// Organisations that it refused, or would have.
    pub orgs: i64,
}

#[derive(Serialize, ToSchema)]
pub struct TopUsage {
    /// From the most down; without those that have none.
    #[schema(max_items = 100)]
    pub data: Vec<OrgUsage>,
}

#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct OrgUsage {
    pub org: OrgId,
    #[schema(example = "acme", max_length = 63)]
    pub slug: String,
    /// The one it has now.
    #[schema(example = "free", max_length = 40)]
    pub tier: String,
    pub requests: i64,
    pub units: i64,
    pub refused: i64,
    pub shadow_refused: i64,
}

/// See what was asked for
///
/// Of all organisations or of one, with what each policy refused, or in shadow would have.
#[utoipa::path(get, path = "/usage", tag = "operator: usage", params(UsageQuery),
    responses((status = 200, description = "Totals, buckets and policies.", body = PlatformUsage)))]
async fn get_platform_usage(
    State(state): State<AppState>,
    Query(query): Query<UsageQuery>,
) -> Result<Json<PlatformUsage>> {
    let span = Span::of(query.from, query.to, state.clock.now())?;
    let bucket = query
        .bucket
        .unwrap_or_else(|| Granularity::fitting(span.length(), Duration::DAY, Duration::days(60)));
    if span.length().whole_seconds() / bucket.seconds() > MOST_BUCKETS {
        return Err(unusable(format!(
            "more than {MOST_BUCKETS} buckets: take longer ones, or a shorter span"
        )));
    }
    let mut tx = state.platform.begin().await?;
    let buckets = select_buckets(&mut tx, span, query.org, bucket).await?;
    let policies = select_policies(&mut tx, span, query.org).await?;
    let sum = |of: fn(&UsageBucket) -> i64| buckets.iter().map(of).sum();
    let totals = UsageTotals {
        requests: sum(|bucket| bucket.requests),
        units: sum(|bucket| bucket.units),
        refused: sum(|bucket| bucket.refused),
        shadow_refused: sum(|bucket| bucket.shadow_refused),
    };
    let Span { from, to } = span;
    Ok(Json(PlatformUsage { from, to, bucket, totals, buckets, policies }))
}

/// See who asks for the most
#[utoipa::path(get, path = "/usage/top", tag = "operator: usage", params(TopQuery),
    responses((status = 200, description = "The first organisations by that measure.", body = TopUsage)))]
async fn get_platform_usage_top(
    State(state): State<AppState>,
    Query(query): Query<TopQuery>,
) -> Result<Json<TopUsage>> {
    if !(1..=100).contains(&query.limit) {
        return Err(unusable("limit: from 1 to 100".to_owned()));
    }
    let span = Span::of(query.from, query.to, state.clock.now())?;
    let data = select_top(&mut state.platform.begin().await?, span, query.by, query.limit).await?;
    Ok(Json(TopUsage { data }))
}

fn ten() -> i64 {
    10
}

fn unusable(detail: String) -> Error {
    Error::malformed("bad_parameter", detail)
}

impl Measure {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Units => "units",
            Self::Refused => "refused",
            Self::ShadowRefused => "shadow_refused",
        }
    }
}

/// Org by org, as the index goes.
async fn select_buckets(
    tx: &mut PlatformTx,
    Span { from, to }: Span,
    org: Option<OrgId>,
    bucket: Granularity,
) -> Result<Vec<UsageBucket>> {
    let buckets = sqlx::query_as!(
        UsageBucket,
        r#"select date_trunc($4, u.minute, 'UTC') as "at!", sum(u.requests)::bigint as "requests!",
                  sum(u.units)::bigint as "units!", sum(u.refused)::bigint as "refused!",
                  sum(u.shadow_refused)::bigint as "shadow_refused!"
           from orgs o join usage_minutes u on u.org_id = o.id
           where ($3::uuid is null or o.id = $3) and u.minute >= $1 and u.minute < $2
           group by 1 order by 1"#,
        from,
        to,
        org.map(OrgId::uuid),
        bucket.as_str()
    );
    Ok(buckets.fetch_all(&mut **tx).await?)
}

async fn select_policies(
    tx: &mut PlatformTx,
    Span { from, to }: Span,
    org: Option<OrgId>,
) -> Result<Vec<PolicyUsage>> {
    let policies = sqlx::query_as!(
        PolicyUsage,
        r#"select u.source, u.policy, sum(u.weighed)::bigint as "weighed!", sum(u.refused)::bigint as "refused!",
                  sum(u.shadow_refused)::bigint as "shadow_refused!",
                  count(distinct u.org_id) filter (where u.refused + u.shadow_refused > 0) as "orgs!"
           from orgs o join usage_policy_minutes u on u.org_id = o.id
           where ($3::uuid is null or o.id = $3) and u.minute >= $1 and u.minute < $2
           group by u.source, u.policy
           order by sum(u.refused + u.shadow_refused) desc, u.source, u.policy
           limit 1000"#,
        from,
        to,
        org.map(OrgId::uuid)
    );
    Ok(policies.fetch_all(&mut **tx).await?)
}

async fn select_top(
    tx: &mut PlatformTx,
    Span { from, to }: Span,
    by: Measure,
    limit: i64,
) -> Result<Vec<OrgUsage>> {
    let top = sqlx::query_as!(
        OrgUsage,
        r#"select org as "org: OrgId", slug, tier, requests as "requests!", units as "units!", refused as "refused!",
                  shadow_refused as "shadow_refused!"
           from (
               select o.id as org, o.slug, c.tier, sum(u.requests)::bigint as requests, sum(u.units)::bigint as units,
                      sum(u.refused)::bigint as refused, sum(u.shadow_refused)::bigint as shadow_refused
               from orgs o
               join org_control c on c.org_id = o.id
               join usage_minutes u on u.org_id = o.id
               where u.minute >= $1 and u.minute < $2
               group by o.id, o.slug, c.tier
           ) t
           cross join lateral (
               select case $3::text when 'units' then units when 'refused' then refused
                                    when 'shadow_refused' then shadow_refused else requests end as most
           ) m
           where most > 0
           order by most desc, org
           limit $4"#,
        from,
        to,
        by.as_str(),
        limit
    );
    Ok(top.fetch_all(&mut **tx).await?)
}
