//! The way to Redis: one connection, two scripts, and a time after which nobody waits for an answer.

use super::{
    births::Births,
    breaker::{Breaker, Line},
    keys,
    replicas::SILENCE,
    wire::{Server, Wire},
};
use crate::{config, telemetry};
use anyhow::Context as _;
use redis::{FromRedisValue, Script, ScriptInvocation};
use std::time::Duration;
use tokio::time::timeout;
use tracing::Instrument as _;

/// For what no request waits for.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Link {
    server: Server,
    births: Births,
    /// How long whoever asks for units waits.
    patience: Duration,
    lease: Script,
    beat: Script,
    breaker: Breaker<Wire>,
}

/// What a heartbeat brings.
pub(super) struct Beat {
    pub replicas: u32,
    /// In microseconds of its own time.
    pub born: u64,
}

impl Link {
    pub fn new(config: &config::Redis) -> anyhow::Result<Self> {
        let server = Server::new(config, PATIENCE)?;
        Ok(Self {
            births: if server.is_cluster() { Births::of_a_cluster() } else { Births::One },
            server,
            patience: Duration::from_millis(config.timeout_milliseconds),
            lease: Script::new(include_str!("lease.lua")),
            beat: Script::new(include_str!("beat.lua")),
            breaker: Breaker::open(),
        })
    }

    pub fn births(&self) -> &Births {
        &self.births
    }

    /// The first Redis of the installation is new as a whole: what is missing in it later has been lost.
    pub async fn tell_births(&self, connection: &mut Wire, born: u64) -> anyhow::Result<()> {
        for key in self.births.of_slots() {
            let mut call = redis::cmd("SET");
            call.arg(key).arg(born).arg("NX");
            within(PATIENCE, call.query_async::<()>(connection)).await?;
        }
        Ok(())
    }

    /// A call that leases, to be filled in.
    pub fn leasing(&self) -> ScriptInvocation<'_> {
        self.lease.prepare_invoke()
    }

    /// `None` when Redis does not answer in time, and at once while it is known not to. What a call that was given up
    /// has charged stays charged.
    pub async fn ask<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let mut line = self.breaker.line()?;
        let asked = within(self.patience, call.invoke_async(&mut line.connection));
        match asked.instrument(telemetry::redis("EVALSHA")).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.trip(&line, &error);
                None
            }
        }
    }

    /// Says that `replica` lives, on a new connection where there is none; that is not used by anybody else before
    /// [`mended`](Self::mended) is called with it.
    pub async fn beat(&self, replica: &str) -> anyhow::Result<(Beat, Option<Wire>)> {
        let line = self.breaker.line();
        let mut connection = match &line {
            Some(line) => line.connection.clone(),
            None => self.connect().await?,
        };
        let mut call = self.beat.key(keys::REPLICAS);
        call.key(self.births.beside(keys::REPLICAS)).arg(replica).arg(SILENCE.as_millis());
        match within(self.patience, call.invoke_async(&mut connection)).await {
            Ok((replicas, born)) => Ok((Beat { replicas, born }, line.is_none().then_some(connection))),
            Err(error) => {
                if let Some(line) = line {
                    self.trip(&line, &error);
                }
                Err(error)
            }
        }
    }

    pub fn mended(&self, connection: Wire) {
        self.breaker.close(connection);
    }

    pub fn is_up(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Returns once a call has failed since the last time.
    pub async fn tripped(&self) {
        self.breaker.tripped().await;
    }

    /// The others need not wait until this replica is silent for long enough.
    pub async fn leave(&self, replica: &str) {
        if let Some(mut line) = self.breaker.line() {
            let mut call = redis::cmd("ZREM");
            call.arg(keys::REPLICAS).arg(replica);
            within(PATIENCE, call.query_async::<()>(&mut line.connection)).await.ok();
        }
    }

    async fn connect(&self) -> anyhow::Result<Wire> {
        // Boxed: it is large, rare, and part of every future that opens the house.
        within(PATIENCE, Box::pin(self.server.connect())).await
    }

    fn trip(&self, line: &Line<Wire>, error: &anyhow::Error) {
        if self.breaker.trip(line) {
            tracing::warn!("Redis: {error:#}; until it answers again, this replica limits to its share");
        }
    }
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = redis::RedisResult<T>>,
) -> anyhow::Result<T> {
    let answer = timeout(patience, answer).await;
    Ok(answer.with_context(|| format!("no answer in {} ms", patience.as_millis()))??)
}
