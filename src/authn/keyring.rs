//! The platform's signing keys: sealed in the database, opened in memory, and one after the other taken out of use.

use super::key_set::{self, KeySet, Kid};
use crate::{
    clock::Clock,
    config::Unusable,
    db::Pools,
    error::{Error, Result},
    ids::UserId,
    tenancy::{
        PlatformDb,
        gate::{self, SigningKey, SigningKeyState},
    },
    trail::Trail,
    vault::Vault,
};
use anyhow::{Context as _, anyhow};
use parking_lot::Mutex;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// For how many seconds others may remember the published keys. A standby that is older is known to everybody.
pub const MAX_AGE: i64 = 300;
/// A retired key is kept for this much longer than its last token lives: replicas hear of a rotation a moment late, and
/// no two clocks agree.
const MARGIN: time::Duration = time::Duration::minutes(5);
/// How often at most the database is asked for a key that is not known here.
const AGAIN: Duration = Duration::from_secs(1);

/// Shared by all who sign, verify and rotate.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    pools: Pools,
    platform: PlatformDb,
    vault: Vault,
    /// How long a key is kept once it is retired.
    kept: time::Duration,
    keys: watch::Sender<Arc<KeySet>>,
    asked: Mutex<Asked>,
    /// Held by whoever asks, so that an older answer never takes the place of a newer one.
    asking: tokio::sync::Mutex<()>,
}

/// When the database was last asked for the keys, and whether it answered.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    answered: bool,
}

/// How a rotation is to be done.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Even if others may not know the standby yet.
    pub force: bool,
    /// The current key and the previous ones are dropped, and with them their tokens: one of them has leaked.
    pub revoke: bool,
    /// Why, for those who ask later.
    pub reason: String,
}

impl Keyring {
    /// Opens the keys that are there; where there are none, makes the first two. `lifetime` is that of access tokens.
    ///
    /// # Errors
    /// `Unusable` where the master key is not the one that the keys are sealed with.
    pub async fn open(
        pools: Pools,
        platform: PlatformDb,
        vault: Vault,
        clock: &Clock,
        lifetime: Duration,
    ) -> anyhow::Result<Self> {
        let asked = Asked { at: Instant::now(), answered: true };
        let mut rows = gate::signing_keys(&pools).await?;
        if rows.is_empty() {
            rows = found(&platform, &vault, &Trail::of_the_house(clock.now())).await?;
        }
        for row in rows.iter().filter(|row| row.seed.is_some()) {
            key_set::unseal(row, &vault).map_err(|error| {
                Unusable::new(
                    "INSULA_AUTH__MASTER_KEY",
                    format!(
                        "is not the one that this database was first served with: {error}. Set that one; every \
                         replica needs the same"
                    ),
                )
            })?;
        }
        let keys = KeySet::open(&rows, &vault, None).context("opening the signing keys")?;
        Ok(Self(Arc::new(Inner {
            pools,
            platform,
            vault,
            kept: MARGIN + lifetime,
            keys: watch::Sender::new(Arc::new(keys)),
            asked: Mutex::new(asked),
            asking: tokio::sync::Mutex::default(),
        })))
    }

    /// The keys as they are known here.
    pub fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.0.keys.borrow())
    }

    /// The keys with the one that a token names, which may have been made a moment ago: for one that is not known here
    /// the database is asked again, once a second however many ask. None: there is no such key.
    ///
    /// # Errors
    /// 503 when it can't be asked.
    pub async fn keys_with(&self, kid: Kid) -> Result<Option<Arc<KeySet>>> {
        let arrived = Instant::now();
        let mut changes = self.0.keys.subscribe();
        loop {
            // In this order: the keys are at least as new as the answer.
            let asked = *self.0.asked.lock();
            let keys = Arc::clone(&changes.borrow_and_update());
            if keys.holds(kid) {
                return Ok(Some(keys));
            }
            if keys.lost(kid) || (asked.at > arrived && asked.answered) {
                return Ok(None);
            }
            if asked.at > arrived {
                return Err(Error::Unavailable("the signing keys are out of reach; try again in a moment"));
            }
            let turn = async {
                sleep_until(asked.at + AGAIN).await;
                self.0.asking.lock().await
            };
            let _turn = tokio::select! {
                _ = changes.changed() => continue,
                turn = turn => turn,
            };
            // Whoever had the turn before may have asked since.
            if self.0.asked.lock().at.elapsed() >= AGAIN
                && let Err(error) = self.load().await
            {
                tracing::warn!(%error, "the signing keys can't be asked for");
            }
        }
    }

    /// Asks the database for the keys: they have changed.
    pub async fn reload(&self) -> Result<()> {
        let _turn = self.0.asking.lock().await;
        self.load().await
    }

    /// Only in one's turn.
    async fn load(&self) -> Result<()> {
        let inner = &*self.0;
        let at = Instant::now();
        let keys = match gate::signing_keys(&inner.pools).await {
            Ok(rows) => KeySet::open(&rows, &inner.vault, Some(&self.keys())),
            Err(error) => Err(error),
        };
        let loaded = keys.map(|keys| {
            inner.keys.send_replace(Arc::new(keys));
        });
        *inner.asked.lock() = Asked { at, answered: loaded.is_ok() };
        loaded
    }

    /// The keys as they are stored.
    pub async fn stored(&self) -> Result<Vec<SigningKey>> {
        gate::signing_keys(&self.0.pools).await
    }

    /// Until when the tokens of a previous key are good, and the key is published.
    pub fn kept_until(&self, key: &SigningKey) -> Option<OffsetDateTime> {
        key.retired_at.map(|at| at + self.0.kept)
    }

    /// From here on the standby signs, the key that signed is a previous one, and another one stands by. `by` is the
    /// operator; none at the command line.
    ///
    /// # Errors
    /// 409 `standby_too_young` where others may not know the standby yet.
    pub async fn rotate(&self, rotation: &Rotation, by: Option<UserId>, trail: &Trail) -> Result<()> {
        let inner = &*self.0;
        let mut tx = inner.platform.begin().await?;
        let keys = gate::lock_signing_keys(&mut tx).await?;
        let of = |state| {
            let found = keys.iter().find(|key| key.state == state);
            found.ok_or_else(|| anyhow!("there is no signing key in the state {state:?}"))
        };
        let (current, standby) = (of(SigningKeyState::Current)?, of(SigningKeyState::Standby)?);
        let age = (trail.at - standby.created_at).whole_seconds();
        if age < MAX_AGE && !rotation.force {
            return Err(Error::conflict("standby_too_young", too_young(age)));
        }
        // What can't sign here is not put into office.
        key_set::unseal(standby, &inner.vault)?;
        let revoked = if rotation.revoke {
            gate::drop_used_signing_keys(&mut tx).await?
        } else {
            gate::retire_signing_key(&mut tx, trail.at).await?;
            Vec::new()
        };
        gate::activate_signing_key(&mut tx, trail.at).await?;
        let next = key_set::make(SigningKeyState::Standby, &inner.vault, trail.at)?;
        gate::add_signing_key(&mut tx, &next).await?;
        let before = json!({"current": current.kid, "standby": standby.kid});
        let after = json!({"current": standby.kid, "standby": next.kid, "revoked": revoked,
                           "forced": rotation.force, "reason": rotation.reason});
        let told = [Some(before), Some(after)];
        gate::tell_of_signing_key(&mut tx, "signing_key.rotated", &standby.kid, told, by, trail).await?;
        tx.commit().await?;
        tracing::info!(
            current = standby.kid,
            ?revoked,
            reason = rotation.reason,
            "the signing keys were rotated"
        );
        self.reload().await
    }

    /// Takes away the previous keys whose last token has expired.
    pub async fn sweep(&self, trail: &Trail) -> Result<()> {
        let mut tx = self.0.platform.begin().await?;
        let gone = gate::drop_signing_keys_retired_by(&mut tx, trail.at - self.0.kept).await?;
        for kid in &gone {
            gate::tell_of_signing_key(&mut tx, "signing_key.removed", kid, [None, None], None, trail).await?;
        }
        tx.commit().await
    }
}

fn too_young(age: i64) -> String {
    format!(
        "the standby has been published for {age} s, and others may remember the published keys for {MAX_AGE} s: wait \
         {} s, or force it where nobody but this platform verifies its tokens",
        MAX_AGE - age
    )
}

/// The first two keys. Replicas that start at once take turns, and find those of whoever was first.
async fn found(platform: &PlatformDb, vault: &Vault, trail: &Trail) -> Result<Vec<SigningKey>> {
    let mut tx = platform.begin().await?;
    let keys = gate::lock_signing_keys(&mut tx).await?;
    if !keys.is_empty() {
        return Ok(keys);
    }
    let states = [SigningKeyState::Current, SigningKeyState::Standby];
    let mut keys = Vec::new();
    for state in states {
        let key = key_set::make(state, vault, trail.at)?;
        gate::add_signing_key(&mut tx, &key).await?;
        keys.push(key);
    }
    for key in &keys {
        let after = Some(json!({"state": key.state}));
        gate::tell_of_signing_key(&mut tx, "signing_key.created", &key.kid, [None, after], None, trail)
            .await?;
    }
    tx.commit().await?;
    Ok(keys)
}
