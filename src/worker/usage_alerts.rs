//! Tells organisations that a quota is being used up: whoever listens to their events, and their owners by mail.

use super::turns::again_and_again;
use crate::{
    error::Result,
    events::{self, Entry},
    mail::Template,
    metering::{self, Alert},
    state::AppState,
    tenancy::{PlatformTx, gate::Letter},
    trail::Trail,
};
use serde_json::json;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_secs(1);

/// Every replica asks; each part of a quota is told by one.
pub async fn keep_usage_told(state: AppState, until: CancellationToken) {
    again_and_again(POLL, until, "that quotas are used up can't be told", || tell_of_usage(&state)).await;
}

/// Tells of all that nobody was told of: each in the transaction that says that it is told.
pub async fn tell_of_usage(state: &AppState) -> Result<()> {
    loop {
        let mut tx = state.platform.begin().await?;
        let trail = Trail::of_the_house(state.clock.now());
        let alerts = metering::take_untold(&mut tx, trail.at).await?;
        if alerts.is_empty() {
            return Ok(());
        }
        for alert in &alerts {
            record(&mut tx, &trail, alert).await?;
            write_to_owners(&mut tx, &trail, alert).await?;
        }
        tx.commit().await?;
    }
}

async fn record(tx: &mut PlatformTx, trail: &Trail, alert: &Alert) -> Result<()> {
    let Alert { org, policy, scope, percent, used, quota, window_start, resets_at } = alert;
    let entry = Entry::new("usage.threshold_reached", "policy", policy).after(json!({
        "policy": policy,
        "scope": scope,
        "percent": percent,
        "used": used,
        "quota": quota,
        "window_start": window_start.format(&Rfc3339).ok(),
        "resets_at": resets_at.format(&Rfc3339).ok(),
    }));
    events::record_by_platform(tx, *org, None, trail, entry).await
}

async fn write_to_owners(tx: &mut PlatformTx, trail: &Trail, alert: &Alert) -> Result<()> {
    let Alert { org, policy, percent, used, quota, resets_at, .. } = alert;
    let owners = sqlx::query!(
        "select u.email, u.name, o.name as org_name
         from members m join users u on u.id = m.user_id join orgs o on o.id = m.org_id
         where m.org_id = $1 and m.status = 'active' and 'owner' = any (m.roles)
         order by u.id",
        org.uuid()
    );
    for owner in owners.fetch_all(&mut **tx).await? {
        let letter = Letter::new(
            Template::QuotaUsed,
            json!({
                "org_name": owner.org_name,
                "policy": policy,
                "percent": percent,
                "used": used,
                "quota": quota,
                "resets_at": resets_at.format(&Rfc3339).ok(),
            }),
        );
        sqlx::query!(
            "select queue_mail($1, $2, jsonb_build_object('name', $3::text), $4, $5)",
            owner.email,
            letter.to_json(),
            owner.name,
            org.uuid(),
            trail.at
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
