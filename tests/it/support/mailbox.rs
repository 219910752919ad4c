//! What somebody finds in their mail, before it has even been sent.

use insula::{ids::MailId, state::AppState, tenancy::gate::sealed_as};
use serde_json::Value;
use sqlx::Row as _;

/// Everybody's mail.
pub struct Mailbox<'a>(pub &'a AppState);

#[derive(Debug)]
pub struct Mail {
    pub template: String,
    pub params: Value,
    /// What its link proves; forgotten once it was sent.
    pub token: Option<String>,
    pub org: Option<uuid::Uuid>,
}

impl Mailbox<'_> {
    /// All that was written to an address, oldest first.
    pub async fn of(&self, address: &str) -> Vec<Mail> {
        let mut platform = self.0.platform.begin().await.unwrap();
        let rows = sqlx::query(
            "select id, template, params, secret, org_id from mails where recipient = $1 order by id",
        )
        .bind(address)
        .fetch_all(&mut *platform)
        .await
        .unwrap();
        let opened = |row: sqlx::postgres::PgRow| {
            let id = MailId::from_uuid(row.get("id"));
            let secret: Option<Vec<u8>> = row.get("secret");
            let token = secret.map(|sealed| self.0.vault.open(&sealed_as(id), &sealed).unwrap());
            Mail {
                template: row.get("template"),
                params: row.get("params"),
                token: token.map(|token| String::from_utf8(token).unwrap()),
                org: row.get("org_id"),
            }
        };
        rows.into_iter().map(opened).collect()
    }

    /// Those of one template alone, like `reset_password`.
    pub async fn of_kind(&self, address: &str, template: &str) -> Vec<Mail> {
        let mut mails = self.of(address).await;
        mails.retain(|mail| mail.template == template);
        mails
    }

    /// The token in the latest of them.
    pub async fn token_for(&self, address: &str, template: &str) -> String {
        let mails = self.of_kind(address, template).await;
        let latest = mails.into_iter().next_back();
        let latest = latest.unwrap_or_else(|| panic!("{address} has got no {template}"));
        latest.token.unwrap_or_else(|| panic!("the {template} of {address} carries no token"))
    }
}
