//! Mail to be sent: queued in the transaction that wants it, its token sealed.

use super::super::TenantTx;
use crate::{error::Result, ids::MailId, mail::Template, vault::Vault};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::fmt::Write as _;
use time::OffsetDateTime;

/// A mail but for its recipient and its moment.
pub struct Letter {
    pub id: MailId,
    pub template: Template,
    pub params: Value,
    /// What its link proves, sealed.
    pub secret: Option<Vec<u8>>,
}

impl Letter {
    pub fn new(template: Template, params: Value) -> Self {
        Self { id: MailId::new(), template, params, secret: None }
    }

    /// With the token that its link carries.
    pub fn with_token(mut self, vault: &Vault, token: &SecretString) -> Result<Self> {
        self.secret = Some(vault.seal(&sealed_as(self.id), token.expose_secret().as_bytes())?);
        Ok(self)
    }

    /// As the functions of the database take it, bytes in hex.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.uuid(),
            "template": self.template.as_str(),
            "params": self.params,
            "secret": self.secret.as_deref().map(hex),
        })
    }
}

/// A letter whose link proves, once and within half an hour, that its reader has the mailbox it was sent to.
pub struct Confirmation {
    letter: Letter,
    hash: Vec<u8>,
}

impl Confirmation {
    /// `token` is for the letter, its `hash` for the database.
    pub fn new(letter: Letter, vault: &Vault, token: &SecretString, hash: Vec<u8>) -> Result<Self> {
        Ok(Self { letter: letter.with_token(vault, token)?, hash })
    }

    pub fn to_json(&self) -> Value {
        let mut letter = self.letter.to_json();
        letter["token"] = hex(&self.hash).into();
        letter
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// The words that a mail's token is sealed with.
pub fn sealed_as(mail: MailId) -> String {
    format!("mail {mail}")
}

/// Queues a mail on behalf of the org of `tx`, to be sent once `tx` has committed.
pub async fn queue_mail(
    tx: &mut TenantTx,
    recipient: &str,
    letter: &Letter,
    at: OffsetDateTime,
) -> Result<()> {
    sqlx::query!("select gate_mail($1, $2, $3)", recipient, letter.to_json(), at).execute(&mut **tx).await?;
    Ok(())
}
