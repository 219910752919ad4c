//! `insula dev`: everything on one machine, with three organisations to try it on.

mod demo;
mod report;
mod servers;

use crate::{
    app::{self, App},
    clock::Clock,
    config::{Config, LogFormat},
    telemetry,
};
use anyhow::Context as _;
use ipnet::{IpNet, Ipv4Net};
use report::step;
use secrecy::ExposeSecret as _;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where the private database, its key and demo.json are kept
    #[arg(long, default_value = ".insula")]
    data_dir: PathBuf,
    /// Throw away what an earlier run left
    #[arg(long)]
    fresh: bool,
}

pub async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    let Options { port, data_dir, fresh } = options;
    config.log.format = LogFormat::Text;
    "warn,insula::dev=info".clone_into(&mut config.log.filter);
    let _telemetry = telemetry::init_with_traces(&config.log, &config.traces)?;
    let stop = app::stopped_by_signal()?;

    let demo_file = data_dir.join("demo.json");
    std::fs::create_dir_all(&data_dir).with_context(|| format!("can't make {}", data_dir.display()))?;

    config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.http.public_url = format!("http://localhost:{port}");
    // Everybody here comes from one address.
    config.limits.ip.quota_per_minute = 6_000;
    config.limits.ip.burst = 3_000;
    config.decisions.sample = 1.0;
    config.storage.folder = data_dir.join("files");
    // Webhooks reach programs on this machine.
    config.webhooks.allowed_networks = vec![
        IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).trunc()),
    ];
    config.usage.journal = data_dir.join("usage");
    show_mails(&mut config, &data_dir);
    let work = async {
        let servers = servers::start(&mut config, &data_dir, fresh).await?;
        // Only now are we sure that nobody else is at home here.
        let earlier = demo::Demo::take(&demo_file, fresh)?;
        let app = step("starting the API", App::build(config, Clock::system())).await?;
        let demo = step("making the demo organisations", demo::seed(app.state(), earlier)).await?;
        anyhow::Ok((servers, app, demo))
    };
    let (servers, app, demo) = tokio::select! {
        done = work => done?,
        // What was started stops as it is dropped.
        () = stop.cancelled() => return Ok(()),
    };

    let serving = tokio::spawn(app.run_until_stopped(stop.clone()));
    demo.write(&demo_file)?;
    report::welcome(&demo, &demo_file);
    let served = serving.await?;
    println!("  stopping");
    servers.stop().await?;
    served
}

/// Into files, and onto a page, unless there is a server to send them by.
fn show_mails(config: &mut Config, data_dir: &Path) {
    let mail = &mut config.mail;
    if mail.smtp_url.expose_secret().is_empty() && mail.folder.as_os_str().is_empty() {
        mail.folder = data_dir.join("mail");
    }
    config.dev.mail_page = true;
}
