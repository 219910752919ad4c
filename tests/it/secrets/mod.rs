//! Secrets are shown where they are meant to be shown, and nowhere else: a run full of canaries, and then a search
//! through everything it wrote.

mod others;
mod people;
mod run;

use crate::support::{Binary, Database, Persona, Private};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use insula::vault;
use run::Run;
use serde_json::json;

#[tokio::test]
async fn no_secret_is_in_the_logs_the_errors_the_audit_or_any_table() {
    let (postgres, database) = Private::migrated().await;
    // A server that writes down each statement and its parameters, for whoever comes.
    for setting in
        ["log_statement = 'all'", "log_parameter_max_length_on_error = -1", "log_min_messages = 'debug1'"]
    {
        database.run(format!("alter database insula set {setting}")).await;
    }
    let mut run = Run::begin().await;
    let master = rand::random::<[u8; 32]>();
    let (mut served, base) = serve(&database, &master, &mut run).await;
    let password_of_ada = people::people(&base, &mut run).await;
    people::mail_readers(&base, &mut run).await;
    people::two_factors(&base, &mut run).await;
    people::guests(&base, &password_of_ada, &mut run).await;
    others::programs(&base, &mut run).await;
    others::webhooks(&base, &mut run).await;
    others::clumsy_clients(&base, &mut run).await;
    others::the_house_itself(&postgres, &database, &master, &mut run).await;
    // And something that nobody foresaw.
    database.run("alter function gate_user_by_email(text) rename to gone").await;
    let password = run.password("password of a 500");
    let login = json!({"email": "ada@example.com", "password": password});
    let reply = Persona::new(&base, None).post("/api/v1/auth/login", login).await;
    reply.expect_problem(500, "internal");
    run.answered("a login that breaks", &reply);
    served.signal("TERM");
    served.ended().await;

    // Whoever finds nothing anywhere has searched nowhere.
    let (log, postgres_log) = (format!("{}{}", served.stdout(), served.stderr()), postgres.log());
    assert!(log.contains(r#""level":"TRACE""#) && log.contains("internal error"), "not all was logged");
    assert!(postgres_log.contains("ada@example.com"), "Postgres did not log its parameters");
    assert!(
        run.secrets.len() >= 130 && run.answers.len() >= 550,
        "{} {}",
        run.secrets.len(),
        run.answers.len()
    );

    eprintln!(
        "COUNT {} {} log {} pg {}",
        run.secrets.len(),
        run.answers.len(),
        log.len(),
        postgres_log.len()
    );
    assert_eq!(run.found_in(&log), [""; 0], "in the log");
    assert_eq!(run.found_in(&postgres_log), [""; 0], "in the log of Postgres");
    for (request, answer) in &run.answers {
        assert_eq!(run.found_in(answer), [""; 0], "in the answer to {request}: {answer}");
    }
    for letter in run.letters_less_their_tokens() {
        assert_eq!(run.found_in(&letter), [""; 0], "in a mail: {letter}");
    }
    let rows = database.rows().await;
    assert!(rows.iter().any(|row| row.contains("ada@example.com")), "the database was not read");
    for row in rows {
        assert_eq!(run.found_in(&row), [""; 0], "in a row: {row}");
    }
}

/// At the loudest that the log can be.
async fn serve(database: &Database, master: &[u8; 32], run: &mut Run) -> (Binary, String) {
    let mut url = |role: &str| {
        let password = run.password(&format!("database password of {role}"));
        database.url(role).replacen(role, &format!("{role}:{password}"), 1)
    };
    let (app, platform) = (url("insula_app"), url("insula_platform"));
    run.keep_bytes("master key", master);
    for purpose in ["insula vault", "insula page cursors", "insula file links"] {
        run.keep_bytes(&format!("key of the {purpose}"), &vault::derive(master, purpose));
    }
    let (master, smtp) = (STANDARD.encode(master), run.smtp.url());
    let mut served = Binary::start(
        &["serve"],
        &[
            ("INSULA_DATABASE__APP_URL", &app),
            ("INSULA_DATABASE__PLATFORM_URL", &platform),
            ("INSULA_AUTH__MASTER_KEY", &master),
            ("INSULA_MAIL__SMTP_URL", &smtp),
            ("INSULA_HTTP__LISTEN", "127.0.0.1:0"),
            ("INSULA_LIMITS__IP__QUOTA_PER_MINUTE", "60000"),
            ("INSULA_LIMITS__IP__BURST", "30000"),
            ("INSULA_LOG__FILTER", "trace"),
        ],
    );
    let base = served.base().await;
    (served, base)
}
