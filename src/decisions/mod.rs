//! Receipts of refusals: each 403 of a missing permission and each 429 can be asked about afterwards.
//!
//! They stand in a bounded ring in memory, where this replica answers from at once, and are written down many at a time,
//! so that the others can answer too. A flood costs neither memory nor a write per refusal: what an org has too many of,
//! it loses its own oldest of.

mod ring;

use crate::{
    error::{Problem, Result},
    ids::{OrgId, RequestId},
    tenancy::{PlatformDb, PlatformTx},
};
use axum::http::StatusCode;
use parking_lot::Mutex;
use ring::Ring;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

/// How long a refusal can be asked about.
pub const KEPT: Duration = Duration::days(7);
/// Receipts written by one statement.
const BATCH: usize = 1_000;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    pub request_id: RequestId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub outcome: Outcome,
    pub kind: Kind,
    /// The permission that was missing.
    #[schema(example = "products:delete", max_length = 80)]
    pub permission: Option<String>,
    /// The roles that were held then.
    #[schema(max_items = 100)]
    pub roles: Vec<String>,
    /// The rule that denied it, as the policy files write rules; none where no rule allowed it.
    #[schema(example = "p, trainee, orders, create, deny", max_length = 200)]
    pub rule: Option<String>,
    /// The limits that were used up.
    #[schema(max_items = 16)]
    pub policies: Vec<UsedUp>,
    /// The same in a sentence.
    #[schema(
        example = "this needs the permission products:delete: ask an admin for one of the roles admin, owner",
        max_length = 1000
    )]
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Permission,
    Limit,
}

/// A limit, as it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsedUp {
    #[schema(example = "user", max_length = 60)]
    pub policy: String,
    #[schema(example = "user", max_length = 20)]
    pub scope: String,
    pub limit: u32,
    pub used: u32,
    /// Units that the request asked for.
    pub cost: u32,
    /// When the same would have been admitted; none if never.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_at: Option<OffsetDateTime>,
    #[schema(example = "tier:free@v7", max_length = 100)]
    pub source: String,
}

/// A receipt, and whose it is.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub org: OrgId,
    pub actor_type: &'static str,
    pub actor: Uuid,
    pub receipt: Receipt,
}

/// The refusals of this replica, the latest of each org.
#[derive(Clone, Default)]
pub struct Decisions(Arc<Mutex<Ring>>);

impl Refusal {
    /// The receipt of a problem that deserves one; none for every other. An actor is a kind and an id.
    pub fn of(
        problem: &Problem,
        org: OrgId,
        (actor_type, actor): (&'static str, Uuid),
        request_id: RequestId,
        at: OffsetDateTime,
    ) -> Option<Self> {
        let kind = match (problem.status, problem.code) {
            (StatusCode::FORBIDDEN, "permission_denied") => Kind::Permission,
            (StatusCode::TOO_MANY_REQUESTS, _) => Kind::Limit,
            _ => return None,
        };
        let receipt = Receipt {
            request_id,
            at,
            outcome: Outcome::Deny,
            kind,
            permission: said(problem, "permission"),
            roles: said(problem, "your_roles").unwrap_or_default(),
            rule: said(problem, "rule"),
            policies: said(problem, "limits").unwrap_or_default(),
            text: problem.detail.clone(),
        };
        Some(Self { org, actor_type, actor, receipt })
    }
}

/// A member of a problem, where it is there and reads as it should.
fn said<T: DeserializeOwned>(problem: &Problem, member: &str) -> Option<T> {
    T::deserialize(problem.extra.get(member)?).ok()
}

impl Decisions {
    pub fn keep(&self, refusal: Refusal) {
        self.0.lock().push(refusal);
    }

    /// What this replica knows of a request of `org`.
    pub fn find(&self, org: OrgId, request: RequestId) -> Option<Arc<Refusal>> {
        self.0.lock().find(org, request)
    }

    /// Writes down what was not yet, and answers how many that were. What can't be written is tried again next time, as
    /// long as it is in the ring.
    pub async fn flush(&self, platform: &PlatformDb) -> Result<usize> {
        let mut written = 0;
        let dropped = self.0.lock().take_dropped();
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "more requests were refused than can be written down: the oldest are forgotten"
            );
        }
        loop {
            let batch = self.0.lock().unwritten(BATCH);
            if batch.is_empty() {
                return Ok(written);
            }
            let mut tx = platform.begin().await?;
            insert(&mut tx, &batch).await?;
            tx.commit().await?;
            self.0.lock().written(&batch);
            written += batch.len();
        }
    }

    /// How many receipts are in memory.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

async fn insert(tx: &mut PlatformTx, batch: &[Arc<Refusal>]) -> Result<()> {
    let of = |column: fn(&Refusal) -> Uuid| batch.iter().map(|refusal| column(refusal)).collect::<Vec<_>>();
    let ats: Vec<OffsetDateTime> = batch.iter().map(|refusal| refusal.receipt.at).collect();
    let kinds: Vec<String> = batch.iter().map(|refusal| refusal.actor_type.to_owned()).collect();
    let receipts: Result<Vec<_>, _> =
        batch.iter().map(|refusal| serde_json::to_value(&refusal.receipt)).collect();
    // An org that is gone has nobody who would ask.
    sqlx::query!(
        "insert into decisions (org_id, request_id, at, actor_type, actor_id, receipt)
         select r.org_id, r.request_id, r.at, r.actor_type, r.actor_id, r.receipt
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::uuid[], $6::jsonb[])
             as r (org_id, request_id, at, actor_type, actor_id, receipt)
         join orgs on orgs.id = r.org_id
         on conflict (org_id, request_id) do nothing",
        &of(|refusal| refusal.org.uuid()),
        &of(|refusal| refusal.receipt.request_id.uuid()),
        &ats,
        &kinds,
        &of(|refusal| refusal.actor),
        &receipts.map_err(anyhow::Error::from)?
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes what nobody can ask about any more.
pub async fn sweep(tx: &mut PlatformTx, now: OffsetDateTime) -> Result<()> {
    // Org by org, as the index goes.
    sqlx::query!("delete from decisions d using orgs o where d.org_id = o.id and d.at < $1", now - KEPT)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
