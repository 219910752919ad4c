//! The other servers' data as Insula keeps it: orgs, people and tiers by its own functions, the catalogue by SQL.

use crate::cluster::{Cluster, DATABASE, PASSWORD, admin};
use insula::{
    authn::opaque::OpaqueToken,
    bootstrap::{self, Passwords},
    clock::Clock,
    ids::{OrgId, UserId},
    limits::Policy,
    mail::Template,
    people,
    state::AppState,
    tenancy::gate::{self, Confirmation, Letter, Registration},
    tiers::{self, By, Content},
    trail::Trail,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Who there is in each org besides its owner, and in which role: who works, who looks, and who has used up a limit.
pub const PEOPLE: [(&str, &str); 3] = [("manager", "member"), ("viewer", "viewer"), ("trial", "viewer")];

pub async fn fill(cluster: &Cluster) {
    let patience = Duration::from_secs(10);
    bootstrap::bootstrap(&admin(), DATABASE, &Passwords::default(), patience).await.unwrap();
    bootstrap::migrate(&cluster.url("insula_owner").into(), patience).await.unwrap();
    let until = CancellationToken::new();
    let (state, listening) = AppState::open(cluster.config(), Clock::system(), until.clone()).await.unwrap();
    make_tiers(&state).await;
    // Hashed once: what hashing costs is measured elsewhere.
    let hash = state.hasher.hash(PASSWORD.to_owned().into()).await.unwrap();
    let mut superuser = cluster.superuser().await;
    for number in 1..=cluster.scale().await.orgs {
        make_org(&state, &mut superuser, &hash, number).await;
    }
    drop(superuser);
    until.cancel();
    listening.await.unwrap();
    cluster.run(include_str!("fill.sql")).await;
}

/// One that refuses nobody and is asked all the same, by the same policies as those that Insula comes with; and one that is
/// used up by a single request a day.
async fn make_tiers(state: &AppState) {
    let enough = 1_000_000_000;
    let policies = json!([
        {"name": "user", "scope": "user", "quota": enough, "window_seconds": 60},
        {"name": "org", "scope": "org", "quota": enough, "window_seconds": 60},
    ]);
    make_tier(state, "bench", policies).await;
    let policies = json!([{"name": "user", "scope": "user", "quota": 1, "window_seconds": 86_400}]);
    make_tier(state, "trial", policies).await;
}

async fn make_tier(state: &AppState, slug: &str, policies: Value) {
    let policies: Vec<Policy> = serde_json::from_value(policies).unwrap();
    let trail = Trail::of_the_house(state.clock.now());
    let by = By { operator: None, trail: &trail, reason: "for the bench" };
    let entitlements = serde_json::Map::new();
    let content = Content { name: slug.to_owned(), policies, entitlements, is_public: false };
    let faults = content.faults(slug, trail.at);
    assert!(faults.is_empty(), "{faults:?}");
    let mut tx = state.platform.begin().await.unwrap();
    tiers::create(&mut tx, &by, slug, &content).await.unwrap();
    tx.commit().await.unwrap();
}

async fn make_org(state: &AppState, superuser: &mut PgConnection, hash: &str, number: i32) {
    let (org, slug) = (OrgId::new(), format!("tenant-{number}"));
    let OpaqueToken { text, hash: secret } = OpaqueToken::new("mail");
    let letter = Letter::new(Template::VerifyEmail, json!({}));
    let registration = Registration {
        user: UserId::new(),
        email: &format!("owner@{slug}.example"),
        name: "Olivia Owner",
        password_hash: hash,
        org,
        sandbox: OrgId::new(),
        slug: &slug,
        org_name: &format!("Tenant {number}"),
        letter: &Confirmation::new(letter, &state.vault, &text.into(), secret).unwrap(),
    };
    let trail = Trail::of_the_house(state.clock.now());
    gate::register(&state.pools, &registration, &trail).await.unwrap();
    for (name, role) in PEOPLE {
        let user = UserId::new();
        sqlx::query(
            "with person as (
                 insert into users (id, email, name, email_verified_at) values ($1, $2, $3, now())
             )
             insert into credentials (user_id, password_hash) values ($1, $4)",
        )
        .bind(user.uuid())
        .bind(format!("{name}@{slug}.example"))
        .bind(name)
        .bind(hash)
        .execute(&mut *superuser)
        .await
        .unwrap();
        people::set_member(&state.platform, org, user, &[role]).await.unwrap();
    }
}
