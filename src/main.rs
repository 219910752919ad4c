//! The command line: one binary for serving, for the database, and for a developer's first minute.

use anyhow::{Context as _, anyhow};
use clap::{Args, Parser, Subcommand};
use insula::{
    app::{self, App},
    authn::password::Hasher,
    bootstrap::{self, Passwords},
    clock::Clock,
    config::{self, Config, Unusable},
    db::Pools,
    dev,
    error::Error,
    people,
    policy_check::{self, Whose},
    router, telemetry,
    tenancy::{PLATFORM, PlatformDb},
};
use secrecy::SecretString;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
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
    /// Look after the policy: what roles may do
    Policy {
        #[command(subcommand)]
        command: Policy,
    },
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
enum Policy {
    /// Tell what is wrong with the policy files and with the roles of organisations; a line each
    Check {
        /// Of one organisation too, by slug or id
        #[arg(long)]
        org: Option<String>,
        /// Of every organisation too
        #[arg(long, conflicts_with = "org")]
        all: bool,
        /// The folder with model.conf and roles.csv; those that this program was built with where absent
        #[arg(long)]
        dir: Option<PathBuf>,
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
        Command::Policy { command: Policy::Check { org, all, dir } } => {
            let whose = if all { Some(Whose::All) } else { org.map(Whose::One) };
            return check_policy(&config, whose, dir.as_deref()).await;
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

async fn check_policy(config: &Config, whose: Option<Whose>, dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut found = policy_check::of_files(dir)?;
    let mut looked_at = "the policy files".to_owned();
    if let Some(whose) = whose {
        config.check_for_serving()?;
        telemetry::init(&config.log)?;
        let pools = Pools::open(&config.database).await?;
        let (orgs, faults) = policy_check::of_orgs(&pools, &whose).await.map_err(|error| match error {
            Error::NotFound => anyhow!("there is no such organisation"),
            error => error.into(),
        })?;
        found.extend(faults);
        looked_at = format!("{looked_at} and {orgs} organisations");
    }
    if found.is_empty() {
        println!("Nothing is wrong with {looked_at}.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", found.join("\n"));
    Ok(ExitCode::FAILURE)
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
