//! Endpoints that are sent nothing any more, because they said so or because they have failed for days: whoever looks
//! after the org is told.

use super::{Attempt, origin};
use crate::{
    error::Result,
    events::{self, Entry},
    ids::{OrgId, WebhookId},
    mail::Template,
    tenancy::{PlatformTx, gate::Letter},
    trail::Trail,
};
use serde::Serialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = WebhookDisabledReason)]
pub enum DisabledReason {
    /// Somebody of the organisation has done it.
    ByHand,
    /// It has answered 410 Gone.
    Gone,
    /// Nothing has succeeded for days.
    Failing,
}

impl DisabledReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByHand => "by_hand",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// Disables an endpoint that is enabled and has been failing from `since` on or for longer, and says so by an event and
/// by mail.
pub(super) async fn disable(
    tx: &mut PlatformTx,
    (org, id): (OrgId, WebhookId),
    last: &Attempt,
    why: DisabledReason,
    (now, since): (OffsetDateTime, OffsetDateTime),
) -> Result<()> {
    let disabled = sqlx::query!(
        r#"update webhook_endpoints
           set status = 'disabled', disabled_reason = $3, disabled_at = $4, version = version + 1, updated_at = $4
           where org_id = $1 and id = $2 and status = 'enabled' and failing_since <= $5
           returning url, description, failing_since as "failing_since!""#,
        org.uuid(),
        id.uuid(),
        why.as_str(),
        now,
        since
    );
    let Some(endpoint) = disabled.fetch_optional(&mut **tx).await? else { return Ok(()) };
    let failing_since = endpoint.failing_since.format(&Rfc3339).unwrap_or_default();
    let told = json!({
        "origin": origin(&endpoint.url),
        "description": endpoint.description,
        "status": "disabled",
        "disabled_reason": why,
        "failing_since": failing_since,
        "last_answer": last.answer(),
    });
    let entry = Entry::new("webhook.disabled", "webhook", id.uuid().to_string())
        .before(json!({"status": "enabled"}))
        .after(json!({"status": "disabled", "disabled_reason": why}))
        .whole(&told);
    events::record_by_platform(tx, org, None, &Trail::of_the_house(now), entry).await?;
    let params = json!({
        "webhook": id,
        "url": without_query(&endpoint.url),
        "reason": why,
        "since": failing_since,
        "answer": last.answer(),
    });
    write_to_keepers(tx, org, &params, now).await
}

/// To each owner and admin, of whom a sandbox has none: they are asked for in the org that it belongs to.
async fn write_to_keepers(
    tx: &mut PlatformTx,
    org: OrgId,
    params: &serde_json::Value,
    at: OffsetDateTime,
) -> Result<()> {
    let keepers = sqlx::query!(
        "select m.email, m.name from orgs o
         join members m on m.org_id = coalesce(o.sandbox_of, o.id)
         where o.id = $1 and m.status = 'active' and m.roles && array['owner', 'admin']
         order by m.email",
        org.uuid()
    );
    for keeper in keepers.fetch_all(&mut **tx).await? {
        let letter = Letter::new(Template::WebhookDisabled, params.clone());
        sqlx::query!(
            "select queue_mail($1, $2, $3, $4, $5)",
            keeper.email,
            letter.to_json(),
            json!({"name": keeper.name}),
            org.uuid(),
            at
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// What is behind the question mark may be a token.
fn without_query(url: &str) -> String {
    let Ok(mut url) = url.parse::<Url>() else { return String::new() };
    url.set_query(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_does_not_repeat_what_is_behind_the_question_mark() {
        assert_eq!(without_query("https://example.com/hooks?token=abc"), "https://example.com/hooks");
        assert_eq!(without_query("https://example.com"), "https://example.com/");
    }

    #[test]
    fn each_reason_has_the_word_that_it_is_written_as() {
        for why in [DisabledReason::ByHand, DisabledReason::Gone, DisabledReason::Failing] {
            assert_eq!(json!(why), why.as_str());
        }
    }
}
