//! What has one home stays there, and files stay small enough to be read.

use super::support::Source;

/// A dependency, or what is dangerous in one, and the only rooms that may name it.
const WALLS: &[(&str, &[&str])] = &[
    ("argon2", &["authn"]),
    ("casbin", &["authz"]),
    ("croner", &["cron"]),
    ("governor", &["limits"]),
    ("jiff", &["cron"]),
    ("jsonwebtoken", &["authn"]),
    ("lettre", &["mail"]),
    ("multer", &["extract"]),
    ("object_store", &["storage"]),
    ("redis", &["cache", "limits", "local"]),
    ("reqwest", &["worker"]),
    ("sqlx::PgPool", &["bus", "db", "local", "tenancy"]),
    ("sqlx::Pool", &["bus", "db", "local", "tenancy"]),
    ("sqlx::AssertSqlSafe", &["bootstrap", "local", "tenancy"]),
    ("totp_rs", &["authn"]),
    ("tokio::spawn", &["app", "bus", "dev", "limits", "state", "worker"]),
];

const LONGEST: usize = 600;
const MEDIAN: usize = 150;

/// Names under which everything ends up.
const DRAWERS: [&str; 6] = ["utils", "common", "helpers", "types", "models", "services"];

#[test]
fn a_dependency_is_named_only_at_home() {
    assert_eq!(trespassers(&Source::all()), [""; 0]);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    assert_eq!(misshapen(&Source::all()), [""; 0]);
}

fn trespassers(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let (paths, module) = (source.paths(), source.module());
        let room = module.first().copied().unwrap_or("main");
        for (wall, homes) in WALLS {
            let wall: Vec<&str> = wall.split("::").collect();
            if !homes.contains(&room) && paths.iter().any(|path| path.iter().zip(&wall).all(|(a, b)| a == b))
            {
                found.push(format!(
                    "{} names {}, which only {} may: move that down",
                    source.path,
                    wall.join("::"),
                    homes.join(", ")
                ));
            }
        }
    }
    found
}

fn misshapen(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let (path, lines) = (&source.path, source.text.lines().count());
        if !source.text.starts_with("//! ") {
            found.push(format!("{path} does not open with a `//!` sentence on what it is"));
        }
        if lines > LONGEST {
            found.push(format!("{path} has {lines} lines: split it where the second idea begins"));
        }
        if let Some(drawer) = source.module().iter().find(|name| DRAWERS.contains(name)) {
            found.push(format!("{path}: {drawer} is a drawer, not a room: name what is in it"));
        }
    }
    let mut lengths: Vec<usize> = sources.iter().map(lines_of_work).collect();
    lengths.sort_unstable();
    if let Some(&median) = lengths.get(lengths.len() / 2)
        && median > MEDIAN
    {
        found.push(format!("half of the files have {median} lines or more: split the longest"));
    }
    found
}

/// Less the unit tests at its end.
fn lines_of_work(source: &Source) -> usize {
    source.text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

// The checkers themselves, on planted faults.

fn source(path: &str, text: &str) -> [Source; 1] {
    [Source::new(path, text)]
}

#[test]
fn a_trespasser_is_found_however_the_name_is_written() {
    let planted = [
        ("api/me.rs", "use casbin::Enforcer;", "casbin"),
        ("api/me.rs", "fn f() { let it = casbin::Enforcer::new(); }", "casbin"),
        ("state.rs", "use {serde::Serialize, governor::{Quota, RateLimiter}};", "governor"),
        ("people.rs", "use argon2::Argon2;", "argon2"),
        ("bus.rs", "use redis::{\n    Client,\n};", "redis"),
        ("people.rs", "use jsonwebtoken as jwt; use jsonwebtoken::encode;", "jsonwebtoken"),
        ("api/products.rs", "use sqlx::{FromRow, PgPool};", "sqlx::PgPool"),
        ("api/products.rs", "struct Rows(sqlx::Pool<sqlx::Postgres>);", "sqlx::Pool"),
        ("main.rs", "fn f() { tokio::spawn(async {}); }", "tokio::spawn"),
        ("api/products.rs", "use tokio::{spawn, time};", "tokio::spawn"),
        ("page.rs", "use sqlx::AssertSqlSafe as Trusted;", "sqlx::AssertSqlSafe"),
    ];
    for (path, text, wall) in planted {
        let found = trespassers(&source(path, text));
        assert!(found.iter().any(|found| found.starts_with(&format!("{path} names {wall}, "))), "{text}");
    }
    for (path, text) in [
        ("authz/mod.rs", "use casbin::Enforcer;"),
        ("api/me.rs", "// casbin::Enforcer says no\nuse crate::local::redis::Redis;"),
        ("api/me.rs", "use sqlx::FromRow; const S: &str = \"tokio::spawn\";"),
    ] {
        assert_eq!(trespassers(&source(path, text)), [""; 0], "{text}");
    }
}

#[test]
fn a_drawer_a_monolith_and_a_file_without_a_word_are_found() {
    let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
    for (path, text, complaint) in [
        ("api/utils.rs", "//! Odds.", "api/utils.rs: utils is a drawer"),
        ("helpers/mod.rs", "//! Ends.", "helpers/mod.rs: helpers is a drawer"),
        ("ids.rs", "use uuid::Uuid;", "ids.rs does not open with"),
        ("ids.rs", long.as_str(), "ids.rs has 601 lines"),
    ] {
        let found = misshapen(&source(path, text));
        assert!(found.iter().any(|found| found.starts_with(complaint)), "{path}: {found:?}");
    }
    let fat = |path| Source::new(path, &format!("//! Fat.\n{}", "\n".repeat(MEDIAN)));
    assert_eq!(
        misshapen(&[fat("a.rs"), fat("b.rs"), Source::new("c.rs", "//! Thin.")]),
        ["half of the files have 151 lines or more: split the longest"]
    );
    let tested = format!("//! Well tested.\n#[cfg(test)]\n{}", "\n".repeat(MEDIAN));
    assert_eq!(misshapen(&source("a.rs", &tested)), [""; 0]);
}
