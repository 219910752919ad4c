//! `Idempotency-Key`: a request sent twice is done once, and answered the same.
//!
//! The answer is stored in the transaction of the work it tells of, so only what committed is repeated
//! (draft-ietf-httpapi-idempotency-key-header).

use crate::{
    caller::Caller,
    error::{Error, Result},
    openapi,
    tenancy::TenantTx,
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterIn},
    },
};

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

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "Repeat it when you retry, and it is done once.";
        vec![openapi::header("Idempotency-Key", about, Required::False)]
    }
}

/// What came of work: how it is answered, to the byte whenever it is asked for again.
pub struct Done<T, const N: usize = 1> {
    pub status: StatusCode,
    pub location: Option<String>,
    /// Of what it left, as it is now; not repeated. None of what has no version.
    pub tag: [(HeaderName, HeaderValue); N],
    pub body: T,
}

/// Ends `tx` with `work` done in it: once for `key`, if there is one. `request` is all that the answer depends on.
///
/// Either way the key is free before the answer is out: who retries at once must not be told that they are at work.
///
/// # Errors
/// 409 while the first request is still at work; 422 when the key came with another `request` before.
pub async fn once<T: Serialize + Sync, const N: usize>(
    mut tx: TenantTx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    (operation, request): (&'static str, &(impl Serialize + Sync)),
    work: impl AsyncFnOnce(&mut TenantTx) -> Result<Done<T, N>>,
) -> Result<Response> {
    let answered = match key {
        Some(key) => key.answer(&mut tx, caller, (operation, request), work).await,
        None => match work(&mut tx).await {
            Ok(done) => done.answer(),
            Err(error) => Err(error),
        },
    };
    end(tx, answered).await
}

/// The same for work whose answer holds a secret, which is kept nowhere: who repeats it is told the id of what it made,
/// which `work` answers beside.
///
/// # Errors
/// As with [`once`], and 409 `already_created` where it was done before.
pub async fn once_shown<T: Serialize, const N: usize>(
    mut tx: TenantTx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    (operation, request): (&'static str, &(impl Serialize + Sync)),
    work: impl AsyncFnOnce(&mut TenantTx) -> Result<(String, Done<T, N>)>,
) -> Result<Response> {
    let answered = match key {
        Some(key) => key.show(&mut tx, caller, (operation, request), work).await,
        None => match work(&mut tx).await {
            Ok((_, done)) => done.answer(),
            Err(error) => Err(error),
        },
    };
    end(tx, answered).await
}

async fn end(tx: TenantTx, answered: Result<Response>) -> Result<Response> {
    match answered {
        Ok(response) => {
            tx.commit().await?;
            Ok(response)
        }
        Err(error) => {
            tx.rollback().await;
            Err(error)
        }
    }
}

impl<T: Serialize, const N: usize> Done<T, N> {
    fn answer(self) -> Result<Response> {
        let body = serde_json::to_string(&self.body).map_err(|error| Error::Internal(error.into()))?;
        Ok((self.tag, answer(self.status, self.location.as_deref(), body)).into_response())
    }
}

/// Work under a key, still to be done.
struct Pending {
    principal: uuid::Uuid,
    operation: &'static str,
    key: String,
    request: Vec<u8>,
}

impl IdempotencyKey {
    async fn answer<T: Serialize + Sync, const N: usize>(
        self,
        tx: &mut TenantTx,
        caller: &Caller,
        (operation, request): (&'static str, &(impl Serialize + Sync)),
        work: impl AsyncFnOnce(&mut TenantTx) -> Result<Done<T, N>>,
    ) -> Result<Response> {
        let (pending, stored) = self.look_up(tx, caller, operation, request).await?;
        if let Some(stored) = stored {
            let status =
                u16::try_from(stored.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
            let mut response =
                answer(status.unwrap_or(StatusCode::OK), stored.location.as_deref(), stored.body);
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            return Ok(response);
        }
        let Done { status, location, tag, body } = work(tx).await?;
        let body = serde_json::to_string(&body).map_err(|error| Error::Internal(error.into()))?;
        pending.keep(tx, status, location.as_deref(), &body).await?;
        Ok((tag, answer(status, location.as_deref(), body)).into_response())
    }

    async fn show<T: Serialize, const N: usize>(
        self,
        tx: &mut TenantTx,
        caller: &Caller,
        (operation, request): (&'static str, &(impl Serialize + Sync)),
        work: impl AsyncFnOnce(&mut TenantTx) -> Result<(String, Done<T, N>)>,
    ) -> Result<Response> {
        let (pending, made) = self.look_up(tx, caller, operation, request).await?;
        if let Some(made) = made {
            return Err(Error::AlreadyCreated { id: made.body });
        }
        let (id, done) = work(tx).await?;
        pending.keep(tx, done.status, done.location.as_deref(), &id).await?;
        done.answer()
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
                "this Idempotency-Key came with another request before: use a fresh key for another request";
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
