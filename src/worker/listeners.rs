//! Wakes whoever follows an org's events, as soon as some have got their numbers.

use crate::{bus, error::Result, events::CHANNEL, ids::OrgId, state::AppState};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long news waits where a notification is lost.
const POLL: Duration = Duration::from_secs(1);

pub async fn keep_listeners_told(state: AppState, until: CancellationToken) {
    tokio::select! {
        () = until.cancelled() => {}
        () = listen(&state) => {}
    }
}

async fn listen(state: &AppState) {
    loop {
        if let Ok(mut listener) = bus::listener(&state.pools, CHANNEL).await {
            // A connection that is silent for a second is asked past.
            while !matches!(timeout(POLL, listener.recv()).await, Ok(Err(_))) {
                tell(state).await;
            }
        }
        tell(state).await;
        sleep(POLL).await;
    }
}

async fn tell(state: &AppState) {
    let orgs: Vec<Uuid> = state.streams.followed().into_iter().map(OrgId::uuid).collect();
    if orgs.is_empty() {
        return;
    }
    match heads(state, &orgs).await {
        Ok(heads) => heads.into_iter().for_each(|(org, seq)| state.streams.tell(org, seq)),
        Err(error) => tracing::warn!(%error, "news can't be asked for; trying again in a second"),
    }
}

async fn heads(state: &AppState, orgs: &[Uuid]) -> Result<Vec<(OrgId, i64)>> {
    let mut tx = state.platform.begin().await?;
    let heads =
        sqlx::query!(r#"select org_id as "org: OrgId", seq from event_heads where org_id = any($1)"#, orgs)
            .fetch_all(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(heads.into_iter().map(|head| (head.org, head.seq)).collect())
}
