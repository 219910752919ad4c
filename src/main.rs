//! The command line: one binary for serving, for the database, and for a developer's first minute.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use insula::{
    app::{self, App},
    audit,
    authn::{
        keyring::{Keyring, Rotation},
        password::Hasher,
    },
    bootstrap::{self, Passwords},
    clock::Clock,
    config::{self, Config, Unusable},
    db::Pools,
    dev, people, router, telemetry,
    tenancy::{PLATFORM, PlatformDb, gate},
    trail::Trail,
    vault::Vault,
};
use secrecy::SecretString;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use time::format_description::well_known::Rfc3339;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[derive(Parser)]
#[command(name = "insula", version, about = "A multi-tenant SaaS API platform with per-tier rate limits")]
struct Cli {
    /// Settings in TOML; the environment (INSULA_<SECTION>__<KEY>) goes over them.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine, with demo organisations, for a look around
    Dev(dev::Options),
    /// Serve the API
    Serve,
    /// Bring the schema up to date, as its owner
    Migrate,
    /// Make the roles and the database on a server that you have
    Bootstrap(Bootstrap),
    /// Make a person an operator of the platform; their password is printed once
    Operator { email: String },
    /// See and rotate the keys that access tokens are signed with
    #[command(subcommand)]
    Keys(Keys),
    /// What is kept of who did what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print the OpenAPI document
    Openapi,
    /// Print every setting with its default
    Config,
    /// Ask a server whether it is ready; for container health checks
    Health {
        /// The server; this machine's, on the configured port, where absent
        #[arg(long)]
        url: Option<String>,
    },
}

#[derive(Subcommand)]
enum Keys {
    /// Print the current key, the next one, and previous ones
    List,
    /// Sign with the next key from here on; tokens signed before are good until they expire
    Rotate {
        /// Even if services that verify our tokens may not know the next key yet
        #[arg(long)]
        force: bool,
        /// A key has leaked: drop those used so far, and every access token with them
        #[arg(long)]
        revoke: bool,
        /// Why, for those who ask later
        #[arg(long, default_value = "from the command line")]
        reason: String,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Walk the hash chain of each organisation, and fail where one is broken
    Verify {
        /// Of this one alone, by its id or slug
        #[arg(long)]
        org: Option<String>,
    },
}

#[derive(Args)]
struct Bootstrap {
    /// An administrator's address, like `postgres://postgres:..@host/postgres`
    #[arg(long)]
    admin_url: SecretString,
    #[arg(long, default_value = "insula")]
    database: String,
    #[arg(long, env = "INSULA_BOOTSTRAP__OWNER_PASSWORD", hide_env_values = true)]
    owner_password: Option<SecretString>,
    #[arg(long, env = "INSULA_BOOTSTRAP__APP_PASSWORD", hide_env_values = true)]
    app_password: Option<SecretString>,
    #[arg(long, env = "INSULA_BOOTSTRAP__PLATFORM_PASSWORD", hide_env_values = true)]
    platform_password: Option<SecretString>,
}

const UNUSABLE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    // One provider for every TLS connection; refused only when one is set already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("insula: {error:#}");
            ExitCode::from(if error.is::<Unusable>() { UNUSABLE } else { 1 })
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if matches!(cli.command, Command::Config) {
        print!("{}", config::DEFAULTS);
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(cli.config.as_deref())?;
    let patience = Duration::from_secs(config.database.connect_seconds);
    match cli.command {
        Command::Dev(options) => dev::run(config, options).await?,
        Command::Serve => {
            config.check_for_serving()?;
            telemetry::init(&config.log)?;
            let stop = app::stopped_by_signal()?;
            let app = tokio::select! {
                app = App::build(config, Clock::system()) => app?,
                () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
            };
            tracing::info!(address = %app.address()?, "serving");
            app.run_until_stopped(stop).await?;
        }
        Command::Migrate => {
            config.check_for_migrating()?;
            telemetry::init(&config.log)?;
            bootstrap::migrate(&config.database.owner_url, patience).await?;
            println!("The schema is up to date.");
        }
        Command::Bootstrap(options) => {
            telemetry::init(&config.log)?;
            let Bootstrap { admin_url, database, owner_password, app_password, platform_password } = options;
            let passwords =
                Passwords { owner: owner_password, app: app_password, platform: platform_password };
            bootstrap::bootstrap(&admin_url, &database, &passwords, patience).await?;
            println!("The roles and the database {database} are there. Next: `insula migrate`.");
        }
        Command::Operator { email } => {
            config.check_for_serving()?;
            telemetry::init(&config.log)?;
            let password = make_operator(&config, &email).await?;
            println!("{email} is an operator now. Password, shown this once: {password}");
        }
        Command::Keys(command) => {
            config.check_for_serving()?;
            telemetry::init(&config.log)?;
            keys(&config, command).await?;
        }
        Command::Audit(AuditCommand::Verify { org }) => {
            config.check_for_serving()?;
            telemetry::init(&config.log)?;
            let sound = verify_audit(&config, org.as_deref()).await?;
            return Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Openapi => println!("{}", router::document(&config.http.public_url)?),
        Command::Config => {}
        Command::Health { url } => {
            let address = url.unwrap_or(format!("127.0.0.1:{}", config.http.listen.port()));
            return Ok(if healthy(&address).await { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn make_operator(config: &Config, email: &str) -> anyhow::Result<String> {
    let pools = Pools::open(&config.database).await?;
    let platform = PlatformDb::new(pools);
    let hasher = Hasher::new(1, 1)?;
    let password = insula::authn::password::generate();
    let user = people::create_user(&platform, &hasher, &email.to_lowercase(), email, password.clone().into())
        .await
        .context("making the user")?;
    people::set_member(&platform, PLATFORM, user, &["operator"]).await.context("making the operator")?;
    Ok(password)
}

async fn keys(config: &Config, command: Keys) -> anyhow::Result<()> {
    let (pools, clock) = (Pools::open(&config.database).await?, Clock::system());
    if let Keys::Rotate { force, revoke, reason } = command {
        let (platform, vault) = (PlatformDb::new(pools.clone()), Vault::new(&config.master_key()?)?);
        let lifetime = Duration::from_secs(config.auth.access_seconds.into());
        let keyring = Keyring::open(pools.clone(), platform, vault, &clock, lifetime).await?;
        let trail = Trail::of_the_house(clock.now());
        keyring.rotate(&Rotation { force, revoke, reason }, None, &trail).await?;
    }
    for key in gate::signing_keys(&pools).await? {
        let since = key.retired_at.or(key.activated_at).unwrap_or(key.created_at);
        println!("{}  {:<8}  since {}", key.kid, key.state.as_str(), since.format(&Rfc3339)?);
    }
    Ok(())
}

/// A line for each org that has an audit, and one for each break of its chain; whether there was none.
async fn verify_audit(config: &Config, org: Option<&str>) -> anyhow::Result<bool> {
    let platform = PlatformDb::new(Pools::open(&config.database).await?);
    let only = match org {
        None => None,
        Some(org) => {
            Some(audit::find(&platform, org).await.with_context(|| format!("the organisation {org:?}"))?)
        }
    };
    let (mut orgs, mut broken) = (0_u64, 0_u64);
    let mut next = match only {
        None => audit::next_org(&platform, None).await?,
        only => only,
    };
    while let Some(org) = next {
        let mut told = 0;
        let found = audit::verify(&platform, org, |found| {
            told += 1;
            if told <= TOLD {
                println!("{org} BROKEN: {found}");
            }
        })
        .await
        .with_context(|| format!("walking the chain of {org}"))?;
        if found.breaks > TOLD {
            println!("{org} BROKEN: and in {} more places", found.breaks - TOLD);
        }
        println!("{}", account_of(&found, Clock::system().now()));
        orgs += 1;
        broken += u64::from(found.breaks > 0);
        next = if only.is_some() { None } else { audit::next_org(&platform, Some(org)).await? };
    }
    println!("{orgs} organisations, {broken} with a broken chain.");
    Ok(broken == 0)
}

/// Breaks told of one org, of a chain that may be broken everywhere.
const TOLD: u64 = 20;

fn account_of(found: &audit::Verified, now: time::OffsetDateTime) -> String {
    let audit::Verified { org, slug, sealed, head, unsealed, oldest_unsealed, .. } = found;
    let since = oldest_unsealed
        .map_or(String::new(), |at| format!(", the oldest for {} s", (now - at).whole_seconds().max(0)));
    format!("{org} {slug}: {sealed} events sealed, head {head}, {unsealed} not sealed yet{since}")
}

/// One line of one answer needs no HTTP client.
async fn healthy(address: &str) -> bool {
    let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let ask = async {
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(3), ask).await, Ok(Ok(true)))
}
