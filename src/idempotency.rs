//! `Idempotency-Key`: a request sent twice is done once, and answered the same.
//!
//! The answer is stored in the transaction of the work it tells of, so only what committed is repeated
//! (draft-ietf-httpapi-idempotency-key-header).

use crate::{
    caller::Caller,
    error::{Error, Result},
    tenancy::TenantTx,
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The key a client sent; 400 where it must and did not.
pub struct IdempotencyKey(String);

const NAME: &str = "idempotency-key";
const LONGEST: usize = 255;

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let missing = || {
            Error::malformed(
                "idempotency_key_required",
                "send an Idempotency-Key of up to 255 characters, a fresh uuid say, and repeat it when you retry",
            )
        };
        let key = parts.headers.get(NAME).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match key.len() {
            1..=LONGEST => Ok(Self(key.to_owned())),
            _ => Err(missing()),
        }
    }
}

/// For operations that do not insist on one; one that is sent must be usable all the same.
impl<S: Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>> {
        if !parts.headers.contains_key(NAME) {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
    }
}

/// What a key asks for: work still to be done, or an answer given before.
pub enum Asked {
    First(Pending),
    Again(Response),
}

/// Work under a key; `answer` records what came of it.
pub struct Pending {
    principal: uuid::Uuid,
    operation: &'static str,
    key: String,
    request: Vec<u8>,
}

impl IdempotencyKey {
    /// # Errors
    /// 409 while the first request is still at work; 422 when the key came with another body before.
    pub async fn ask(
        self,
        tx: &mut TenantTx,
        caller: &Caller,
        operation: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<Asked> {
        let (pending, stored) = self.look_up(tx, caller, operation, body).await?;
        let Some(stored) = stored else { return Ok(Asked::First(pending)) };
        let status = u16::try_from(stored.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = answer(status.unwrap_or(StatusCode::OK), stored.location.as_deref(), stored.body);
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        Ok(Asked::Again(response))
    }

    /// The same for work whose answer holds a secret, which is kept nowhere and so can't be repeated; `made` records the
    /// work.
    ///
    /// # Errors
    /// 409 `already_created` where it was done before, besides.
    pub async fn claim(
        self,
        tx: &mut TenantTx,
        caller: &Caller,
        operation: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<Pending> {
        match self.look_up(tx, caller, operation, body).await? {
            (pending, None) => Ok(pending),
            (_, Some(made)) => Err(Error::AlreadyCreated { id: made.body }),
        }
    }

    async fn look_up(
        self,
        tx: &mut TenantTx,
        caller: &Caller,
        operation: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<(Pending, Option<Stored>)> {
        let request = serde_json::to_vec(body).map_err(|error| Error::Internal(error.into()))?;
        let request = Sha256::digest(request).to_vec();
        let pending = Pending { principal: caller.actor().uuid(), operation, key: self.0, request };
        if !pending.lock(tx).await? {
            return Err(Error::conflict("in_flight", "a request with this Idempotency-Key is still at work"));
        }
        let stored = sqlx::query_as!(
            Stored,
            r#"select request_hash, status, location, body from idempotency_keys
               where org_id = $1 and principal = $2 and operation = $3 and key = $4
                 and created_at > now() - interval '24 hours'"#,
            tx.org().uuid(),
            pending.principal,
            pending.operation,
            pending.key
        )
        .fetch_optional(&mut **tx)
        .await?;
        if stored.as_ref().is_some_and(|stored| stored.request_hash != pending.request) {
            let detail =
                "this Idempotency-Key came with another body before: use a fresh key for another request";
            return Err(Error::invalid("", "idempotency_key_reused", detail));
        }
        Ok((pending, stored))
    }
}

struct Stored {
    request_hash: Vec<u8>,
    status: i16,
    location: Option<String>,
    body: String,
}

impl Pending {
    /// Held until the transaction ends, so that of two requests at once one works and one is told.
    async fn lock(&self, tx: &mut TenantTx) -> Result<bool> {
        let name = format!("{} {} {} {}", tx.org(), self.principal, self.operation, self.key);
        let locked = sqlx::query_scalar!("select pg_try_advisory_xact_lock(hashtextextended($1, 0))", name)
            .fetch_one(&mut **tx)
            .await?;
        Ok(locked == Some(true))
    }

    /// Records the answer in the work's own transaction, and makes it.
    pub async fn answer(
        self,
        tx: &mut TenantTx,
        status: StatusCode,
        location: Option<&str>,
        body: &(impl Serialize + Sync),
    ) -> Result<Response> {
        let body = serde_json::to_string(body).map_err(|error| Error::Internal(error.into()))?;
        self.keep(tx, status, location, &body).await?;
        Ok(answer(status, location, body))
    }

    /// Records what came of work that was claimed: its id, and no secret.
    pub async fn made(self, tx: &mut TenantTx, location: &str, id: &str) -> Result<()> {
        self.keep(tx, StatusCode::CREATED, Some(location), id).await
    }

    async fn keep(
        self,
        tx: &mut TenantTx,
        status: StatusCode,
        location: Option<&str>,
        body: &str,
    ) -> Result<()> {
        sqlx::query!(
            "insert into idempotency_keys (org_id, principal, operation, key, request_hash, status, location, body)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (org_id, principal, operation, key) do update
             set request_hash = excluded.request_hash, status = excluded.status, location = excluded.location,
                 body = excluded.body, created_at = now()",
            tx.org().uuid(),
            self.principal,
            self.operation,
            self.key,
            self.request,
            i16::try_from(status.as_u16()).unwrap_or(i16::MAX),
            location,
            body
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

fn answer(status: StatusCode, location: Option<&str>, body: String) -> Response {
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
