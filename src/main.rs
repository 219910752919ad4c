//! The command line: one binary for serving, for the database, and for a developer's first minute.

use clap::{Parser, Subcommand};
use insula::{
    app::{self, App},
    bootstrap,
    clock::Clock,
    commands::{self, audit::Audit, bootstrap::Bootstrap, keys::Keys, policy::Policy, tiers::Tiers},
    config::{self, Config, Unusable},
    dev,
    policy_check::Whose,
    router, telemetry,
};
use std::{path::PathBuf, process::ExitCode, time::Duration};

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
    /// Do jobs and deliver webhooks, and serve nothing
    Worker,
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
    Audit(Audit),
    /// Look after the policy: what roles may do
    #[command(subcommand)]
    Policy(Policy),
    /// Keep tiers in a file: write it, compare it, put it in force
    #[command(subcommand)]
    Tiers(Tiers),
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

const UNUSABLE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    // One provider for every TLS connection; refused only when one is set already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let cli = Cli::parse();
    // What `tiers plan` ends with where there are changes must mean that alone.
    let unusable = if matches!(cli.command, Command::Tiers(_)) { 1 } else { UNUSABLE };
    match Box::pin(run(cli)).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("insula: {error:#}");
            ExitCode::from(if error.is::<Unusable>() { unusable } else { 1 })
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
        Command::Dev(options) => Box::pin(dev::run(config, options)).await?,
        Command::Serve => {
            config.check_for_serving()?;
            let _telemetry = telemetry::init_with_traces(&config.log, &config.traces)?;
            let stop = app::stopped_by_signal()?;
            let app = tokio::select! {
                app = App::build(config, Clock::system()) => app?,
                () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
            };
            tracing::info!(address = %app.address()?, "serving");
            app.run_until_stopped(stop).await?;
        }
        Command::Worker => {
            config.check_for_serving()?;
            let _telemetry = telemetry::init_with_traces(&config.log, &config.traces)?;
            Box::pin(app::work(config, Clock::system(), app::stopped_by_signal()?)).await?;
        }
        Command::Migrate => {
            config.check_for_migrating()?;
            telemetry::init(&config.log)?;
            bootstrap::migrate(&config.database.owner_url, patience).await?;
            println!("The schema is up to date.");
        }
        Command::Bootstrap(options) => {
            telemetry::init(&config.log)?;
            commands::bootstrap::run(options, patience).await?;
        }
        Command::Operator { email } => {
            config.check_for_serving()?;
            telemetry::init(&config.log)?;
            commands::operator::run(&config, &email).await?;
        }
        Command::Keys(command) => {
            config.check_for_serving()?;
            telemetry::init(&config.log)?;
            commands::keys::run(&config, command).await?;
        }
        Command::Audit(Audit::Verify { org }) => {
            config.check_for_reading()?;
            telemetry::init(&config.log)?;
            let sound = commands::audit::verify(&config, org.as_deref()).await?;
            return Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Policy(Policy::Check { org, all, dir }) => {
            let whose = if all { Some(Whose::All) } else { org.map(Whose::One) };
            return commands::policy::check(&config, whose, dir.as_deref()).await;
        }
        Command::Tiers(command) => {
            config.check_for_reading()?;
            telemetry::init(&config.log)?;
            return commands::tiers::run(&config, command).await;
        }
        Command::Openapi => println!("{}", router::document(&config.http.public_url)?),
        Command::Config => {}
        Command::Health { url } => {
            let address = url.unwrap_or(format!("127.0.0.1:{}", config.http.listen.port()));
            return Ok(if commands::health::ready(&address).await {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
