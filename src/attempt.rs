//! An attempt to prove who one is: counted by e-mail address before anything is compared, on all replicas together.
//!
//! So whatever guesses come at once and wherever, no more are compared than an address is allowed; and an address that
//! nobody has is counted, and locked, like one that somebody has. An attempt that is dropped counts as a wrong one.

use crate::{
    authn::totp::{Authenticator, recovery_hash},
    error::{Error, Problem, Result},
    ids::UserId,
    mail::Template,
    state::AppState,
    tenancy::gate::{self, Admission, Budget, Letter},
    trail::Trail,
};
use axum::http::{StatusCode, header};
use secrecy::SecretString;
use serde_json::json;
use time::Duration;

#[must_use = "say how it ended"]
pub struct Attempt<'a> {
    state: &'a AppState,
    trail: &'a Trail,
    email: &'a str,
    /// There is no further one, unless this one is right.
    last: bool,
}

impl<'a> Attempt<'a> {
    /// # Errors
    /// 429 `too_many_attempts` where the address has none left.
    pub async fn begin(state: &'a AppState, email: &'a str, trail: &'a Trail) -> Result<Self> {
        match gate::begin_attempt(&state.pools, email, budget(state), trail.at).await? {
            Admission::Admitted { last } => Ok(Self { state, trail, email, last }),
            Admission::Locked { until } => Err(locked(until - trail.at)),
        }
    }

    /// Whether `password` is the one behind `hash`.
    pub async fn password(&self, password: SecretString, hash: Option<String>) -> Result<bool> {
        let compared = self.state.hasher.verify(password, hash).await;
        if compared.is_err() {
            gate::take_back_attempt(&self.state.pools, self.email).await?;
        }
        compared
    }

    /// Whether `code` is one of the app of `user` or one of their recovery codes, and takes it: none is good twice.
    pub async fn code(&self, user: UserId, code: &str) -> Result<bool> {
        let pools = &self.state.pools;
        let Some(totp) = gate::totp(pools, user).await?.filter(|totp| totp.confirmed_at.is_some()) else {
            return Ok(false);
        };
        let app = authenticator(self.state, user, &totp.secret)?;
        match app.step_of(code, self.trail.at.unix_timestamp())? {
            Some(step) => gate::take_totp_step(pools, user, step).await,
            None => gate::take_recovery_code(pools, user, &recovery_hash(code), self.trail).await,
        }
    }

    /// It was wrong. Whoever has the address is told when there are no more.
    pub async fn failed(self) -> Result<()> {
        if !self.last {
            return Ok(());
        }
        let letter =
            Letter::new(Template::AccountLocked, json!({"minutes": self.state.config.auth.lock_minutes}));
        tracing::warn!("an address has used up its attempts to sign in");
        gate::account_locked(&self.state.pools, self.email, budget(self.state), &letter, self.trail).await
    }

    /// It was right, and is not the whole of the proof: it does not count, and those before it still do.
    pub async fn right_so_far(self) -> Result<()> {
        gate::take_back_attempt(&self.state.pools, self.email).await
    }

    /// They have proven who they are.
    pub async fn succeeded(self) -> Result<()> {
        gate::forget_attempts(&self.state.pools, self.email).await
    }
}

/// Whether `user` is asked for a code after the password.
pub async fn has_second_factor(state: &AppState, user: UserId) -> Result<bool> {
    Ok(gate::totp(&state.pools, user).await?.is_some_and(|totp| totp.confirmed_at.is_some()))
}

/// The secret of a person's app, to be kept.
pub fn sealed(state: &AppState, user: UserId, app: &Authenticator) -> Result<Vec<u8>> {
    state.vault.seal(&format!("totp of {user}"), app.bytes())
}

/// From the secret as it is kept.
pub fn authenticator(state: &AppState, user: UserId, sealed: &[u8]) -> Result<Authenticator> {
    Ok(Authenticator::from_bytes(&state.vault.open(&format!("totp of {user}"), sealed)?))
}

fn budget(state: &AppState) -> Budget {
    let auth = &state.config.auth;
    Budget { attempts: auth.lock_after_failures.into(), span: Duration::minutes(auth.lock_minutes.into()) }
}

fn locked(wait: Duration) -> Error {
    let rounded_up = (wait + Duration::SECOND - Duration::NANOSECOND).whole_seconds();
    let seconds = u64::try_from(rounded_up).unwrap_or_default().max(1);
    let detail =
        format!("too many wrong passwords or codes: wait {seconds} s, or reset the password by mail");
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail)
        .with("violated_policies", vec!["account"])
        .header(header::RETRY_AFTER, seconds);
    "https://iana.org/assignments/http-problem-types#quota-exceeded".clone_into(&mut problem.kind);
    Error::Limited(Box::new(problem))
}
