//! How a mail leaves the house: by SMTP, or into a folder.

use super::{
    Draft,
    render::{Rendered, sender},
};
use crate::{
    config::{Config, Unusable},
    ids::MailId,
};
use anyhow::Context as _;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp,
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::{fs, os::unix::fs::DirBuilderExt as _, path::PathBuf, time::Duration};
use time::OffsetDateTime;

/// For one command of the SMTP conversation.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Post {
    from: Mailbox,
    link_base: String,
    way: Way,
}

enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

/// Why a mail was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// It may be next time.
    ForNow(String),
    ForGood(String),
}

/// A mail in the folder, as programs read it: `<id>.json` beside its `<id>.eml`.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    pub id: MailId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub template: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub link: Option<String>,
    pub token: Option<String>,
}

impl Post {
    /// None where the settings name no way.
    pub fn open(config: &Config) -> Result<Option<Self>, Unusable> {
        let mail = &config.mail;
        let from = mail.from.parse().map_err(|_| {
            Unusable::new(
                "INSULA_MAIL__FROM",
                format!("{:?} is no sender; write it like Insula <no-reply@example.com>", mail.from),
            )
        })?;
        let url = mail.smtp_url.expose_secret();
        let way = if !url.is_empty() {
            Way::Smtp(smtp(url)?)
        } else if !mail.folder.as_os_str().is_empty() {
            let unusable =
                |error| Unusable::new("INSULA_MAIL__FOLDER", format!("{}: {error}", mail.folder.display()));
            // Who can read it can be anybody.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&mail.folder).map_err(unusable)?;
            Way::Folder(mail.folder.clone())
        } else {
            return Ok(None);
        };
        Ok(Some(Self { from, link_base: config.link_base().to_owned(), way }))
    }

    /// Hands a mail over. The same `id` again is the same mail, for whoever takes both.
    ///
    /// # Errors
    /// A [`Refusal`], in words that say nothing of the mail's token.
    pub async fn deliver(
        &self,
        id: MailId,
        recipient: &str,
        draft: &Draft<'_>,
        at: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let for_good = |error: anyhow::Error| Refusal::ForGood(format!("{error:#}"));
        let product = self.from.name.as_deref().unwrap_or("Insula");
        let rendered = draft.render(product, &self.link_base).map_err(for_good)?;
        let from = Mailbox::new(Some(sender(draft.org_name, product)), self.from.email.clone());
        let message = self.message(id, from.clone(), recipient, &rendered, at).map_err(for_good)?;
        match &self.way {
            Way::Smtp(server) => server.send(message).await.map(drop).map_err(|error| refusal(&error)),
            Way::Folder(folder) => {
                let Rendered { subject, text, link, token, .. } = rendered;
                let template = draft.template.as_str().to_owned();
                let to = recipient.to_owned();
                let kept = Kept { id, at, template, from: from.to_string(), to, subject, text, link, token };
                keep(folder.clone(), kept, message.formatted())
                    .await
                    .map_err(|error| Refusal::ForNow(format!("{error:#}")))
            }
        }
    }

    fn message(
        &self,
        id: MailId,
        from: Mailbox,
        recipient: &str,
        rendered: &Rendered,
        at: OffsetDateTime,
    ) -> anyhow::Result<Message> {
        let to: Address = recipient.parse().context("the recipient is no address")?;
        let automatic = HeaderValue::new(
            // RFC 3834: nobody's out-of-office need answer it.
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        );
        let message = Message::builder()
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .date(at.into())
            .from(from)
            .to(Mailbox::new(None, to))
            .subject(&rendered.subject)
            .raw_header(automatic)
            .multipart(MultiPart::alternative_plain_html(rendered.text.clone(), rendered.html.clone()))?;
        Ok(message)
    }
}

fn smtp(url: &str) -> Result<AsyncSmtpTransport<Tokio1Executor>, Unusable> {
    let unusable = |why: &str| Unusable::new("INSULA_MAIL__SMTP_URL", why);
    let looks = "is no SMTP address; it looks like smtps://user:password@smtp.example.com or \
                 smtp://user:password@smtp.example.com:587?tls=required";
    // Not in its own words, which may repeat the password.
    let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|_| unusable(looks))?;
    let (encrypted, password) =
        (url.starts_with("smtps://") || url.contains("tls=required"), url.contains('@'));
    if password && !encrypted {
        return Err(unusable("would show its password to the network: add ?tls=required, or use smtps://"));
    }
    Ok(server.timeout(Some(PATIENCE)).build())
}

fn refusal(error: &smtp::Error) -> Refusal {
    // What was refused is us and not the mail: no credentials, or the wrong ones.
    let ours = error.status().is_some_and(|code| [530, 534, 535, 538].contains(&u16::from(code)));
    let words = error.to_string();
    if error.is_permanent() && !ours { Refusal::ForGood(words) } else { Refusal::ForNow(words) }
}

/// Both files appear whole or not at all; the one that is looked for comes last.
async fn keep(folder: PathBuf, kept: Kept, message: Vec<u8>) -> anyhow::Result<()> {
    for (extension, content) in [("eml", message), ("json", serde_json::to_vec_pretty(&kept)?)] {
        let file = folder.join(format!("{}.{extension}", kept.id));
        let half = file.with_extension(format!("{extension}.new"));
        tokio::fs::write(&half, content).await.with_context(|| format!("can't write {}", half.display()))?;
        tokio::fs::rename(&half, &file).await.with_context(|| format!("can't write {}", file.display()))?;
    }
    Ok(())
}

/// What is in the folder, newest first.
pub async fn kept(folder: PathBuf) -> anyhow::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    let mut files =
        tokio::fs::read_dir(&folder).await.with_context(|| format!("can't read {}", folder.display()))?;
    while let Some(file) = files.next_entry().await? {
        if file.path().extension().is_some_and(|extension| extension == "json") {
            kept.extend(serde_json::from_slice::<Kept>(&tokio::fs::read(file.path()).await?).ok());
        }
    }
    // Ids sort by when they were made.
    kept.sort_by_key(|mail| std::cmp::Reverse(mail.id));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(settings: &str) -> Result<Option<Post>, Unusable> {
        Post::open(&Config::with(&format!("[mail]\n{settings}")).unwrap())
    }

    #[tokio::test]
    async fn settings_that_lead_nowhere_are_named_and_never_repeat_a_password() {
        for (settings, key) in [
            ("from = \"nobody\"", "FROM"),
            ("smtp_url = \"mail.example.com\"", "SMTP_URL"),
            ("smtp_url = \"https://user:hunter2hunter2@mail.example.com\"", "SMTP_URL"),
            ("smtp_url = \"smtp://user:hunter2hunter2@mail.example.com\"", "SMTP_URL"),
            ("smtp_url = \"smtp://user:hunter2hunter2@mail.example.com?tls=opportunistic\"", "SMTP_URL"),
            ("folder = \"/dev/null/mail\"", "FOLDER"),
        ] {
            let Err(refused) = opened(settings) else { panic!("{settings}") };
            let refused = refused.to_string();
            assert!(refused.starts_with(&format!("INSULA_MAIL__{key}: ")), "{settings}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        assert!(opened("").unwrap().is_none());
        for url in [
            "smtps://u:p@mail.example.com",
            "smtp://u:p@mail.example.com:587?tls=required",
            "smtp://relay:25",
        ] {
            assert!(opened(&format!("smtp_url = {url:?}")).unwrap().is_some(), "{url}");
        }
    }
}
