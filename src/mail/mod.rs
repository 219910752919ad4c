//! Mail: which texts there are, what they say, and how they leave the house.

mod post;
mod render;
mod words;

pub use post::{Kept, Post, Refusal, kept};
pub use render::Draft;

/// A mail's text. What it is filled in with stands beside it; each also knows the recipient and, where it was sent on
/// behalf of an org, that org's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A token, `org_name`, `invited_by`, `roles`.
    Invitation,
    /// A token, `name`.
    VerifyEmail,
    /// A token, `name`.
    ResetPassword,
    /// To the address so far: a token, `name`, `new_email`.
    ConfirmEmailChange,
    /// To the address to be: a token, `name`.
    ConfirmNewEmail,
    /// To the address so far: `name`, `new_email`.
    EmailChanged,
    /// `name`
    PasswordChanged,
    /// `name`
    MfaEnabled,
    /// `name`
    MfaDisabled,
    /// Too many wrong passwords: `name`, `minutes`.
    AccountLocked,
    /// `name`
    AccountDeleted,
    /// To whoever looks after the org: `name`, `webhook`, `url`, `reason`, `since`, `answer`.
    WebhookDisabled,
    /// To owners: `name`, `org_name`, `policy`, `percent`, `used`, `quota`, `resets_at`.
    QuotaUsed,
}

impl Template {
    pub const ALL: &[Self] = &[
        Self::Invitation,
        Self::VerifyEmail,
        Self::ResetPassword,
        Self::ConfirmEmailChange,
        Self::ConfirmNewEmail,
        Self::EmailChanged,
        Self::PasswordChanged,
        Self::MfaEnabled,
        Self::MfaDisabled,
        Self::AccountLocked,
        Self::AccountDeleted,
        Self::WebhookDisabled,
        Self::QuotaUsed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::ConfirmEmailChange => "confirm_email_change",
            Self::ConfirmNewEmail => "confirm_new_email",
            Self::EmailChanged => "email_changed",
            Self::PasswordChanged => "password_changed",
            Self::MfaEnabled => "mfa_enabled",
            Self::MfaDisabled => "mfa_disabled",
            Self::AccountLocked => "account_locked",
            Self::AccountDeleted => "account_deleted",
            Self::WebhookDisabled => "webhook_disabled",
            Self::QuotaUsed => "quota_used",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|template| template.as_str() == text)
    }
}
