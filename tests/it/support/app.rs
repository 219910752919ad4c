//! A running server on a port of its own, with a clock that stands still, and organisations to fill it.

use super::{Database, Mailbox, Persona};
use insula::{
    app::App,
    authn::{jwt::Bearer, opaque::OpaqueToken, password::Hasher},
    clock::Clock,
    config::Config,
    ids::{OrgId, SessionId, UserId},
    mail::Template,
    people,
    state::AppState,
    tenancy::{
        PLATFORM,
        gate::{self, Confirmation, Letter, NewSession, NewToken, Registration},
    },
    trail::Trail,
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Everybody's.
pub const PASSWORD: &str = "correct horse battery";

pub struct TestApp {
    pub database: Database,
    pub state: AppState,
    pub clock: Clock,
    pub base: String,
    /// Where its metrics are, with the setting `metrics.listen`.
    pub metrics: Option<String>,
    made: AtomicU32,
    _stop: DropGuard,
}

/// An organisation on the enterprise tier, and one member of each built-in role.
pub struct Org {
    pub id: OrgId,
    pub slug: String,
    pub owner: Persona,
    pub admin: Persona,
    pub member: Persona,
    pub viewer: Persona,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With some settings of its own, in TOML.
    pub async fn start_with(settings: &str) -> Self {
        Self::start_on(Database::new().await, settings).await
    }

    /// On a database that others may use too: several apps are several replicas.
    pub async fn start_on(database: Database, settings: &str) -> Self {
        let config = config(&database, settings);
        Self::start_as(database, config).await
    }

    /// With a configuration that no settings make.
    pub async fn start_as(database: Database, config: Config) -> Self {
        // Who shares limits lives in the time of the Redis, which nobody moves.
        let has_redis = !config.redis.url.expose_secret().is_empty();
        let clock = if has_redis { Clock::system() } else { Clock::frozen() };
        let app = App::build(config, clock.clone()).await.unwrap();
        let (state, base) = (app.state().clone(), format!("http://{}", app.address().unwrap()));
        let metrics = app.metrics_address().map(|address| format!("http://{address}"));
        let stop = CancellationToken::new();
        tokio::spawn(app.run_until_stopped(stop.clone()));
        Self { database, state, clock, base, metrics, made: AtomicU32::default(), _stop: stop.drop_guard() }
    }

    /// Another replica: the same database, and nothing else in common.
    pub async fn replica(&self) -> Self {
        Self::start_on(self.database.clone(), "").await
    }

    /// Nobody in particular.
    pub fn anon(&self) -> Persona {
        Persona::new(&self.base, None)
    }

    /// Whoever holds this token or key.
    pub fn bearer(&self, token: &str) -> Persona {
        Persona::new(&self.base, Some(token.to_owned()))
    }

    pub async fn org(&self) -> Org {
        self.org_on("enterprise").await
    }

    pub async fn org_on(&self, tier: &str) -> Org {
        let slug = format!("org{}", self.made.fetch_add(1, Ordering::SeqCst));
        let (id, owner) = (OrgId::new(), UserId::new());
        let email = format!("owner@{slug}.example");
        let registration = Registration {
            user: owner,
            email: &email,
            name: "Olivia Owner",
            password_hash: hash().await,
            org: id,
            sandbox: OrgId::new(),
            slug: &slug,
            org_name: &slug,
            letter: &self.confirmation(),
        };
        let trail = Trail::of_the_house(self.clock.now());
        gate::register(&self.state.pools, &registration, &trail).await.unwrap();
        if tier != "free" {
            let mut platform = self.state.platform.begin().await.unwrap();
            sqlx::query("update org_control set tier = $2 where org_id = $1")
                .bind(id.uuid())
                .bind(tier)
                .execute(&mut *platform)
                .await
                .unwrap();
            platform.commit().await.unwrap();
        }
        Org {
            owner: self.signed_in(owner, id).await,
            admin: self.member(id, &slug, "admin").await,
            member: self.member(id, &slug, "member").await,
            viewer: self.member(id, &slug, "viewer").await,
            id,
            slug,
        }
    }

    fn confirmation(&self) -> Confirmation {
        let OpaqueToken { text, hash } = OpaqueToken::new("mail");
        let letter = Letter::new(Template::VerifyEmail, json!({}));
        Confirmation::new(letter, &self.state.vault, &text.into(), hash).unwrap()
    }

    /// Everybody's mail.
    pub fn mailbox(&self) -> Mailbox<'_> {
        Mailbox(&self.state)
    }

    /// A new member of `org` who signs in with this address.
    pub async fn member_at(&self, org: &Org, email: &str) {
        let user = self.person(email).await;
        people::set_member(&self.state.platform, org.id, user, &["member"]).await.unwrap();
    }

    /// A new member of `org` with one role.
    pub async fn member(&self, org: OrgId, slug: &str, role: &str) -> Persona {
        let user =
            self.person(&format!("{role}{}@{slug}.example", self.made.fetch_add(1, Ordering::SeqCst))).await;
        people::set_member(&self.state.platform, org, user, &[role]).await.unwrap();
        self.signed_in(user, org).await
    }

    /// From here on `who` is a member of `org` too, with one role.
    pub async fn join(&self, who: &Persona, org: &Org, role: &str) {
        people::set_member(&self.state.platform, org.id, who.user(), &[role]).await.unwrap();
    }

    /// From here on `who` is no member of `org` any more.
    pub async fn leave(&self, who: &Persona, org: &Org) {
        let mut platform = self.state.platform.begin().await.unwrap();
        sqlx::query("delete from members where org_id = $1 and user_id = $2")
            .bind(org.id.uuid())
            .bind(who.user().uuid())
            .execute(&mut *platform)
            .await
            .unwrap();
        sqlx::query("update org_control set policy_version = policy_version + 1 where org_id = $1")
            .bind(org.id.uuid())
            .execute(&mut *platform)
            .await
            .unwrap();
        platform.commit().await.unwrap();
        self.state.authz.forget(org.id);
    }

    pub async fn operator(&self) -> Persona {
        self.member(PLATFORM, "platform", "operator").await
    }

    /// A person with a password and no organisation.
    pub async fn person(&self, email: &str) -> UserId {
        let user = UserId::new();
        let mut platform = self.state.platform.begin().await.unwrap();
        sqlx::query("insert into users (id, email, name) values ($1, $2, 'Somebody')")
            .bind(user.uuid())
            .bind(email)
            .execute(&mut *platform)
            .await
            .unwrap();
        sqlx::query("insert into credentials (user_id, password_hash) values ($1, $2)")
            .bind(user.uuid())
            .bind(hash().await)
            .execute(&mut *platform)
            .await
            .unwrap();
        platform.commit().await.unwrap();
        user
    }

    /// As signing in does, less the hashing.
    pub async fn signed_in(&self, user: UserId, org: OrgId) -> Persona {
        self.signed_in_by(user, org, false).await
    }

    /// The same, with a second factor or without.
    pub async fn signed_in_by(&self, user: UserId, org: OrgId, mfa: bool) -> Persona {
        let (id, trail) = (SessionId::new(), Trail::of_the_house(self.clock.now()));
        let ends = trail.at + time::Duration::days(1);
        let session = NewSession { id, user, org, mfa, ends };
        let hash = id.uuid();
        let token = NewToken { hash: hash.as_bytes(), expires_at: ends };
        gate::open_session(&self.state.pools, &session, &token, &trail).await.unwrap();
        let signed_in_at = trail.at.unix_timestamp();
        let bearer = Bearer { user, org, session: id, signed_in_at, mfa, email_verified: false };
        self.bearer(&self.state.tokens.issue(&bearer).unwrap()).of(user)
    }

    /// A live key of an organisation with these scopes.
    pub async fn api_key(&self, org: &Org, scopes: &[&str]) -> Persona {
        self.api_key_in(org, "live", scopes).await
    }

    pub async fn api_key_in(&self, org: &Org, mode: &str, scopes: &[&str]) -> Persona {
        let body = json!({"name": "test", "mode": mode, "scopes": scopes});
        let key = org.owner.post("/api/v1/api-keys", body).await.expect(201);
        self.bearer(key["key"].as_str().unwrap())
    }
}

pub fn config(database: &Database, settings: &str) -> Config {
    // Settings of a test come last in their section, so that theirs is the word that counts.
    let defaults = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://insula.test\"\n\
         [database]\napp_url = {:?}\nplatform_url = {:?}\napp_connections = 6\norg_connections = 6\nplatform_connections = 2\n\
         [auth]\nmaster_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n\
         [limits.ip]\nquota_per_minute = 60000\nburst = 30000\n\
         [jobs]\nworkers = 0\n\
         [webhooks]\nin_flight = 0\nallowed_networks = [\"127.0.0.0/8\", \"::1/128\"]\n\
         [storage]\nfolder = \"{}\"\n\
         [usage]\njournal = \"{}\"\n",
        database.url("insula_app"),
        database.url("insula_platform"),
        database.files.display(),
        database.usage().display(),
    );
    Config::with_all(&[&defaults, settings]).unwrap()
}

/// Hashed once for the whole run: what hashing costs is not what most tests are about.
async fn hash() -> &'static str {
    static HASH: OnceCell<String> = OnceCell::const_new();
    HASH.get_or_init(async || Hasher::new(1, 1).unwrap().hash(PASSWORD.to_owned().into()).await.unwrap())
        .await
}
