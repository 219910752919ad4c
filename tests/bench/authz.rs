//! What a decision costs beside 10, 1,000 and 100,000 orgs with 20 roles each, what a miss costs, what it all weighs, and
//! what a flood of refusals does: `cargo bench --bench authz`. Takes some minutes, most of them for filling the database.

use axum::{body::Body, extract::ConnectInfo, http::Request};
use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use futures::{StreamExt as _, stream};
use insula::{
    authn::jwt::Bearer,
    authz::{Authz, CustomRole, MODEL, OrgPolicy, Permission},
    bootstrap::{self, Passwords},
    clock::Clock,
    config::Config,
    db::Pools,
    ids::{OrgId, RequestId, SessionId, UserId},
    local::{Durability, Postgres},
    router,
    state::AppState,
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::{
    fs,
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

const ORGS: u32 = 100_000;
const ROLES: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the actions of the catalogue.
const PERMISSIONS: [&str; 12] = [
    "categories:create",
    "categories:update",
    "categories:delete",
    "products:create",
    "products:update",
    "products:delete",
    "orders:create",
    "orders:update",
    "orders:pay",
    "orders:fulfil",
    "orders:cancel",
    "orders:refund",
];

/// Four towers, five roles deep, each role with six permissions of its own and one that it denies.
fn roles() -> Vec<CustomRole> {
    let of = |from: usize, count| (from..from + count).map(|at| PERMISSIONS[at % 12].to_owned()).collect();
    let role = |at: usize| CustomRole {
        name: format!("role-{at}"),
        inherits: vec![if at < 4 { "viewer".to_owned() } else { format!("role-{}", at - 4) }],
        permissions: of(at, 6),
        denied: of(at + 7, 1),
    };
    (0..ROLES).map(role).collect()
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }

    /// By Zipf's law with an exponent of one, near enough.
    fn favour(&mut self, sides: usize) -> usize {
        let at = f64::from(u32::try_from(self.roll(1 << 30)).unwrap_or_default()) / f64::from(1 << 30);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
        let place = (f64::from(u32::try_from(sides).unwrap_or(u32::MAX)).powf(at) - 1.0) as usize;
        place.min(sides - 1)
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4096.0
}

struct Took(Vec<Duration>);

impl Took {
    fn at(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = ((self.0.len() - 1) as f64 * share) as usize;
        self.0[place].as_secs_f64() * 1e6
    }

    fn said(&mut self) -> String {
        format!("median {:.0} us, p99 {:.0} us", self.at(0.5), self.at(0.99))
    }
}

fn org(number: u32) -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)))
}

/// The only member of an org but for those who hold its other roles.
fn member(number: u32) -> UserId {
    UserId::from_uuid(org(number).uuid())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    plain_casbin().await?;
    in_memory().await?;
    let dir = std::env::temp_dir().join(format!("insula-bench-{}", std::process::id()));
    let postgres = Postgres::start(&dir, None, Durability::Throwaway).await?;
    let config = filled(&postgres).await?;
    for orgs in [10, 1_000, ORGS] {
        beside(&config, orgs).await?;
    }
    bounded(&config).await?;
    refusals(config).await?;
    postgres.stop().await?;
    fs::remove_dir_all(dir)?;
    Ok(())
}

async fn in_memory() -> anyhow::Result<()> {
    const BUILT: u16 = 10_000;
    let (roles, asked) = (roles(), PERMISSIONS[0].parse::<Permission>().unwrap_or_else(|()| unreachable!()));
    let (mut build, mut explain, mut first) = (Took(Vec::new()), Took(Vec::new()), Took(Vec::new()));
    let mut kept = Vec::new();
    let before = resident();
    for _ in 0..BUILT {
        let sets = roles.iter().map(|role| vec![role.name.clone()]).collect();
        let start = Instant::now();
        let policy = OrgPolicy::build(OrgId::new(), 1, &roles, sets).await?;
        build.0.push(start.elapsed());
        kept.push(policy);
    }
    let each = (resident() - before) / f64::from(BUILT);
    for policy in &kept[..500] {
        let start = Instant::now();
        black_box(policy.explain(&["role-19".to_owned()], asked));
        explain.0.push(start.elapsed());
        let start = Instant::now();
        black_box(policy.granted_by(asked));
        first.0.push(start.elapsed());
    }
    println!(
        "an org's policy, {ROLES} roles: build {}; {each:.0} bytes resident each of {BUILT}",
        build.said()
    );
    println!("one question to Casbin, with its explanation: {}", explain.said());
    println!(
        "which of all {} roles hold a permission, asked for the first time: {}",
        ROLES + 5,
        first.said()
    );
    Ok(())
}

/// What it would be to keep an enforcer per org.
async fn plain_casbin() -> anyhow::Result<()> {
    const BUILT: u16 = 300;
    let (mut build, mut decide) = (Took(Vec::new()), Took(Vec::new()));
    let mut kept = Vec::new();
    let before = resident();
    for _ in 0..BUILT {
        let start = Instant::now();
        let model = DefaultModel::from_str(MODEL).await?;
        let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
        let (mut rules, mut links) = (Vec::new(), Vec::new());
        for line in insula::authz::ROLES.lines() {
            match line.split(',').map(str::trim).collect::<Vec<_>>()[..] {
                ["p", role, object, action, effect] => {
                    rules.push([role, "here", object, action, effect].map(str::to_owned).to_vec());
                }
                ["g", role, other] => links.push([role, other, "here"].map(str::to_owned).to_vec()),
                _ => {}
            }
        }
        for role in roles() {
            for (permissions, effect) in [(role.permissions, "allow"), (role.denied, "deny")] {
                for (object, action) in permissions.iter().filter_map(|text| text.split_once(':')) {
                    rules.push([&role.name, "here", object, action, effect].map(str::to_owned).to_vec());
                }
            }
            links.extend(
                role.inherits.into_iter().map(|other| vec![role.name.clone(), other, "here".to_owned()]),
            );
        }
        enforcer.add_policies(rules).await?;
        enforcer.add_grouping_policies(links).await?;
        build.0.push(start.elapsed());
        let start = Instant::now();
        black_box(enforcer.enforce(("role-19", "here", "categories", "create"))?);
        decide.0.push(start.elapsed());
        kept.push(enforcer);
    }
    let each = (resident() - before) / f64::from(BUILT);
    // What is given back would be taken again, and what takes it would seem to weigh nothing.
    std::mem::forget(kept);
    println!(
        "for comparison, a plain enforcer: build {}; {each:.0} bytes each; enforce {}",
        build.said(),
        decide.said()
    );
    Ok(())
}

async fn filled(postgres: &Postgres) -> anyhow::Result<Config> {
    let admin = SecretString::from(postgres.superuser_url());
    bootstrap::bootstrap(&admin, "insula", &Passwords::default(), PATIENCE).await?;
    bootstrap::migrate(&postgres.url("insula_owner", "insula").into(), PATIENCE).await?;
    let start = Instant::now();
    let mut superuser = PgConnection::connect(&postgres.url("postgres", "insula")).await?;
    superuser.execute("set session_replication_role = replica").await?;
    let base = org(0).uuid();
    let id = format!("(left('{base}', 24) || lpad(to_hex(i), 12, '0'))::uuid");
    let each = format!("from generate_series(0, {}) i", ORGS - 1);
    let mut statements = vec![
        format!("insert into orgs (id, slug, name) select {id}, 'org' || i, 'Org' {each}"),
        format!("insert into org_control (org_id, tier) select {id}, 'enterprise' {each}"),
        format!("insert into users (id, email, name) select {id}, i || '@bench.example', 'B' {each}"),
        format!(
            "insert into members (org_id, user_id, email, name, roles)
                 select {id}, {id}, i || '@bench.example', 'B', array['role-19'] {each}"
        ),
    ];
    for (at, role) in roles().iter().enumerate() {
        let texts = |texts: &[String]| format!("'{{{}}}'::text[]", texts.join(","));
        statements.push(format!(
            "insert into roles (org_id, id, name, inherits, permissions, denied)
             select {id}, md5('{at} ' || i)::uuid, '{}', {}, {}, {} {each}",
            role.name,
            texts(&role.inherits),
            texts(&role.permissions),
            texts(&role.denied)
        ));
    }
    // A member for each other role of a fifth of the orgs would be 2 million rows more: four members each will do.
    for at in [3, 7, 11, 15] {
        statements.push(format!(
            "insert into members (org_id, user_id, email, name, roles)
             select {id}, md5('m{at} ' || i)::uuid, '{at}@bench.example', 'B', array['role-{at}'] {each}"
        ));
    }
    let generous =
        r#"[{"name": "user", "scope": "user", "quota": 4000000, "window_seconds": 60, "burst": 4000000}]"#;
    statements.push(format!("update tiers set policies = '{generous}' where slug = 'enterprise'"));
    statements.push("vacuum analyze".to_owned());
    for statement in statements {
        superuser.execute(AssertSqlSafe(statement)).await?;
    }
    println!("filled {ORGS} orgs with {ROLES} roles each in {:.0} s", start.elapsed().as_secs_f64());
    Ok(Config::with(&format!(
        "[database]\napp_url = {:?}\nplatform_url = {:?}\n[auth]\nmaster_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n[storage]\nfolder = \"{}\"",
        postgres.url("insula_app", "insula"),
        postgres.url("insula_platform", "insula"),
        std::env::temp_dir().join("insula-bench-files").display(),
    ))?)
}

const CALLS: u32 = 300_000;

async fn decided(authz: &Authz, number: u32, asked: Permission) -> anyhow::Result<bool> {
    Ok(authz.standing(org(number), member(number)).await?.is_some_and(|standing| standing.may(asked)))
}

/// What a decision costs on a replica that remembers so many orgs.
async fn beside(config: &Config, orgs: u32) -> anyhow::Result<()> {
    let pools = Pools::open(&config.database).await?;
    let authz = Authz::new(pools.clone(), Clock::frozen(), 4 << 30);
    let asked = "products:read".parse::<Permission>().unwrap_or_else(|()| unreachable!());
    let (mut dice, before) = (Dice(88_172_645_463_325_252), resident());

    let (mut policy, mut member) = (Took(Vec::new()), Took(Vec::new()));
    decided(&authz, 0, asked).await?;
    for number in (1..orgs).take(500) {
        let start = Instant::now();
        authz.policy(org(number)).await?;
        policy.0.push(start.elapsed());
        let start = Instant::now();
        decided(&authz, number, asked).await?;
        member.0.push(start.elapsed());
    }
    let start = Instant::now();
    let mut warm = stream::iter(0..orgs).map(|number| decided(&authz, number, asked)).buffer_unordered(8);
    while let Some(decision) = warm.next().await {
        anyhow::ensure!(decision?);
    }
    drop(warm);
    let (count, weight) = authz.size();
    let rate = f64::from(orgs) / start.elapsed().as_secs_f64();
    println!(
        "{orgs} orgs remembered ({count}, {} bytes each by estimate, {:.0} resident with a member each):",
        weight / count,
        (resident() - before) / f64::from(orgs)
    );
    println!(
        "    cold: policy {}; then member and first decision {}; {rate:.0} orgs/s by eight",
        policy.said(),
        member.said()
    );

    for (what, traffic) in [("ten orgs", 10), ("a thousand orgs", 1_000), ("all orgs alike", orgs)] {
        if traffic > orgs {
            continue;
        }
        let chosen: Vec<u32> = (0..traffic).map(|at| at * (orgs / traffic)).collect();
        let mut rounds: Vec<f64> = Vec::new();
        for _ in 0..9 {
            let start = Instant::now();
            for _ in 0..CALLS {
                assert!(black_box(decided(&authz, chosen[dice.roll(chosen.len())], asked).await?));
            }
            rounds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
        rounds.sort_by(f64::total_cmp);
        println!("    warm, traffic of {what}: {:.0} ns a decision", rounds[1]);
    }
    std::mem::forget(authz);
    pools.close().await;
    Ok(())
}

/// All orgs on a replica with the memory that is the default.
async fn bounded(config: &Config) -> anyhow::Result<()> {
    let pools = Pools::open(&config.database).await?;
    let authz = Authz::new(pools.clone(), Clock::frozen(), config.authz.policies_bytes());
    let asked = "products:read".parse::<Permission>().unwrap_or_else(|()| unreachable!());
    for what in ["by Zipf's law", "alike"] {
        let mut dice = Dice(88_172_645_463_325_252);
        let (mut hits, mut misses) = (0_u32, Took(Vec::new()));
        for call in 0..80_000 {
            let at = if what == "alike" { dice.roll(ORGS as usize) } else { dice.favour(ORGS as usize) };
            let start = Instant::now();
            decided(&authz, u32::try_from(at)?, asked).await?;
            let took = start.elapsed();
            if call < 40_000 {
                continue;
            }
            // Nothing is asked of Postgres in so short a time.
            if took < Duration::from_micros(60) { hits += 1 } else { misses.0.push(took) }
        }
        let (count, weight) = authz.size();
        println!(
            "{ORGS} orgs asked for {what} in {} MiB: {count} policies of {weight} bytes remembered, {:.1}% hits, a miss {}",
            config.authz.policies_mebibytes,
            f64::from(hits) / 400.0,
            misses.said()
        );
    }
    pools.close().await;
    Ok(())
}

/// A flood of refusals, down the whole stack but for the network.
async fn refusals(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (state, _listening) = AppState::open(config, Clock::system(), stop.clone()).await?;
    let bearer = Bearer {
        user: member(0),
        org: org(0),
        session: SessionId::new(),
        signed_in_at: Clock::system().now().unix_timestamp(),
        mfa: false,
        email_verified: true,
    };
    let token = state.tokens.issue(&bearer)?;
    let router = router::router(&state);
    let ask = async |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = request.extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap_or_default()).await;
        answer.map_or(0, |answer| answer.status().as_u16())
    };
    for round in 0..6 {
        let (path, expected) =
            if round % 2 == 0 { ("/api/v1/api-keys", 403) } else { ("/api/v1/limits", 200) };
        let (start, before) = (Instant::now(), resident());
        let mut others = 0;
        for _ in 0..20_000 {
            others += u32::from(ask(path).await != expected);
        }
        println!(
            "20,000 of {path}: {:.1} us each, memory {:+.1} MiB, {} receipts in memory; {others} were answered otherwise than {expected}",
            start.elapsed().as_secs_f64() * 50.0,
            (resident() - before) / f64::from(1 << 20),
            state.decisions.len()
        );
    }
    let start = Instant::now();
    let written = state.decisions.flush(&state.platform).await?;
    println!("{written} receipts written down in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let sample = state.decisions.clone();
    let problem =
        insula::error::Problem::new(axum::http::StatusCode::FORBIDDEN, "permission_denied", "x".repeat(200))
            .with("permission", "api_keys:read")
            .with("your_roles", vec!["role-19"]);
    let start = Instant::now();
    for _ in 0..100_000 {
        let at = Clock::system().now();
        let refusal =
            insula::decisions::Refusal::of(&problem, org(0), ("user", org(0).uuid()), RequestId::new(), at);
        if let Some(refusal) = refusal {
            sample.keep(refusal);
        }
    }
    println!(
        "a receipt: {:.0} ns; {} in memory after 100,000 more",
        start.elapsed().as_secs_f64() * 1e4,
        sample.len()
    );
    stop.cancel();
    state.pools.close().await;
    Ok(())
}
