//! Three organisations on three tiers, with people, a catalogue and orders, made through the API where it
//! has a way.

use crate::{
    error::Error,
    ids::{OrgId, RequestId, UserId},
    people, router,
    state::AppState,
    tenancy::{PLATFORM, gate},
};
use anyhow::{Context as _, bail};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tower::ServiceExt as _;

/// What `demo.json` tells a program.
#[derive(Serialize, Deserialize)]
pub struct Demo {
    pub base_url: String,
    pub orgs: Vec<DemoOrg>,
    pub operator: Credentials,
}

#[derive(Serialize, Deserialize)]
pub struct DemoOrg {
    pub id: OrgId,
    pub slug: String,
    pub tier: String,
    pub api_key: String,
    pub members: Vec<DemoMember>,
}

#[derive(Serialize, Deserialize)]
pub struct DemoMember {
    pub email: String,
    pub password: String,
    pub role: String,
}

#[derive(Serialize, Deserialize)]
pub struct Credentials {
    pub email: String,
    pub password: String,
}

const ORGS: [(&str, &str); 3] = [("acme", "pro"), ("globex", "free"), ("initech", "enterprise")];
const ROLES: [&str; 4] = ["owner", "admin", "member", "viewer"];
const OPERATOR: &str = "operator@platform.example";

impl Demo {
    /// Reads what an earlier run left and removes it: the file is there only while everything is ready.
    pub fn take(file: &Path, fresh: bool) -> anyhow::Result<Option<Self>> {
        let Ok(text) = fs::read(file) else { return Ok(None) };
        fs::remove_file(file).with_context(|| format!("can't remove {}", file.display()))?;
        Ok(serde_json::from_slice(&text).ok().filter(|_| !fresh))
    }

    /// Appears whole or not at all.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let half = file.with_extension("json.new");
        fs::write(&half, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&half, file).with_context(|| format!("can't write {}", file.display()))
    }
}

/// Makes what is missing; a second run finds everything there.
pub async fn seed(state: &AppState, earlier: Option<Demo>) -> anyhow::Result<Demo> {
    let api = Client(router::router(state));
    let operator = Credentials { email: OPERATOR.to_owned(), password: password("platform", "operator") };
    let user = find_or_make(state, &operator.email, "Olive Operator", &operator.password).await?;
    people::set_member(&state.platform, PLATFORM, user, &["operator"]).await?;
    let operator_token = api.login(&operator.email, &operator.password, "platform").await?;

    let mut orgs = Vec::new();
    for (slug, tier) in ORGS {
        let known = earlier.iter().flat_map(|demo| &demo.orgs).find(|org| org.slug == slug);
        orgs.push(seed_org(state, &api, slug, tier, &operator_token, known).await.context(slug)?);
    }
    Ok(Demo { base_url: state.config.http.public_url.clone(), orgs, operator })
}

async fn seed_org(
    state: &AppState,
    api: &Client,
    slug: &str,
    tier: &str,
    operator_token: &str,
    known: Option<&DemoOrg>,
) -> anyhow::Result<DemoOrg> {
    let members = ROLES.map(|role| DemoMember {
        email: format!("{role}@{slug}.example"),
        password: password(slug, role),
        role: role.to_owned(),
    });
    let owner = &members[0];
    if gate::user_by_email(&state.pools, &owner.email).await?.is_none() {
        let account = json!({"email": owner.email, "password": owner.password, "name": name("owner"), "org_name": capitalised(slug)});
        api.post("/api/v1/auth/register", None, &account).await?;
    }
    let token = api.login(&owner.email, &owner.password, slug).await?;
    let org = api.get("/api/v1/org", &token).await?;
    let id: OrgId = serde_json::from_value(org["id"].clone())?;
    if org["tier"] != tier {
        let change = json!({"tier": tier, "reason": "the demo shows each tier"});
        api.send("PATCH", &format!("/operator/v1/orgs/{id}"), Some(operator_token), &change).await?;
    }
    for member in &members[1..] {
        let user = find_or_make(state, &member.email, name(&member.role), &member.password).await?;
        people::set_member(&state.platform, id, user, &[&member.role]).await?;
    }
    if api.get("/api/v1/products?limit=1", &token).await?["data"] == json!([]) {
        stock_the_shop(api, &token).await?;
    }
    let api_key = match known {
        Some(known) if api.get("/api/v1/limits", &known.api_key).await.is_ok() => known.api_key.clone(),
        _ => make_key(api, &token).await?,
    };
    Ok(DemoOrg { id, slug: slug.to_owned(), tier: tier.to_owned(), api_key, members: members.into() })
}

async fn make_key(api: &Client, token: &str) -> anyhow::Result<String> {
    let scopes = ["categories", "products"].iter().flat_map(|resource| {
        ["read", "create", "update", "delete"].iter().map(move |action| format!("{resource}:{action}"))
    });
    let orders = ["read", "create", "update", "pay", "fulfil", "cancel"]
        .iter()
        .map(|action| format!("orders:{action}"));
    let scopes: Vec<String> = scopes.chain(orders).chain(["org:read".to_owned()]).collect();
    let made = api.post("/api/v1/api-keys", Some(token), &json!({"name": "demo", "scopes": scopes})).await?;
    Ok(text(&made, "key"))
}

async fn stock_the_shop(api: &Client, token: &str) -> anyhow::Result<()> {
    type Item = (&'static str, &'static str, i64);
    const SHELVES: [(&str, [Item; 3]); 3] = [
        (
            "Tools",
            [("HAMMER", "Claw hammer", 1_999), ("SAW", "Hand saw", 2_450), ("LEVEL", "Spirit level", 1_290)],
        ),
        (
            "Fixings",
            [
                ("NAIL-50", "Nails, 50 mm", 349),
                ("SCREW-4", "Screws, 4 mm", 429),
                ("PLUG-8", "Wall plugs", 275),
            ],
        ),
        (
            "Paint",
            [("WHITE-5", "White, 5 l", 3_490), ("BLUE-1", "Blue, 1 l", 1_690), ("BRUSH", "Flat brush", 690)],
        ),
    ];
    let mut products = Vec::new();
    for (shelf, items) in SHELVES {
        let category = api.post("/api/v1/categories", Some(token), &json!({"name": shelf})).await?;
        for (sku, name, amount) in items {
            let product = json!({
                "sku": sku, "name": name, "price": {"amount": amount, "currency": "EUR"},
                "stock": 500, "category_id": category["id"], "metadata": {"shelf": shelf},
            });
            products.push(text(&api.post("/api/v1/products", Some(token), &product).await?, "id"));
        }
    }
    let steps: [&[&str]; 4] = [&[], &["pay"], &["pay", "fulfil"], &["cancel"]];
    for (at, steps) in steps.iter().enumerate() {
        let lines: Vec<Value> = products
            .iter()
            .skip(at)
            .step_by(4)
            .map(|id| json!({"product_id": id, "quantity": at + 1}))
            .collect();
        let order = api.post("/api/v1/orders", Some(token), &json!({"lines": lines})).await?;
        for step in *steps {
            let path = format!("/api/v1/orders/{}/{step}", text(&order, "id"));
            api.post(&path, Some(token), &json!({})).await?;
        }
    }
    Ok(())
}

async fn find_or_make(state: &AppState, email: &str, name: &str, password: &str) -> anyhow::Result<UserId> {
    match people::create_user(&state.platform, &state.hasher, email, name, password.to_owned().into()).await {
        Err(Error::Conflict { .. }) => {
            let account = gate::user_by_email(&state.pools, email).await?;
            Ok(account.context("registered a moment ago")?.id)
        }
        made => Ok(made?),
    }
}

/// The same on every machine: nobody but this machine can reach a dev server.
fn password(org: &str, role: &str) -> String {
    format!("{org}-{role}-password")
}

fn name(role: &str) -> &'static str {
    match role {
        "owner" => "Olivia Owner",
        "admin" => "Adam Admin",
        "member" => "Mia Member",
        _ => "Victor Viewer",
    }
}

fn capitalised(slug: &str) -> String {
    slug.split_at_checked(1).map_or(slug.to_owned(), |(first, rest)| first.to_uppercase() + rest)
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Calls the API without a socket.
struct Client(Router);

impl Client {
    async fn login(&self, email: &str, password: &str, org: &str) -> anyhow::Result<String> {
        let login = json!({"email": email, "password": password, "org": org});
        Ok(text(&self.post("/api/v1/auth/login", None, &login).await?, "access_token"))
    }

    async fn get(&self, path: &str, token: &str) -> anyhow::Result<Value> {
        self.send("GET", path, Some(token), &Value::Null).await
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> anyhow::Result<Value> {
        self.send("POST", path, token, body).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", RequestId::new().to_string());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.0.clone().oneshot(request.body(Body::from(body.to_string()))?).await?;
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await?;
        if !status.is_success() {
            bail!("{method} {path} was answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
