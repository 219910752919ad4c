//! The whole: built from a configuration, run until told to stop, and stopped without dropping a request.

use crate::{
    api::{exports, imports},
    clock::Clock,
    config::Config,
    jobs::Handlers,
    mail::Post,
    router::router,
    state::AppState,
    worker::{self, WebhookClient},
};
use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use std::{net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long connections may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(3);

pub struct App {
    state: AppState,
    listener: TcpListener,
    /// Where metrics are told, if anywhere.
    metrics: Option<SocketAddr>,
    /// Cancelled when the last request has been answered.
    background: CancellationToken,
    tasks: TaskTracker,
}

impl App {
    /// Connects, checks, and starts to listen; nothing is answered yet.
    pub async fn build(config: Config, clock: Clock) -> anyhow::Result<Self> {
        // Before the database is waited for: a port that is taken is told of at once.
        let listener = bind(config.http.listen).await?;
        let metrics = match config.metrics.listen {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        let post = Post::open(&config)?;
        let webhooks = WebhookClient::open(&config.webhooks)?;
        let background = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (state, listening) = Box::pin(AppState::open(config, clock, background.clone())).await?;
        state.meter.open(&state.platform).await?;
        tasks.spawn(listening);
        tasks.spawn(worker::sweep(state.clone(), background.clone()));
        tasks.spawn(worker::keep_limits(state.clone(), background.clone()));
        tasks.spawn(worker::keep_uses(state.clone(), background.clone()));
        tasks.spawn(worker::keep_usage(state.clone(), background.clone()));
        tasks.spawn(worker::keep_usage_told(state.clone(), background.clone()));
        tasks.spawn(worker::keep_accuracy(state.clone(), background.clone()));
        tasks.spawn(worker::keep_key_uses(state.clone(), background.clone()));
        tasks.spawn(worker::keep_listeners_told(state.clone(), background.clone()));
        tasks.spawn(worker::keep_places_told(state.clone(), background.clone()));
        tasks.spawn(worker::keep_events_numbered(state.clone(), background.clone()));
        tasks.spawn(worker::keep_audit_sealed(state.clone(), background.clone()));
        tasks.spawn(worker::send_mail(state.clone(), post, background.clone()));
        tasks.spawn(worker::keep_decisions(state.clone(), background.clone()));
        tasks.spawn(worker::keep_recorder(state.clone(), background.clone()));
        tasks.spawn(worker::run_simulations(state.clone(), background.clone()));
        tasks.spawn(worker::keep_schedules(state.clone(), background.clone()));
        let workers = state.config.jobs.workers;
        tasks.spawn(worker::run_jobs(state.clone(), handlers(&state), workers, background.clone()));
        tasks.spawn(worker::deliver_webhooks(state.clone(), webhooks, background.clone()));
        if let Some(metrics) = metrics {
            tasks.spawn(worker::serve_metrics(state.clone(), metrics, background.clone()));
        }
        tasks.close();
        Ok(Self { state, listener, metrics: metrics_address, background, tasks })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where metrics are told, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Serves until `stop`, then finishes what is in flight, for as long as the configuration allows.
    pub async fn run_until_stopped(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { state, listener, background, tasks, .. } = self;
        let patience = Duration::from_secs(state.config.http.shutdown_seconds);
        let service = router(&state).into_make_service_with_connect_info::<SocketAddr>();
        let (ending, closing) = (stop.clone(), state.streams.closing.clone());
        // A word of goodbye comes first, for those who take that.
        let unread = state.config.http.unread() + FAREWELL;
        let listener = listener.tap_io(move |socket| give_up_unread(socket, unread));
        let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
            ending.cancelled().await;
            closing.cancel();
        });
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            served = serving => served?,
            () = overdue => tracing::warn!("requests were still in flight after {} s", patience.as_secs()),
        }
        // Sockets are no requests any more, and say goodbye by themselves.
        if tokio::time::timeout(FAREWELL, state.streams.ended()).await.is_err() {
            tracing::warn!("streams were still open");
        }
        background.cancel();
        // What is still stuck in a query is not waited for any longer.
        let farewell = async {
            // Some have a last word to write down.
            tasks.wait().await;
            state.pools.close().await;
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("connections were still in use");
        }
        Ok(())
    }
}

/// Does jobs and delivers webhooks until `stop`, and serves nothing; what is under way then is given back.
pub async fn work(config: Config, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    let webhooks = WebhookClient::open(&config.webhooks)?;
    let opening = AppState::open(config, clock, stop.clone());
    let (state, _listening) = tokio::select! {
        opened = opening => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    let workers = state.config.jobs.workers;
    tracing::info!(workers, webhooks = state.config.webhooks.in_flight, "doing jobs and delivering webhooks");
    tokio::join!(
        worker::run_jobs(state.clone(), handlers(&state), workers, stop.clone()),
        worker::keep_schedules(state.clone(), stop.clone()),
        worker::deliver_webhooks(state.clone(), webhooks, stop.clone()),
    );
    if tokio::time::timeout(FAREWELL, state.pools.close()).await.is_err() {
        tracing::warn!("connections were still in use");
    }
    Ok(())
}

/// Every kind of job that there is, whether it is done beside serving or apart.
pub fn handlers(state: &AppState) -> Handlers {
    imports::handlers(exports::handlers(Handlers::default(), state), state)
}

/// Has the system end a connection whose peer leaves what was sent unread, or is gone without a word: for either it would
/// be kept, with what it is still to get, for as long as the system tries (`TCP_USER_TIMEOUT`, RFC 5482).
#[cfg(target_os = "linux")]
fn give_up_unread(socket: &TcpStream, unread: Duration) {
    let unread = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(socket, unread) {
        tracing::warn!(%error, "a connection that is not read may be kept for long");
    }
}

/// Elsewhere there is no word for it: such connections stay until the system gives up.
#[cfg(not(target_os = "linux"))]
fn give_up_unread(_: &TcpStream, _: Duration) {}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))
}

/// Cancelled by Ctrl-C or SIGTERM.
pub fn stopped_by_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancel.cancel();
    });
    Ok(stop)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt as _, net::TcpSocket, time::timeout};

    #[tokio::test]
    async fn a_connection_whose_peer_reads_nothing_is_given_up() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let narrow = TcpSocket::new_v4().unwrap();
        narrow.set_recv_buffer_size(4096).unwrap();
        let _peer = narrow.connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        give_up_unread(&socket, Duration::from_millis(500));
        let chunk = vec![0; 1 << 16];
        let sending = async { while socket.write_all(&chunk).await.is_ok() {} };
        timeout(Duration::from_secs(20), sending).await.expect("it is not waited for");
    }
}
