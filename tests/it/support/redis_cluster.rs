//! A Redis Cluster of a test's own: three servers that share the hash slots.

use super::{Dir, until};
use redis::FromRedisValue;
use std::{
    fs::{self, File},
    net::TcpListener,
    process::Stdio,
};
use tokio::process::{Child, Command};

const NODES: usize = 3;
const SLOTS: usize = 16_384;

pub struct RedisCluster {
    // Before the directory they write into.
    servers: Vec<Option<Child>>,
    /// Each with the one that the nodes speak to each other on.
    ports: Vec<[u16; 2]>,
    dir: Dir,
}

impl RedisCluster {
    pub async fn start() -> Self {
        let mut cluster = Self { servers: Vec::new(), ports: free_ports(), dir: Dir::new() };
        for node in 0..NODES {
            let server = cluster.server(node);
            cluster.servers.push(Some(server));
        }
        for node in 0..NODES {
            until("it answers", async || cluster.knock(node).await).await;
            let [first, last] =
                [node * SLOTS / NODES, (node + 1) * SLOTS / NODES - 1].map(|slot| slot.to_string());
            let () = cluster.ask(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            let () = cluster.ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(node + 1).to_string()]).await;
        }
        for [port, bus] in &cluster.ports[1..] {
            let (port, bus) = (port.to_string(), bus.to_string());
            let () = cluster.ask(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        cluster.agrees().await;
        cluster
    }

    /// Waits until every node knows of every slot.
    pub async fn agrees(&self) {
        until("the nodes agree", async || {
            for node in 0..NODES {
                let info: String = self.ask(node, &["CLUSTER", "INFO"]).await;
                if !info.contains("cluster_state:ok") || !info.contains("cluster_known_nodes:3") {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// The addresses of all.
    pub fn url(&self) -> String {
        let each = self.ports.iter().map(|[port, _]| format!("redis://127.0.0.1:{port}"));
        each.collect::<Vec<_>>().join(",")
    }

    /// Which one keeps this key.
    pub async fn node_of(&self, key: &str) -> usize {
        let slot: usize = self.ask_any(&["CLUSTER", "KEYSLOT", key]).await;
        (0..NODES).find(|node| slot < (node + 1) * SLOTS / NODES).unwrap()
    }

    async fn ask_any<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.ask(self.servers.iter().position(Option::is_some).unwrap(), words).await
    }

    pub async fn ask<T: FromRedisValue>(&self, node: usize, words: &[&str]) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.ports[node][0])).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    async fn knock(&self, node: usize) -> bool {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.ports[node][0])).unwrap();
        client.get_multiplexed_async_connection().await.is_ok()
    }

    /// As `kill -9` does. What it kept is lost.
    pub async fn kill(&mut self, node: usize) {
        self.servers[node].take().unwrap().kill().await.unwrap();
    }

    /// With its slots and nothing in them.
    pub async fn revive(&mut self, node: usize) {
        self.servers[node] = Some(self.server(node));
        until("it answers", async || self.knock(node).await).await;
        self.agrees().await;
    }

    fn server(&self, node: usize) -> Child {
        let [port, bus] = self.ports[node].map(|port| port.to_string());
        let home = self.dir.path().join(node.to_string());
        fs::create_dir_all(&home).unwrap();
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--cluster-port", &bus])
            .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
            .args(["--cluster-node-timeout", "2000", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(File::create(home.join("log")).unwrap())
            .current_dir(home)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}

/// All held at once, so that no two are the same.
fn free_ports() -> Vec<[u16; 2]> {
    let held: Vec<_> = (0..2 * NODES).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = held.iter().map(|port| port.local_addr().unwrap().port()).collect();
    ports.as_chunks::<2>().0.to_vec()
}
