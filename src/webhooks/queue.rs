//! The queue of deliveries as workers see it: whose turn it is, and what is done to those that nobody will deliver.

use super::Secret;
use crate::{
    clock::Clock,
    error::Result,
    events::{Event, EventRow},
    ids::{DeliveryId, EventId, OrgId, WebhookId, WebhookSecretId},
    tenancy::{PlatformDb, PlatformTx},
    vault::Vault,
};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// A delivery that is to be attempted now, by whoever holds this.
pub struct Claimed {
    pub org: OrgId,
    pub id: DeliveryId,
    pub endpoint: WebhookId,
    pub claim: Uuid,
    /// That have come to an end before.
    pub attempts: i32,
    pub url: String,
    /// The endpoint has failed, and not succeeded since.
    pub is_failing: bool,
    pub event: Event,
    /// As they lie in the database, the newest first.
    secrets: Vec<(WebhookSecretId, Vec<u8>)>,
}

impl Claimed {
    /// What the request is signed with: the current secret, and those before it that have not expired.
    pub fn secrets(&self, vault: &Vault) -> Result<Vec<Secret>> {
        self.secrets.iter().map(|(id, sealed)| Secret::open(vault, *id, sealed)).collect()
    }
}

/// How much a worker can take on.
pub struct Room {
    pub free: usize,
    /// Of one org, those under way included.
    pub of_an_org: usize,
    /// For endpoints that fail.
    pub for_failing: usize,
    /// What each org has under way with this worker.
    pub busy: HashMap<OrgId, usize>,
}

#[derive(Clone)]
pub struct Queue {
    pub(super) platform: PlatformDb,
    pub(super) clock: Clock,
    /// For how long a delivery is left to whoever has claimed it.
    lease: Duration,
}

/// A delivery as it was claimed.
struct Ticket {
    org: OrgId,
    id: DeliveryId,
    endpoint: WebhookId,
    event: EventId,
    attempts: i32,
    claim: Uuid,
}

/// Where requests go to and what they are signed with.
struct Endpoint {
    url: String,
    is_failing: bool,
    secrets: Vec<(WebhookSecretId, Vec<u8>)>,
}

/// Deliveries that are put out of their wait in one transaction.
const BATCH: i64 = 1_000;

impl Queue {
    pub fn new(platform: PlatformDb, clock: Clock, lease: Duration) -> Self {
        Self { platform, clock, lease }
    }

    /// Takes what is due, in turns: first of the orgs that have least under way with this worker, then of the endpoints
    /// that have least under way at all. How much waits for one is nothing to the others; it costs some index look-ups
    /// for each endpoint that anything waits for. (By the statement's time, which indexes can be asked by; the clock's,
    /// which goes on meanwhile, is compared with each row.)
    pub async fn claim(&self, room: &Room) -> Result<Vec<Claimed>> {
        let mut tx = self.platform.begin().await?;
        // One at a time: how much an endpoint may have under way depends on what the others have claimed.
        sqlx::query!("select pg_advisory_xact_lock(hashtext('insula webhooks'))").execute(&mut *tx).await?;
        let tickets = self.take(&mut tx, room).await?;
        if tickets.is_empty() {
            return Ok(Vec::new());
        }
        let events = events(&mut tx, &tickets).await?;
        let endpoints = self.endpoints(&mut tx, &tickets).await?;
        let (mut claimed, mut eventless) = (Vec::new(), Vec::new());
        for ticket in tickets {
            let Ticket { org, id, endpoint, event, attempts, claim } = ticket;
            let Some(to) = endpoints.get(&(org, endpoint)) else { continue };
            // Two endpoints may be told of one.
            let Some(event) = events.get(&(org, event)) else {
                eventless.push(ticket);
                continue;
            };
            claimed.push(Claimed {
                org,
                id,
                endpoint,
                claim,
                attempts,
                url: to.url.clone(),
                is_failing: to.is_failing,
                event: event.clone(),
                secrets: to.secrets.clone(),
            });
        }
        discard_claimed(&mut tx, &eventless).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn take(&self, tx: &mut PlatformTx, room: &Room) -> Result<Vec<Ticket>> {
        let (busy, many): (Vec<Uuid>, Vec<i64>) =
            room.busy.iter().map(|(org, many)| (org.uuid(), bigint(*many))).unzip();
        let taken = sqlx::query_as!(
            Ticket,
            r#"with recursive waiting as (
                   (select org_id, endpoint_id from webhook_deliveries
                    where status = 'waiting' order by org_id, endpoint_id limit 1)
                   union all
                   select n.org_id, n.endpoint_id
                   from waiting w
                   cross join lateral (
                       select d.org_id, d.endpoint_id from webhook_deliveries d
                       where d.status = 'waiting' and (d.org_id, d.endpoint_id) > (w.org_id, w.endpoint_id)
                       order by d.org_id, d.endpoint_id limit 1
                   ) n
               ),
               running as (
                   select org_id, endpoint_id, count(*) as many from webhook_deliveries
                   where status = 'running' group by org_id, endpoint_id
               ),
               able as (
                   select e.org_id, e.id, e.ordered, e.failing_since is not null as failing, coalesce(r.many, 0) as running,
                          greatest(e.concurrency - coalesce(r.many, 0), 0) as free
                   from waiting w
                   join webhook_endpoints e on e.org_id = w.org_id and e.id = w.endpoint_id and e.status = 'enabled'
                   join org_control c on c.org_id = w.org_id and c.status = 'active'
                   left join running r on r.org_id = w.org_id and r.endpoint_id = w.endpoint_id
               ),
               due as (
                   select a.org_id, a.id as endpoint_id, a.failing, a.running, d.id, d.due_at, d.seq
                   from able a
                   cross join lateral (
                       select d.id, d.due_at, d.seq from webhook_deliveries d
                       where d.org_id = a.org_id and d.endpoint_id = a.id and d.status = 'waiting'
                         and d.due_at <= statement_timestamp()
                       order by d.due_at, d.seq, d.id limit a.free
                   ) d
                   where not a.ordered
                   union all
                   select a.org_id, a.id, a.failing, a.running, d.id, d.due_at, d.seq
                   from able a
                   cross join lateral (
                       select d.id, d.due_at, d.seq, d.status from webhook_deliveries d
                       where d.org_id = a.org_id and d.endpoint_id = a.id and d.status in ('waiting', 'running')
                       order by d.seq, d.id limit 1
                   ) d
                   where a.ordered and a.running = 0 and d.status = 'waiting' and d.due_at <= statement_timestamp()
               ),
               of_endpoint as (
                   select d.*, d.running + row_number() over (
                       partition by d.org_id, d.endpoint_id order by d.due_at, d.seq, d.id
                   ) as load
                   from due d
               ),
               of_org as (
                   select e.*, coalesce(b.many, 0) + row_number() over (
                       partition by e.org_id order by e.failing, e.load, e.due_at, e.seq, e.id
                   ) as share
                   from of_endpoint e
                   left join unnest($2::uuid[], $3::bigint[]) b (org_id, many) on b.org_id = e.org_id
               ),
               of_kind as (
                   select o.*, row_number() over (partition by o.failing order by o.share, o.load, o.due_at, o.id) as nth
                   from of_org o where o.share <= $4
               ),
               chosen as (
                   select org_id, id from of_kind where not failing or nth <= $5
                   order by share, load, due_at, id limit $1
               ),
               next as (
                   select d.org_id, d.id from chosen c
                   join webhook_deliveries d on d.org_id = c.org_id and d.id = c.id
                   where d.status = 'waiting' for update of d skip locked
               )
               update webhook_deliveries d
               set status = 'running', claim = gen_random_uuid(),
                   locked_until = clock_timestamp() + make_interval(secs => $6)
               from next where d.org_id = next.org_id and d.id = next.id
               returning d.org_id as "org: _", d.id as "id: _", d.endpoint_id as "endpoint: _", d.event_id as "event: _",
                         d.attempts, d.claim as "claim!""#,
            bigint(room.free),
            &busy,
            &many,
            bigint(room.of_an_org),
            bigint(room.for_failing),
            self.lease.as_secs_f64()
        );
        Ok(taken.fetch_all(&mut **tx).await?)
    }

    async fn endpoints(
        &self,
        tx: &mut PlatformTx,
        tickets: &[Ticket],
    ) -> Result<HashMap<(OrgId, WebhookId), Endpoint>> {
        let (orgs, ids): (Vec<Uuid>, Vec<Uuid>) =
            tickets.iter().map(|ticket| (ticket.org.uuid(), ticket.endpoint.uuid())).unzip();
        let rows = sqlx::query!(
            r#"select e.org_id as "org: OrgId", e.id as "id: WebhookId", e.url,
                      e.failing_since is not null as "is_failing!", s.id as "secret: WebhookSecretId", s.sealed
               from (select distinct * from unnest($1::uuid[], $2::uuid[])) k (org_id, id)
               join webhook_endpoints e on e.org_id = k.org_id and e.id = k.id
               join webhook_secrets s on s.org_id = e.org_id and s.endpoint_id = e.id
               where s.expires_at is null or s.expires_at > $3
               order by s.expires_at desc nulls first, s.id desc"#,
            &orgs,
            &ids,
            self.clock.now()
        );
        let mut endpoints = HashMap::new();
        for row in rows.fetch_all(&mut **tx).await? {
            let endpoint = endpoints.entry((row.org, row.id)).or_insert_with(|| Endpoint {
                url: row.url,
                is_failing: row.is_failing,
                secrets: Vec::new(),
            });
            endpoint.secrets.push((row.secret, row.sealed));
        }
        Ok(endpoints)
    }

    /// Hands on what nobody is heard of any more; how many deliveries that were.
    pub async fn take_back(&self) -> Result<u64> {
        let mut tx = self.platform.begin().await?;
        let taken = sqlx::query!(
            "update webhook_deliveries d set status = 'waiting', claim = null, locked_until = null
             where (org_id, id) in (
                 select org_id, id from webhook_deliveries
                 where status = 'running' and locked_until < statement_timestamp() for update skip locked
             )"
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken.rows_affected())
    }

    /// Leaves them to whoever comes first, as if they had not been claimed.
    pub async fn give_back(&self, claims: &[(OrgId, DeliveryId, Uuid)]) -> Result<()> {
        let orgs: Vec<Uuid> = claims.iter().map(|(org, ..)| org.uuid()).collect();
        let (ids, claims): (Vec<Uuid>, Vec<Uuid>) =
            claims.iter().map(|(_, id, claim)| (id.uuid(), *claim)).unzip();
        let mut tx = self.platform.begin().await?;
        sqlx::query!(
            "update webhook_deliveries d set status = 'waiting', claim = null, locked_until = null
             from unnest($1::uuid[], $2::uuid[], $3::uuid[]) k (org_id, id, claim)
             where d.org_id = k.org_id and d.id = k.id and d.claim = k.claim and d.status = 'running'",
            &orgs,
            &ids,
            &claims
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Discards what waits for endpoints that are disabled; they can have it replayed.
    pub async fn discard(&self) -> Result<u64> {
        let mut tx = self.platform.begin().await?;
        let discarded = sqlx::query!(
            "with out as (
                 select d.org_id, d.id
                 from webhook_endpoints e
                 cross join lateral (
                     select d.org_id, d.id from webhook_deliveries d
                     where d.org_id = e.org_id and d.endpoint_id = e.id and d.status = 'waiting'
                     order by d.due_at, d.seq, d.id limit $1 for update skip locked
                 ) d
                 where e.status = 'disabled'
                 limit $1
             )
             update webhook_deliveries d set status = 'discarded', finished_at = clock_timestamp()
             from out where d.org_id = out.org_id and d.id = out.id",
            BATCH
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(discarded.rows_affected())
    }
}

/// Those that are still kept.
async fn events(tx: &mut PlatformTx, tickets: &[Ticket]) -> Result<HashMap<(OrgId, EventId), Event>> {
    let (orgs, ids): (Vec<Uuid>, Vec<Uuid>) =
        tickets.iter().map(|ticket| (ticket.org.uuid(), ticket.event.uuid())).unzip();
    let rows = sqlx::query_as!(
        EventRow,
        r#"select e.org_id as "org_id: _", e.id as "id: _", e.type as kind, e.at, e.actor_type, e.actor_id, e.target_type,
                  e.target, e.object, e.previous, e.seq as "seq!"
           from (select distinct * from unnest($1::uuid[], $2::uuid[])) k (org_id, id)
           join events e on e.org_id = k.org_id and e.id = k.id
           where e.seq is not null"#,
        &orgs,
        &ids
    );
    let rows = rows.fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(|row| ((row.org_id, row.id), Event::from(row))).collect())
}

/// Of what is forgotten, nothing can be told any more.
async fn discard_claimed(tx: &mut PlatformTx, tickets: &[Ticket]) -> Result<()> {
    let (orgs, ids): (Vec<Uuid>, Vec<Uuid>) =
        tickets.iter().map(|ticket| (ticket.org.uuid(), ticket.id.uuid())).unzip();
    sqlx::query!(
        "update webhook_deliveries d
         set status = 'discarded', finished_at = clock_timestamp(), claim = null, locked_until = null
         from unnest($1::uuid[], $2::uuid[]) k (org_id, id) where d.org_id = k.org_id and d.id = k.id",
        &orgs,
        &ids
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn bigint(many: usize) -> i64 {
    i64::try_from(many).unwrap_or(i64::MAX)
}
