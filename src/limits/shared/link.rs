//! The way to Redis: one connection, two scripts, and a time after which nobody waits for an answer.

use super::{
    breaker::{Breaker, Line},
    keys,
    replicas::SILENCE,
};
use crate::config;
use anyhow::Context as _;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Script, ScriptInvocation, aio::MultiplexedConnection,
};
use secrecy::ExposeSecret as _;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::timeout;

/// For what no request waits for.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Link {
    client: Client,
    /// How long a decision waits.
    patience: Duration,
    decide: Script,
    beat: Script,
    breaker: Breaker<MultiplexedConnection>,
    /// How often it was asked.
    calls: AtomicU64,
}

/// What a heartbeat brings.
pub(super) struct Beat {
    pub replicas: u32,
    /// In microseconds of its own time.
    pub born: u64,
}

impl Link {
    pub fn new(config: &config::Redis) -> anyhow::Result<Self> {
        let client = Client::open(config.url.expose_secret())
            .context("INSULA_REDIS__URL: is no address of a Redis; it looks like redis://host:6379")?;
        Ok(Self {
            client,
            patience: Duration::from_millis(config.timeout_milliseconds),
            decide: Script::new(include_str!("decide.lua")),
            beat: Script::new(include_str!("beat.lua")),
            breaker: Breaker::open(),
            calls: AtomicU64::default(),
        })
    }

    /// A decision's call, to be filled in.
    pub fn decision(&self) -> ScriptInvocation<'_> {
        self.decide.prepare_invoke()
    }

    /// `None` when Redis does not answer in time, and at once while it is known not to. What a call that was given up
    /// has charged stays charged.
    pub async fn ask<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let mut line = self.breaker.line()?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        match within(self.patience, call.invoke_async(&mut line.connection)).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.trip(&line, &error);
                None
            }
        }
    }

    /// Says that `replica` lives, on a new connection where there is none; that is not used by anybody else before
    /// [`mended`](Self::mended) is called with it.
    pub async fn beat(&self, replica: &str) -> anyhow::Result<(Beat, Option<MultiplexedConnection>)> {
        let line = self.breaker.line();
        let mut connection = match &line {
            Some(line) => line.connection.clone(),
            None => self.connect().await?,
        };
        let mut call = self.beat.key(keys::REPLICAS);
        call.key(keys::BORN).arg(replica).arg(SILENCE.as_millis());
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

    pub fn mended(&self, connection: MultiplexedConnection) {
        self.breaker.close(connection);
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn is_up(&self) -> bool {
        self.breaker.line().is_some()
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

    async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        // All times are ours.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        // Boxed: it is large, rare, and part of every future that opens the house.
        within(PATIENCE, Box::pin(self.client.get_multiplexed_async_connection_with_config(&config))).await
    }

    fn trip(&self, line: &Line<MultiplexedConnection>, error: &anyhow::Error) {
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
