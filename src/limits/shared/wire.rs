//! A connection to Redis, whether it is one server or a cluster of them.

use crate::config;
use anyhow::Context as _;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use secrecy::ExposeSecret as _;
use std::time::Duration;

/// Where to connect to.
pub(super) enum Server {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Server {
    /// `patience` is how long anybody waits for an answer.
    pub fn new(config: &config::Redis, patience: Duration) -> anyhow::Result<Self> {
        let url = config.url.expose_secret();
        let wrong = "INSULA_REDIS__URL: is no address of a Redis; it looks like redis://host:6379";
        if !config.cluster {
            return Ok(Self::One(Box::new(Client::open(url).context(wrong)?)));
        }
        // A redirection is followed; whether a silent node is tried again is for the breaker to say.
        let cluster = ClusterClient::builder(url.split(',').map(str::trim))
            .retries(1)
            .connection_timeout(patience)
            .response_timeout(patience)
            .build();
        Ok(Self::Cluster(Box::new(cluster.context(wrong)?)))
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub async fn connect(&self) -> RedisResult<Wire> {
        match self {
            Self::One(client) => {
                // All times are ours.
                let config =
                    AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Wire::One)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Wire::Cluster),
        }
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
