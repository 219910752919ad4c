//! `AppState`: everything that requests share, wired once.

use crate::{
    authn::{
        RevokedSessions,
        api_key::ApiKeys,
        jwt::Tokens,
        keyring::Keyring,
        password::{Cost, Hasher},
    },
    authz::Authz,
    bus::{self, Change, Freshness, Heard},
    cache::Cache,
    clock::Clock,
    config::Config,
    db::Pools,
    decisions::Decisions,
    error::Result,
    events::Streams,
    file_links::FileLinks,
    ids::{ApiKeyId, OrgId, SessionId},
    limits::{
        IpLimiter, Limits, Mode, OverrideBook, Policy, Scope, Subject, TierBook, TierPlan, Unit,
        record::Recorder,
    },
    metering::Meter,
    metrics::{Attempts, Reads, Requests},
    page::CursorKey,
    storage::Storage,
    tenancy::{Control, OrgDirectory, PlatformDb, gate},
    vault::{self, Vault},
};
use anyhow::anyhow;
use std::{ops::Deref, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub struct AppState(Arc<Inner>);

pub struct Inner {
    pub config: Config,
    pub clock: Clock,
    pub pools: Pools,
    pub platform: PlatformDb,
    /// Status and tier of each org.
    pub directory: OrgDirectory,
    /// Signs and verifies access tokens.
    pub tokens: Tokens,
    /// What they are signed with.
    pub keyring: Keyring,
    pub hasher: Hasher,
    pub revoked: RevokedSessions,
    pub api_keys: ApiKeys,
    /// Decides what a role may do.
    pub authz: Authz,
    /// Why requests were refused.
    pub decisions: Decisions,
    /// The tiers, compiled.
    pub tiers: TierBook,
    /// The plans that overrides make of them.
    pub overrides: OverrideBook,
    /// Decides how much a tier may do.
    pub limits: Limits,
    /// Counts what each org asks for.
    pub meter: Meter,
    /// How many requests were answered, and in what time.
    pub requests: Requests,
    /// What became of attempts at delivering webhooks.
    pub webhook_attempts: Attempts,
    /// Who follows what happens.
    pub streams: Streams,
    /// Answers that are still true.
    pub cache: Cache,
    /// How many reads it answered.
    pub reads: Reads,
    /// What the limiter decided, for simulations.
    pub recorder: Recorder,
    /// Decides how much an address may do before it is known who asks.
    pub ip_limiter: IpLimiter,
    pub cursor_key: CursorKey,
    /// Seals what must be read again.
    pub vault: Vault,
    /// Where files are kept.
    pub storage: Storage,
    /// The addresses that open one.
    pub file_links: FileLinks,
    /// How far behind the control-plane bus this replica may be.
    pub freshness: Freshness,
}

impl Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl AppState {
    /// Connects, checks and wires; the task returned keeps what is remembered true until `until` is cancelled.
    pub async fn open(
        config: Config,
        clock: Clock,
        until: CancellationToken,
    ) -> anyhow::Result<(Self, JoinHandle<()>)> {
        let master = config.master_key()?;
        let storage = Storage::open(&config.storage)?;
        let pools = Pools::open(&config.database).await?;
        let lifetime = Duration::from_secs(config.auth.access_seconds.into());
        let platform = PlatformDb::new(pools.clone());
        let remembered = Remembered {
            keyring: Keyring::open(pools.clone(), platform.clone(), Vault::new(&master)?, &clock, lifetime)
                .await?,
            directory: OrgDirectory::new(pools.clone()),
            revoked: RevokedSessions::new(lifetime),
            api_keys: ApiKeys::new(pools.clone(), clock.clone()),
            authz: Authz::new(pools.clone(), clock.clone(), config.authz.policies_bytes()),
            tiers: TierBook::new(pools.clone(), clock.clone()),
        };
        let (freshness, listening) = {
            let (remembered, pools) = (remembered.clone(), pools.clone());
            bus::listen(&pools.clone(), until, move |heard| remembered.hear(heard, &pools, lifetime)).await?
        };
        // After the bus listens, so that a session ended in between is heard of twice and not never.
        recall_revoked(&pools, &remembered.revoked, lifetime).await?;
        remembered.keyring.reload().await?;
        let per_ip = |name: &str, quota, burst| Policy {
            name: name.to_owned(),
            scope: Scope::Ip,
            quota,
            window_seconds: 60,
            burst,
            period: None,
            unit: Unit::Requests,
            mode: Mode::Enforce,
            strict: true,
        };
        let (ip, of_networks) = (&config.limits.ip, config.limits.ip.of_networks());
        let per_address = per_ip("ip", ip.quota_per_minute, ip.burst);
        let per_network = per_ip("network", of_networks.0, of_networks.1);
        let faults = |faults| anyhow!("INSULA_LIMITS__IP: {faults:?}");
        let cost = Cost { memory_kib: config.auth.argon2_memory_kib, passes: config.auth.argon2_passes };
        let inner = Inner {
            tokens: Tokens::new(
                remembered.keyring.clone(),
                &config.http.public_url,
                config.auth.access_seconds.into(),
                clock.clone(),
            ),
            keyring: remembered.keyring,
            hasher: Hasher::with(cost, config.auth.concurrent_hashes, config.auth.queued_hashes)?,
            limits: Limits::open(&config.redis, clock.clone(), pools.clone()).await?,
            meter: Meter::new(&config.usage, clock.clone()),
            requests: Requests::default(),
            webhook_attempts: Attempts::default(),
            streams: Streams::default(),
            cache: Cache::new(config.cache.bytes(), config.cache.max_age()),
            reads: Reads::default(),
            recorder: Recorder::new(&config.decisions),
            ip_limiter: IpLimiter::new(clock.clone(), &per_address, &per_network).map_err(faults)?,
            vault: Vault::new(&master)?,
            cursor_key: CursorKey(vault::derive(&master, "insula page cursors")),
            platform,
            directory: remembered.directory,
            revoked: remembered.revoked,
            api_keys: remembered.api_keys,
            authz: remembered.authz,
            decisions: Decisions::default(),
            tiers: remembered.tiers,
            overrides: OverrideBook::new(clock.clone()),
            file_links: FileLinks::new(vault::derive(&master, "insula file links"), &config.http.public_url),
            storage,
            freshness,
            pools,
            config,
            clock,
        };
        Ok((Self(Arc::new(inner)), listening))
    }
}

impl Inner {
    /// The plan that holds for an org, or for somebody in it, where that is known without asking anybody.
    pub fn plan_at_hand(&self, org: OrgId, who: Option<Subject>) -> Option<Arc<TierPlan>> {
        let own = match who {
            Some(Subject::User(user)) => self.authz.tier_at_hand(org, user),
            Some(Subject::ApiKey(_)) | None => None,
        };
        let control = self.directory.at_hand(org)?;
        let plan = self.tiers.plan_at_hand(&control.tier, own.as_deref())?;
        Some(self.overrides.apply(org, &control, who, plan))
    }

    /// The plan that holds for somebody now: of the org's tier, for a member who has the limits of another with those, and
    /// with the overrides there are for either.
    pub async fn plan(
        &self,
        org: OrgId,
        control: &Arc<Control>,
        who: Subject,
        members_own: Option<&str>,
    ) -> Result<Arc<TierPlan>> {
        let plan = self.tiers.plan_for(&control.tier, members_own).await?;
        Ok(self.overrides.apply(org, control, Some(who), plan))
    }
}

/// What a replica remembers of the control plane, and so must be told of.
#[derive(Clone)]
struct Remembered {
    keyring: Keyring,
    directory: OrgDirectory,
    revoked: RevokedSessions,
    api_keys: ApiKeys,
    authz: Authz,
    tiers: TierBook,
}

impl Remembered {
    fn hear(&self, heard: Heard, pools: &Pools, lifetime: Duration) {
        match heard {
            Heard::Change(Change { kind, org, subject }) => {
                match (kind.as_str(), org.map(OrgId::from_uuid), subject) {
                    ("org", Some(org), _) => self.directory.forget(org),
                    ("policy", Some(org), _) => {
                        self.directory.forget(org);
                        self.authz.forget(org);
                    }
                    ("tier", ..) => self.tiers.forget_all(),
                    ("api_key", _, Some(key)) => self.api_keys.forget(ApiKeyId::from_uuid(key)),
                    ("signing_keys", ..) => self.reload_keys(),
                    ("session_revoked", _, Some(session)) => self.revoked.add(SessionId::from_uuid(session)),
                    // Said by a newer release: what it is about can't be known, so nothing may be kept.
                    _ => self.forget_all(),
                }
            }
            Heard::Gap => {
                self.forget_all();
                self.reload_keys();
                let (pools, revoked) = (pools.clone(), self.revoked.clone());
                tokio::spawn(async move {
                    while let Err(error) = recall_revoked(&pools, &revoked, lifetime).await {
                        tracing::warn!(%error, "ended sessions can't be recalled; trying again");
                        tokio::time::sleep(Duration::from_millis(400)).await;
                    }
                });
            }
        }
    }

    fn reload_keys(&self) {
        let keyring = self.keyring.clone();
        tokio::spawn(async move {
            while let Err(error) = keyring.reload().await {
                tracing::warn!(%error, "the signing keys can't be asked for; trying again");
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
    }

    fn forget_all(&self) {
        self.directory.forget_all();
        self.authz.forget_all();
        self.tiers.forget_all();
        self.api_keys.forget_all();
    }
}

async fn recall_revoked(pools: &Pools, revoked: &RevokedSessions, lifetime: Duration) -> Result<()> {
    for session in gate::sessions_revoked_within(pools, lifetime).await? {
        revoked.add(session);
    }
    Ok(())
}
