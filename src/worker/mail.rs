//! Sends what is queued: at least once, each mail by one replica at a time, again and again for a day.

use crate::{
    error::Result,
    ids::MailId,
    mail::{Draft, Post, Refusal, Template},
    state::AppState,
    tenancy::gate::sealed_as,
};
use secrecy::SecretString;
use serde_json::Value;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

const POLL: std::time::Duration = std::time::Duration::from_secs(1);
/// Sent at once, so that one slow server does not hold up the rest.
const BATCH: i64 = 10;
/// How long a mail is left to who has taken it: longer than a conversation, in which each command has 20 s.
const LEASE: Duration = Duration::minutes(5);
const CONVERSATION: std::time::Duration = std::time::Duration::from_mins(2);
const FIRST_RETRY: Duration = Duration::seconds(10);
const LAST_RETRY: Duration = Duration::hours(1);
/// Tried no longer.
const DAY: Duration = Duration::hours(24);

struct Queued {
    id: MailId,
    recipient: String,
    template: String,
    params: Value,
    secret: Option<Vec<u8>>,
    org_name: Option<String>,
    created_at: OffsetDateTime,
    attempts: i32,
}

/// Sends until told to stop; a mail that is under way is left to finish.
pub async fn send_mail(state: AppState, post: Option<Post>, until: CancellationToken) {
    let Some(post) = post.map(Arc::new) else {
        tracing::warn!(
            "mails are queued and not sent: set INSULA_MAIL__SMTP_URL (or INSULA_MAIL__FOLDER, to have them in files)"
        );
        return;
    };
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = until.cancelled() => return,
            _ = ticks.tick() => {}
        }
        while !until.is_cancelled() {
            match send_batch(&state, &post).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the mail queue is out of reach; trying again");
                    break;
                }
            }
        }
    }
}

/// How many there were to send.
async fn send_batch(state: &AppState, post: &Arc<Post>) -> Result<usize> {
    let taken = take(state).await?;
    let count = taken.len();
    let mut under_way = JoinSet::new();
    for mail in taken {
        let (state, post) = (state.clone(), Arc::clone(post));
        under_way.spawn(async move {
            let id = mail.id;
            let outcome = attempt(&state, &post, &mail).await;
            if let Err(error) = note(&state, &mail, outcome).await {
                tracing::warn!(%id, %error, "what became of a mail can't be noted; it may be sent again");
            }
        });
    }
    under_way.join_all().await;
    Ok(count)
}

/// Takes what is due, and puts it off for everybody else: should this replica die, another takes it once the lease is over.
async fn take(state: &AppState) -> Result<Vec<Queued>> {
    let at = state.clock.now();
    let mut tx = state.platform.begin().await?;
    let taken = sqlx::query_as!(
        Queued,
        r#"update mails m set due_at = $2, attempts = attempts + 1
           from (
               select id from mails where sent_at is null and given_up_at is null and due_at <= $1
               order by due_at limit $3 for update skip locked
           ) due
           where m.id = due.id
           returning m.id as "id: MailId", m.recipient, m.template, m.params, m.secret,
                     (select o.name from orgs o where o.id = m.org_id) as org_name, m.created_at, m.attempts"#,
        at,
        at + LEASE,
        BATCH
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(taken)
}

async fn attempt(state: &AppState, post: &Post, mail: &Queued) -> std::result::Result<(), Refusal> {
    if state.clock.now() - mail.created_at > DAY {
        return Err(Refusal::ForGood("older than a day before it could be sent".to_owned()));
    }
    // Queued by a newer release, which will send it.
    let unknown = || Refusal::ForNow(format!("{} is no mail that this release knows", mail.template));
    let template = Template::parse(&mail.template).ok_or_else(unknown)?;
    let token = mail.secret.as_deref().map(|sealed| open(state, mail.id, sealed)).transpose()?;
    let draft =
        Draft { template, params: &mail.params, token: token.as_ref(), org_name: mail.org_name.as_deref() };
    let delivery = post.deliver(mail.id, &mail.recipient, &draft, mail.created_at);
    tokio::time::timeout(CONVERSATION, delivery)
        .await
        .unwrap_or_else(|_| Err(Refusal::ForNow("the server took too long".to_owned())))
}

fn open(state: &AppState, id: MailId, sealed: &[u8]) -> std::result::Result<SecretString, Refusal> {
    let unreadable =
        || Refusal::ForGood("its token can't be opened: sealed under another master key?".to_owned());
    let token = state.vault.open(&sealed_as(id), sealed).map_err(|_| unreadable())?;
    String::from_utf8(token).map(Into::into).map_err(|_| unreadable())
}

/// Whatever is settled needs its token no more.
async fn note(state: &AppState, mail: &Queued, outcome: std::result::Result<(), Refusal>) -> Result<()> {
    let at = state.clock.now();
    let again = at + pause(mail.attempts, rand::random_range(0.8..1.2));
    let (sent, given_up, due, error) = match outcome {
        Ok(()) => (Some(at), None, at, None),
        Err(Refusal::ForNow(why)) if again - mail.created_at <= DAY => (None, None, again, Some(why)),
        Err(Refusal::ForNow(why) | Refusal::ForGood(why)) => (None, Some(at), at, Some(why)),
    };
    if let Some(why) = &error {
        tracing::warn!(mail = %mail.id, template = mail.template, attempts = mail.attempts, for_good = given_up.is_some(),
                       why, "a mail was not taken");
    }
    let settled = sent.is_some() || given_up.is_some();
    let mut tx = state.platform.begin().await?;
    sqlx::query!(
        "update mails set sent_at = $2, given_up_at = $3, due_at = $4, error = $5,
                          secret = case when $6 then null else secret end
         where id = $1 and sent_at is null and given_up_at is null",
        mail.id.uuid(),
        sent,
        given_up,
        due,
        error,
        settled
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Doubles from ten seconds to an hour; `jitter` keeps what failed together from coming back together.
fn pause(attempts: i32, jitter: f64) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or_default().min(20);
    (FIRST_RETRY * 2_i32.pow(doublings)).min(LAST_RETRY) * jitter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses: Vec<i64> = [1, 2, 3, 9, 10, 40, i32::MAX].map(|n| pause(n, 1.0).whole_seconds()).to_vec();
        assert_eq!(pauses, [10, 20, 40, 2_560, 3_600, 3_600, 3_600]);
        assert_eq!(pause(1, 0.8).whole_seconds(), 8);
    }
}
