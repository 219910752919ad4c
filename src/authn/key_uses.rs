//! When API keys were last used: noted in memory, and written down many at a time, so that no request waits for it.

use crate::{
    db::Pools,
    error::Result,
    ids::ApiKeyId,
    tenancy::gate::{self, KeyUse},
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// Keys noted between two writes, about 100 bytes each. What comes beyond is noted at its next use after a write.
const MOST: usize = 50_000;

/// The last use of each key since the last write: all that is lost when the process is killed.
#[derive(Clone, Default)]
pub struct KeyUses(Arc<Mutex<HashMap<ApiKeyId, KeyUse>>>);

impl KeyUses {
    pub fn note(&self, last: KeyUse) {
        let mut noted = self.0.lock();
        let full = noted.len() >= MOST;
        match noted.entry(last.key) {
            Entry::Occupied(mut known) if known.get().at <= last.at => {
                known.insert(last);
            }
            Entry::Vacant(place) if !full => {
                place.insert(last);
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
    }

    /// Writes down what was noted; on an error it is kept for the next time.
    pub async fn write(&self, pools: &Pools) -> Result<()> {
        let noted: Vec<KeyUse> = std::mem::take(&mut *self.0.lock()).into_values().collect();
        if noted.is_empty() {
            return Ok(());
        }
        let written = gate::write_key_uses(pools, &noted).await;
        if written.is_err() {
            for last in noted {
                self.note(last);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, ids::OrgId};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn the_latest_use_is_kept_and_memory_is_bounded() {
        let (uses, at) = (KeyUses::default(), Clock::frozen().now());
        let (org, key, ip) = (OrgId::new(), ApiKeyId::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        for seconds in [5, 9, 7] {
            uses.note(KeyUse { org, key, at: at + time::Duration::seconds(seconds), ip });
        }
        assert_eq!(uses.0.lock()[&key].at, at + time::Duration::seconds(9));
        for _ in 0..=MOST {
            uses.note(KeyUse { org, key: ApiKeyId::new(), at, ip });
        }
        assert_eq!(uses.0.lock().len(), MOST);
        uses.note(KeyUse { org, key, at: at + time::Duration::seconds(10), ip });
        assert_eq!(uses.0.lock()[&key].at, at + time::Duration::seconds(10), "known ones go on being noted");
    }
}
