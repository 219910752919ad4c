//! People who join an org by invitation, and what the org's audit says of that.

use super::{Mailbox, Org, PASSWORD, Persona, TestApp};
use insula::ids::OrgId;
use serde_json::{Value, json};

pub const ACCEPT: &str = "/api/v1/auth/invitations/accept";

/// A line of an org's audit.
#[derive(Debug)]
pub struct Audited {
    pub action: String,
    pub actor_type: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

impl TestApp {
    /// The token in the latest mail to an address that carries one.
    pub async fn mailed_token(&self, recipient: &str) -> String {
        let mails = Mailbox(&self.state).of(recipient).await;
        let token = mails.into_iter().rev().find_map(|mail| mail.token);
        token.unwrap_or_else(|| panic!("{recipient} has got no mail with a token"))
    }

    /// Invites somebody new and has them accept: what they were answered.
    pub async fn newcomer(&self, by: &Persona, email: &str, roles: &[&str]) -> Value {
        by.post("/api/v1/invitations", json!({"email": email, "roles": roles})).await.expect(201);
        let token = self.mailed_token(email).await;
        let acceptance = json!({"token": token, "name": "Nora Newcomer", "password": PASSWORD});
        self.anon().post(ACCEPT, acceptance).await.expect(201)
    }

    /// The audit of an org, oldest line first.
    pub async fn audited(&self, org: OrgId) -> Vec<Audited> {
        let mut platform = self.state.platform.begin().await.unwrap();
        let rows: Vec<(String, String, Option<Value>, Option<Value>)> = sqlx::query_as(
            "select action, actor_type, before, after from audit_events where org_id = $1 order by id",
        )
        .bind(org.uuid())
        .fetch_all(&mut *platform)
        .await
        .unwrap();
        let told = rows.into_iter().map(|(action, actor_type, before, after)| Audited {
            action,
            actor_type,
            before,
            after,
        });
        told.collect()
    }

    /// The latest line about an action.
    pub async fn last_audited(&self, org: &Org, action: &str) -> Audited {
        let mut told = self.audited(org.id).await;
        told.retain(|line| line.action == action);
        told.pop().unwrap_or_else(|| panic!("{action} was not audited"))
    }
}
