//! What the mails say: a subject, a few sentences, and what the link in them is for.

use super::Template;
use serde_json::Value;

/// One mail in words, before it becomes a page.
pub struct Words {
    pub subject: String,
    pub sentences: Vec<String>,
    pub action: Option<Action>,
}

/// What the mail's token is good for.
pub struct Action {
    pub label: &'static str,
    /// Under the address where the pages are.
    pub path: &'static str,
    /// Why, and for how long.
    pub note: &'static str,
}

const HALF_AN_HOUR: &str =
    "It works once, within 30 minutes. If you did not ask for it, there is nothing you have to do.";

impl Words {
    /// `product` is what the platform calls itself.
    pub fn of(template: Template, params: &Value, product: &str) -> Self {
        let text = |key: &str| one_line(params[key].as_str().unwrap_or_default());
        let confirm = |label, note| Some(Action { label, path: "confirm-email", note });
        let (subject, sentences, action) = match template {
            Template::Invitation => {
                let (org, host) = (text("org_name"), text("invited_by"));
                let invited = match (host.as_str(), list(&params["roles"]).as_str()) {
                    ("", "") => format!("You have been invited to {org}."),
                    ("", roles) => format!("You have been invited to {org} as {roles}."),
                    (host, "") => format!("{host} invites you to {org}."),
                    (host, roles) => format!("{host} invites you to {org} as {roles}."),
                };
                let action = Action {
                    label: "Accept the invitation",
                    path: "accept-invitation",
                    note: "It works once. If you don't know who sent it, there is nothing you have to do.",
                };
                (format!("Your invitation to {org}"), vec![invited], Some(action))
            }
            Template::VerifyEmail => (
                "Please confirm your e-mail address".to_owned(),
                vec!["Please confirm that this address is yours.".to_owned()],
                Some(Action { label: "Confirm this address", path: "verify-email", note: HALF_AN_HOUR }),
            ),
            Template::ResetPassword => (
                "Set a new password".to_owned(),
                vec![format!(
                    "Somebody, most likely you, has forgotten the password of your {product} account."
                )],
                Some(Action { label: "Set a new password", path: "reset-password", note: HALF_AN_HOUR }),
            ),
            Template::ConfirmEmailChange => (
                "Please confirm your change of e-mail address".to_owned(),
                vec![
                    format!(
                        "You asked us to change the e-mail address of your account to {}.",
                        text("new_email")
                    ),
                    "It changes once you have confirmed at both addresses; please do so at this one."
                        .to_owned(),
                ],
                confirm(
                    "Change my address",
                    "It works once, within 30 minutes. If you did not ask for it, change your password: somebody \
                     else has used it.",
                ),
            ),
            Template::ConfirmNewEmail => (
                "Please confirm your new e-mail address".to_owned(),
                vec![
                    "You asked us to make this the e-mail address of your account.".to_owned(),
                    "It becomes that once you have confirmed at both addresses; please do so at this one."
                        .to_owned(),
                ],
                confirm("Confirm this address", HALF_AN_HOUR),
            ),
            Template::EmailChanged => (
                "Your e-mail address was changed".to_owned(),
                vec![
                    format!("The e-mail address of your account is {} from now on.", text("new_email")),
                    format!("If that was not you, get in touch with {product} at once."),
                ],
                None,
            ),
            Template::PasswordChanged => {
                changed("Your password was changed", "The password of your account was changed")
            }
            Template::MfaEnabled => changed(
                "Two-factor sign-in was switched on",
                "From now on, signing in to your account takes a code from your authenticator",
            ),
            Template::MfaDisabled => changed(
                "Two-factor sign-in was switched off",
                "From now on, signing in to your account takes a password alone",
            ),
            Template::AccountLocked => {
                let minutes = match &params["minutes"] {
                    Value::Number(minutes) => format!("for {minutes} minutes"),
                    _ => "for a while".to_owned(),
                };
                (
                    "Your account is locked for a while".to_owned(),
                    vec![
                        format!(
                            "After too many wrong passwords, nobody can sign in to your account {minutes}."
                        ),
                        "If that was you, wait or set a new password. If it was not, your password has held."
                            .to_owned(),
                    ],
                    None,
                )
            }
            Template::AccountDeleted => (
                "Your account was deleted".to_owned(),
                vec![format!("Your {product} account is gone, as you asked. You won't hear from us again.")],
                None,
            ),
            Template::WebhookDisabled => webhook_disabled(params),
            Template::QuotaUsed => quota_used(params),
        };
        Self { subject, sentences, action }
    }
}

fn quota_used(params: &Value) -> (String, Vec<String>, Option<Action>) {
    let text = |key: &str| one_line(params[key].as_str().unwrap_or_default());
    let number = |key: &str| params[key].as_i64().unwrap_or_default();
    let (org, policy, resets_at) = (text("org_name"), text("policy"), text("resets_at"));
    let (percent, used, quota) = (number("percent"), number("used"), number("quota"));
    let so_far = format!("{org} has used {used} of the {quota} units of its limit \"{policy}\".");
    let then = if percent < 100 {
        format!("What is left has to do until {resets_at}.")
    } else {
        format!("Requests that need more of it are refused until {resets_at}.")
    };
    (format!("{org} has used {percent} % of its limit \"{policy}\""), vec![so_far, then], None)
}

fn changed(subject: &str, what: &str) -> (String, Vec<String>, Option<Action>) {
    let sentences = vec![
        format!("{what}."),
        "If that was not you, set a new password at once: whoever did it reads your mail or knows your password."
            .to_owned(),
    ];
    (subject.to_owned(), sentences, None)
}

fn webhook_disabled(params: &Value) -> (String, Vec<String>, Option<Action>) {
    let [url, since, answer, id] =
        ["url", "since", "answer", "webhook"].map(|key| one_line(params[key].as_str().unwrap_or_default()));
    let why = if params["reason"] == "gone" {
        format!("The webhook at {url} has answered 410 Gone: it is sent nothing any more.")
    } else {
        format!(
            "The webhook at {url} has failed at every attempt since {since}: it is sent nothing any more."
        )
    };
    let sentences = vec![
        why,
        format!("The last answer was: {answer}."),
        format!(
            "Once it works again, enable it (PATCH /api/v1/webhooks/{id} with \"status\": \"enabled\") and have replayed \
             what it has missed: events are kept for 30 days."
        ),
    ];
    ("A webhook was disabled".to_owned(), sentences, None)
}

/// What people call themselves and their orgs goes into headers and lines of its own: it keeps to one.
pub fn one_line(text: &str) -> String {
    text.split(|letter: char| letter.is_control() || letter.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// `["admin", "viewer"]` as `admin, viewer`.
fn list(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            items.iter().filter_map(Value::as_str).map(one_line).collect::<Vec<_>>().join(", ")
        }
        value => one_line(value.as_str().unwrap_or_default()),
    }
}
