//! Usage: what the organisation asked for, over time, by route, key and limit policy.

use crate::{
    authz::{Action::Read, Resource},
    error::{Error, Result},
    extract::{Granularity, Json, Query, Span, TenantDb},
    ids::ApiKeyId,
    middleware::TenantRoutes,
    state::AppState,
    tenancy::TenantTx,
};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

/// Buckets of one answer, and where each is told group by group.
const MOST_BUCKETS: i64 = 1_500;
const MOST_GROUPED: i64 = 200;
/// Of both together.
const MOST_ROWS: usize = 5_000;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Resource::Usage).allow(Read, routes!(get_usage))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// From this minute on; an hour before `to` by default. 35 days are kept, unless whoever runs this server has said
    /// otherwise.
    #[serde(default, with = "time::serde::rfc3339::option")]
    from: Option<OffsetDateTime>,
    /// Up to before this; now by default.
    #[serde(default, with = "time::serde::rfc3339::option")]
    to: Option<OffsetDateTime>,
    /// How long each bucket is; by default what fits the span. At most 1,500 of them, and 200 with `group_by`.
    #[param(inline)]
    granularity: Option<Granularity>,
    /// Tells each bucket group by group.
    #[param(inline)]
    group_by: Option<GroupBy>,
    /// What came with this key.
    api_key_id: Option<ApiKeyId>,
    /// What this operation was asked for, by its id.
    #[param(example = "list_products", min_length = 1, max_length = 100, pattern = "^[a-z0-9_]+$")]
    route: Option<String>,
    /// What this limit policy said.
    #[param(example = "user", min_length = 1, max_length = 40, pattern = "^[a-z0-9][a-z0-9_-]*$")]
    policy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UsageGroupBy)]
pub enum GroupBy {
    Route,
    ApiKey,
    Policy,
}

/// What was asked for, up to about a second ago: every request whose credentials were good, which are those whose line in
/// the server's log names the organisation.
#[derive(Serialize, ToSchema)]
pub struct Usage {
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    #[schema(inline)]
    pub granularity: Granularity,
    pub totals: UsageCounts,
    /// Those in which something was asked for, from the earliest on.
    #[schema(max_items = 5_000)]
    pub data: Vec<UsageOfBucket>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageCounts {
    /// Let through by the limits, and not answered 5xx. Of a policy: what fitted it.
    #[schema(minimum = 0, example = 1180)]
    pub passed: i64,
    /// Refused by a limit. Of a policy: by this one.
    #[schema(minimum = 0, example = 12)]
    pub limited: i64,
    /// Let through, though a policy in shadow would have refused; counted besides, under `passed` or `errors`. Of a policy:
    /// what it would have refused.
    #[schema(minimum = 0, example = 3)]
    pub shadow: i64,
    /// Let through, and answered 5xx. None of a policy.
    #[schema(minimum = 0, example = 0)]
    pub errors: i64,
    /// Charged. None of a policy.
    #[schema(minimum = 0, example = 1900)]
    pub units: i64,
}

#[derive(Serialize, ToSchema)]
pub struct UsageOfBucket {
    /// The bucket's first moment.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// With `group_by=route`: the operation's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "list_products", max_length = 100)]
    pub route: Option<String>,
    /// With `group_by=api_key`: the key, or none for what people asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<ApiKeyId>,
    /// With `group_by=policy`: the limit policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "user", max_length = 40)]
    pub policy: Option<String>,
    #[serde(flatten)]
    pub counts: UsageCounts,
}

/// See what was asked for
///
/// By people and keys of the organisation, with what became of it. A request is counted in the minute in which it was
/// answered, once, whatever happens to the server. One whose client hung up before is counted as what the limits said.
#[utoipa::path(get, path = "/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, description = "Totals and buckets.", body = Usage)))]
async fn get_usage(
    State(state): State<AppState>,
    db: TenantDb,
    Query(query): Query<UsageQuery>,
) -> Result<Json<Usage>> {
    let span = Span::of(query.from, query.to, state.clock.now())?;
    let granularity = query.granularity.unwrap_or_else(|| fitting(span, query.group_by));
    let most = if query.group_by.is_some() { MOST_GROUPED } else { MOST_BUCKETS };
    if span.length().whole_seconds() / granularity.seconds() > most {
        return Err(unusable(format!("more than {most} buckets: take longer ones, or a shorter span")));
    }
    query.check()?;
    let data = select(&mut db.read().await?, span, granularity, &query).await?;
    if data.len() > MOST_ROWS {
        return Err(unusable(
            "too many groups: take longer buckets, a shorter span, or one of them".to_owned(),
        ));
    }
    let totals = data.iter().fold(UsageCounts::default(), |sum, row| sum.plus(row.counts));
    let Span { from, to } = span;
    Ok(Json(Usage { from, to, granularity, totals, data }))
}

fn unusable(detail: String) -> Error {
    Error::malformed("bad_parameter", detail)
}

impl UsageQuery {
    fn check(&self) -> Result<()> {
        let is = |text: &str, longest, others: &str| {
            (1..=longest).contains(&text.len())
                && !text.starts_with('-')
                && text.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.as_bytes().contains(&byte)
                })
        };
        if self.route.as_deref().is_some_and(|route| !is(route, 100, "_")) {
            return Err(unusable("route: the id of an operation, like list_products".to_owned()));
        }
        if self.policy.as_deref().is_some_and(|policy| !is(policy, 40, "_-") || policy.starts_with('_')) {
            return Err(unusable("policy: the name of a limit, like user".to_owned()));
        }
        Ok(())
    }
}

/// A group has a row of its own in each bucket.
fn fitting(span: Span, group_by: Option<GroupBy>) -> Granularity {
    let (minutes, hours) = match group_by {
        None => (Duration::DAY, Duration::days(60)),
        Some(_) => (Duration::hours(3), Duration::days(8)),
    };
    Granularity::fitting(span.length(), minutes, hours)
}

impl GroupBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::ApiKey => "api_key",
            Self::Policy => "policy",
        }
    }
}

impl UsageCounts {
    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            limited: self.limited + other.limited,
            shadow: self.shadow + other.shadow,
            errors: self.errors + other.errors,
            units: self.units + other.units,
        }
    }
}

/// One row more than are answered at most. The requests themselves are counted under the policy ''.
async fn select(
    tx: &mut TenantTx,
    Span { from, to }: Span,
    granularity: Granularity,
    query: &UsageQuery,
) -> Result<Vec<UsageOfBucket>> {
    let by_policy = query.policy.is_some() || query.group_by == Some(GroupBy::Policy);
    let rows = sqlx::query!(
        r#"select date_trunc($4, minute, 'UTC') as "start!",
                  case $5::text when 'route' then route end as route,
                  case $5::text when 'api_key' then nullif(api_key, $10) end as "api_key_id: ApiKeyId",
                  case $5::text when 'policy' then policy end as policy,
                  sum(passed)::bigint as "passed!", sum(limited)::bigint as "limited!",
                  sum(shadow)::bigint as "shadow!", sum(errors)::bigint as "errors!", sum(units)::bigint as "units!"
           from usage_route_minutes
           where org_id = $1 and minute >= $2 and minute < $3 and (policy <> '') = $6
             and ($7::text is null or policy = $7) and ($8::text is null or route = $8)
             and ($9::uuid is null or api_key = $9)
           group by 1, 2, 3, 4 order by 1, 2, 3, 4
           limit $11"#,
        tx.org().uuid(),
        from,
        to,
        granularity.as_str(),
        query.group_by.map(GroupBy::as_str),
        by_policy,
        query.policy,
        query.route,
        query.api_key_id.map(ApiKeyId::uuid),
        Uuid::nil(),
        i64::try_from(MOST_ROWS + 1).unwrap_or(i64::MAX)
    )
    .map(|row| UsageOfBucket {
        start: row.start,
        route: row.route,
        api_key_id: row.api_key_id,
        policy: row.policy,
        counts: UsageCounts {
            passed: row.passed,
            limited: row.limited,
            shadow: row.shadow,
            errors: row.errors,
            units: row.units,
        },
    })
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}
