//! Somebody who calls the API, over real HTTP.

use super::Reply;
use insula::ids::{RequestId, UserId};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

#[derive(Clone)]
pub struct Persona {
    client: Client,
    base: String,
    pub token: Option<String>,
    user: Option<UserId>,
    /// What a proxy says of where they call from.
    address: Option<String>,
}

impl Persona {
    pub fn new(base: &str, token: Option<String>) -> Self {
        Self { client: Client::new(), base: base.to_owned(), token, user: None, address: None }
    }

    pub fn of(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// The same person, calling another replica.
    pub fn at(&self, base: &str) -> Self {
        Self { client: Client::new(), base: base.to_owned(), ..self.clone() }
    }

    /// The same, calling from this address, where the proxy in front is trusted.
    pub fn coming_from(&self, address: &str) -> Self {
        Self { address: Some(address.to_owned()), ..self.clone() }
    }

    /// Who this is, where it is a person.
    pub fn user(&self) -> UserId {
        self.user.unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path)).await
    }

    /// With what it is answered; nothing where nobody is there any more.
    pub async fn status_of(&self, path: &str) -> Option<u16> {
        Some(self.request(Method::GET, path).send().await.ok()?.status().as_u16())
    }

    /// With an idempotency key of its own.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_as(&RequestId::new().to_string(), path, body).await
    }

    pub async fn post_as(&self, idempotency_key: &str, path: &str, body: Value) -> Reply {
        Reply::of(self.request(Method::POST, path).header("idempotency-key", idempotency_key).json(&body))
            .await
    }

    /// Over whatever version is there.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.patch_if(path, "*", body).await
    }

    pub async fn patch_if(&self, path: &str, if_match: &str, body: Value) -> Reply {
        Reply::of(self.request(Method::PATCH, path).header("if-match", if_match).json(&body)).await
    }

    /// Over whatever version is there.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.put_if(path, "*", body).await
    }

    pub async fn put_if(&self, path: &str, if_match: &str, body: Value) -> Reply {
        Reply::of(self.request(Method::PUT, path).header("if-match", if_match).json(&body)).await
    }

    /// Whatever version is there.
    pub async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::DELETE, path).header("if-match", "*")).await
    }

    /// For what the others do not say.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(address) = &self.address {
            request = request.header("x-forwarded-for", address);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}
