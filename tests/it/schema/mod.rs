//! What every table, policy, role, key and function must be like, asked of the catalog: a new one is covered at once.

mod code;
mod fence;
mod grants;
mod keys;
mod lint;
mod policies;
mod roles;
mod tables;

use super::support::Database;
use lint::Lint;

fn lints() -> impl Iterator<Item = &'static Lint> {
    [code::LINTS, grants::LINTS, keys::LINTS, policies::LINTS, roles::LINTS, tables::LINTS]
        .into_iter()
        .flatten()
}

#[tokio::test]
async fn the_schema_is_as_every_lint_wants_it() {
    let mut catalog = Database::new().await.connect("postgres").await;
    let mut complaints = Vec::new();
    for lint in lints() {
        complaints.extend(lint.complaints(&mut catalog).await);
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[tokio::test]
async fn every_lint_catches_the_faults_planted_for_it() {
    let mut catalog = Database::new().await.connect("postgres").await;
    let mut missed = Vec::new();
    for lint in lints() {
        assert!(!lint.faults.is_empty(), "nothing shows that the lint \"{}\" can fail", lint.rule);
        for fault in lint.faults {
            let complaints = lint.with_planted(fault, &mut catalog).await;
            if !complaints.iter().any(|complaint| complaint.starts_with(&format!("{}: ", fault.caught))) {
                missed.push(format!(
                    "\"{}\" does not name {} after `{}`, but says {complaints:?}",
                    lint.rule, fault.caught, fault.plant
                ));
            }
        }
    }
    assert!(missed.is_empty(), "\n{}", missed.join("\n"));
}

#[tokio::test]
async fn no_exception_outlives_what_it_excepts() {
    let mut catalog = Database::new().await.connect("postgres").await;
    for lint in lints() {
        let found = lint.found(&mut catalog).await;
        for (object, reason) in lint.exceptions {
            assert!(
                found.iter().any(|(name, _)| name == object),
                "\"{}\" has nothing against {object} any more: drop its exception ({reason})",
                lint.rule
            );
        }
    }
}
