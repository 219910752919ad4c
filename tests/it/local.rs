//! Our own servers: they start from nothing or from ruins, keep others out, and never outlive us.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers outside #[test] fail by panicking, too"
)]

use insula::local::{Durability, Postgres, Redis};
use sqlx::{Connection as _, PgConnection};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

#[tokio::test]
async fn a_private_postgres_starts_twice_on_the_same_data() {
    let dir = Dir::new();
    let postgres = Postgres::start(&dir.0, None, Durability::Kept).await.unwrap();
    run(&postgres, "create table kept (x int); insert into kept values (1)").await;
    assert_eq!(ask(&postgres, "show fsync").await, "on");
    postgres.stop().await.unwrap();

    let postgres = Postgres::start(&dir.0, None, Durability::Throwaway).await.unwrap();
    assert_eq!(ask(&postgres, "select x::text from kept").await, "1");
    assert_eq!(ask(&postgres, "show fsync").await, "off");
}

#[tokio::test]
async fn it_listens_on_no_port_and_sorts_and_encodes_like_production() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    assert_eq!(ask(&postgres, "show listen_addresses").await, "");
    assert_eq!(ask(&postgres, "show server_encoding").await, "UTF8");
    assert_eq!(
        ask(&postgres, "select string_agg(x, '' order by x) from unnest('{a,B,b,A}'::text[]) x").await,
        "ABab"
    );
    assert_eq!(ask(&postgres, "select upper('é')").await, if cfg!(target_os = "macos") { "é" } else { "É" });

    run(&postgres, "create role app login").await;
    run(&postgres, r#"create database "a b/c" owner app"#).await;
    let mut connection = PgConnection::connect(&postgres.url("app", "a b/c")).await.unwrap();
    let name: String =
        sqlx::query_scalar("select current_user::text").fetch_one(&mut connection).await.unwrap();
    assert_eq!(name, "app");
}

#[tokio::test]
async fn a_dropped_postgres_is_down() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    assert!(answers(&dir));
    drop(postgres);
    assert!(!answers(&dir));
}

#[test]
fn postgres_stops_when_its_owner_is_killed() {
    let dir = Dir::new();
    let mut owner = Owner::of(&dir);
    assert!(answers(&dir));
    owner.kill();
    until("postgres is down", || !answers(&dir));
    // Its last act, after it has stopped to answer: a server that was killed leaves it behind.
    until("postgres has shut down in good order", || !dir.0.join("data/postmaster.pid").exists());
}

#[tokio::test]
async fn it_starts_again_while_the_server_of_a_killed_owner_shuts_down() {
    let dir = Dir::new();
    Owner::of(&dir).kill();
    let postgres = start(&dir.0).await;
    assert_eq!(ask(&postgres, "select 'up'").await, "up");
}

#[tokio::test]
async fn it_starts_again_after_both_were_killed() {
    let dir = Dir::new();
    let mut owner = Owner::of(&dir);
    kill(&postmaster(&dir));
    owner.kill();
    // The worst case: its pid has gone to another process of the same user, as happens in containers.
    let pid_file = dir.0.join("data/postmaster.pid");
    let stale = fs::read_to_string(&pid_file).unwrap();
    let taken = std::process::id().to_string();
    fs::write(&pid_file, stale.replacen(stale.lines().next().unwrap(), &taken, 1)).unwrap();
    assert!(stale.contains("ready"), "a stale file looks ready");

    let postgres = start(&dir.0).await;
    assert_eq!(ask(&postgres, "select 'up'").await, "up");
}

#[tokio::test]
async fn a_second_start_on_the_same_directory_names_the_holder() {
    let dir = Dir::new();
    let owner = Owner::of(&dir);
    let refused = failure(Postgres::start(&dir.0, None, Durability::Throwaway).await);
    assert!(refused.contains(&format!("held by another insula, pid {}", owner.0.id())), "{refused}");
    assert!(answers(&dir), "the first is untouched");
}

#[tokio::test]
async fn a_server_that_someone_else_runs_on_the_data_is_left_alone() {
    let dir = Dir::new();
    start(&dir.0).await.stop().await.unwrap();
    // Stands in for a postgres started by hand: by its name and its working directory.
    let data = dir.0.join("data");
    let mut other = Command::new("sh");
    other.args(["-c", "read -r _", "postgres"]).current_dir(&data).stdin(Stdio::piped());
    let mut other = other.spawn().unwrap();
    let pid_file = data.join("postmaster.pid");
    fs::write(&pid_file, format!("{}\n", other.id())).unwrap();

    let refused = failure(Postgres::start(&dir.0, None, Durability::Throwaway).await);
    assert!(refused.contains(&format!("postgres, pid {}, serves", other.id())), "{refused}");
    assert!(pid_file.exists());
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn data_of_another_major_version_is_refused_with_both_versions() {
    let dir = Dir::new();
    fs::create_dir(dir.0.join("data")).unwrap();
    fs::write(dir.0.join("data/PG_VERSION"), "9\n").unwrap();
    let refused = failure(Postgres::start(&dir.0, None, Durability::Throwaway).await);
    let (_, told) = refused.split_once("made by Postgres 9, and the binaries are of Postgres ").unwrap();
    assert!(told.starts_with(|c: char| c.is_ascii_digit()), "{refused}");
}

#[tokio::test]
async fn missing_binaries_tell_the_command_that_installs_them() {
    let dir = Dir::new();
    let command = if cfg!(target_os = "macos") { "brew install" } else { "apt-get install" };
    let refused = failure(Postgres::start(&dir.0, Some(Path::new("/nowhere")), Durability::Kept).await);
    assert!(refused.contains(&format!("`{command} postgresql")), "{refused}");
    assert!(refused.contains("/nowhere") && refused.contains("PG_BIN"), "{refused}");

    let refused = failure(Redis::start(&dir.0, Some(Path::new("/nowhere"))).await);
    assert!(refused.contains(&format!("`{command} redis")), "{refused}");
}

#[tokio::test]
async fn a_failed_start_shows_what_postgres_said() {
    let dir = Dir::new();
    start(&dir.0).await.stop().await.unwrap();
    fs::write(dir.0.join("data/postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let refused = failure(Postgres::start(&dir.0, None, Durability::Throwaway).await);
    assert!(refused.contains("no_such_setting"), "{refused}");
}

#[tokio::test]
async fn a_directory_too_deep_for_a_socket_is_served_all_the_same() {
    let dir = Dir::new();
    let deep = dir.0.join("with, \"care\" ".repeat(9));
    let postgres = start(&deep).await;
    assert_eq!(ask(&postgres, "select 'up'").await, "up");
    let redis = Redis::start(&deep.join("redis"), None).await.unwrap();
    assert_eq!(ping(&redis).await, "PONG");

    let url = postgres.superuser_url();
    let socket_dir = url.split(['=', '&']).find(|part| part.starts_with("/tmp/insula-")).unwrap();
    drop(postgres);
    assert!(!Path::new(socket_dir).exists(), "the short directory goes when the server does");
}

#[tokio::test]
async fn a_directory_behind_a_locked_door_is_replaced_when_postgres_may_not_enter() {
    let dir = Dir::new();
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o700)).unwrap();
    let postgres = start(&dir.0.join("postgres")).await;
    assert_eq!(ask(&postgres, "select 'up'").await, "up");
    let used = postgres.dir().to_owned();
    drop(postgres);
    if !used.starts_with(&dir.0) {
        assert!(used.starts_with(std::env::temp_dir()), "{used:?}");
        fs::remove_dir_all(used).unwrap();
    }
}

#[tokio::test]
async fn a_private_redis_starts_empty_each_time_and_stops_when_dropped() {
    let dir = Dir::new();
    let redis = Redis::start(&dir.0, None).await.unwrap();
    assert_eq!(ping(&redis).await, "PONG");
    let refused = failure(Redis::start(&dir.0, None).await);
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    redis.stop().await.unwrap();

    let redis = Redis::start(&dir.0, None).await.unwrap();
    assert_eq!(ping(&redis).await, "PONG");
    drop(redis);
    assert!(UnixStream::connect(dir.0.join("redis.sock")).is_err());
}

#[test]
#[ignore = "the process that the tests above kill: it is told a directory and holds a Postgres there"]
fn owner() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    if dir.is_empty() {
        return;
    }
    let _postgres = Postgres::start_blocking(Path::new(dir.trim()), None, Durability::Throwaway).unwrap();
    println!("\nholding");
    std::io::stdin().read_line(&mut dir).unwrap();
}

/// Another process that holds a Postgres.
struct Owner(Child);

impl Owner {
    fn of(dir: &Dir) -> Self {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["local::owner", "--exact", "--ignored", "--nocapture"]);
        let mut child = test.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.as_ref().unwrap(), "{}", dir.0.display()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "holding"), "the owner could not start");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory of the test's own, which it leaves with no server and no trace.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("insula-it-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        until("the directory can be removed", || fs::remove_dir_all(&self.0).is_ok());
    }
}

async fn start(dir: &Path) -> Postgres {
    Postgres::start(dir, None, Durability::Throwaway).await.unwrap()
}

async fn ask(postgres: &Postgres, sql: &'static str) -> String {
    let mut connection = PgConnection::connect(&postgres.superuser_url()).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

async fn run(postgres: &Postgres, sql: &'static str) {
    let mut connection = PgConnection::connect(&postgres.superuser_url()).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

async fn ping(redis: &Redis) -> String {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("PING").query_async(&mut connection).await.unwrap()
}

fn failure<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("a refusal"))
}

fn answers(dir: &Dir) -> bool {
    UnixStream::connect(dir.0.join("data/.s.PGSQL.5432")).is_ok()
}

fn postmaster(dir: &Dir) -> String {
    let file = fs::read_to_string(dir.0.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
