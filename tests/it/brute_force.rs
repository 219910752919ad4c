//! Guessing: how often at one account, from one address and from one network, on however many replicas.

use super::support::{PASSWORD, Persona, Reply, TestApp};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const WRONG: &str = "not the password";
const LOGIN: &str = "/api/v1/auth/login";
/// Three at once from an address, twelve from a network.
const STRICT: &str = "[limits.ip]\nquota_per_minute = 6\nburst = 3";
const BEHIND_A_PROXY: &str = "[http]\ntrusted_proxies = [\"127.0.0.0/8\"]";

async fn guess_from(who: &Persona, forwarded: &str, email: &str) -> Reply {
    let guess = who.request(Method::POST, LOGIN).header("x-forwarded-for", forwarded);
    Reply::of(guess.json(&json!({"email": email, "password": WRONG}))).await
}

#[tokio::test]
async fn ten_wrong_passwords_lock_an_account_for_a_quarter_of_an_hour_whether_there_is_one_or_not() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let known = acme.email();
    let mut refusals = Vec::new();
    for email in [known.as_str(), "nobody@example.com"] {
        for _ in 0..10 {
            app.log_in(email, WRONG).await.expect_problem(401, "invalid_credentials");
        }
        // Even the right one, and in whatever case.
        let refused = app.log_in(&email.to_uppercase(), PASSWORD).await;
        let problem = refused.expect_problem(429, "too_many_attempts");
        assert_eq!(problem["violated_policies"], json!(["account"]));
        assert_eq!(refused.header("retry-after"), "900");
        refusals.push(refused.but_for_the_request());
    }
    assert_eq!(refusals[0], refusals[1], "nobody learns who is registered");
    app.log_in(&globex.email(), PASSWORD).await.expect(200);

    app.clock.advance(Duration::from_secs(899));
    app.log_in(&known, PASSWORD).await.expect_problem(429, "too_many_attempts");
    app.clock.advance(Duration::from_secs(1));
    app.log_in(&known, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn two_floods_on_two_replicas_compare_no_more_passwords_than_one_account_is_allowed() {
    // The crowd waits for its connections rather than be sent away.
    let settings = "[database]\nacquire_seconds = 60\n[http]\ntimeout_seconds = 120";
    let here = TestApp::start_with(settings).await;
    let there = TestApp::start_on(here.database.clone(), settings).await;
    let acme = here.org().await;
    for email in [acme.email(), "nobody@example.com".to_owned()] {
        let flood = (0..200).map(|at| [&here, &there][at % 2].log_in(&email, WRONG));
        let statuses: Vec<u16> = join_all(flood).await.iter().map(|reply| reply.status).collect();
        let with = |status: u16| statuses.iter().filter(|other| **other == status).count();
        assert_eq!((with(401), with(429)), (10, 190), "{email}: {statuses:?}");
        for replica in [&here, &there] {
            replica.log_in(&email, PASSWORD).await.expect_problem(429, "too_many_attempts");
        }
    }
}

#[tokio::test]
async fn signing_in_forgets_what_was_wrong_before_and_so_does_time() {
    let app = TestApp::start_with("[auth]\nlock_after_failures = 3\nlock_minutes = 1").await;
    let acme = app.org().await;
    for _ in 0..2 {
        for _ in 0..2 {
            app.log_in(&acme.email(), WRONG).await.expect(401);
        }
        app.log_in(&acme.email(), PASSWORD).await.expect(200);
    }
    for _ in 0..2 {
        app.log_in(&acme.email(), WRONG).await.expect(401);
        app.log_in(&acme.email(), WRONG).await.expect(401);
        app.clock.advance(Duration::from_mins(1));
    }
    app.log_in(&acme.email(), PASSWORD).await.expect(200);
}

#[tokio::test]
async fn whose_account_is_locked_is_told_once_and_it_is_audited() {
    let app = TestApp::start_with("[auth]\nlock_after_failures = 3").await;
    let (acme, globex) = (app.org().await, app.org().await);
    for email in [acme.email(), "nobody@example.com".to_owned()] {
        join_all((0..9).map(|_| app.log_in(&email, WRONG))).await;
    }
    assert_eq!(app.audited_times(acme.id, "account.locked").await, 1);
    assert_eq!(app.mails_to(&acme.email()).await, ["account_locked"]);
    assert_eq!(app.audited_times(globex.id, "account.locked").await, 0);
    assert_eq!(
        app.database.count("select count(*) from mails where template <> 'verify_email'").await,
        1,
        "nobody gets no mail"
    );

    app.clock.advance(Duration::from_mins(15));
    for _ in 0..2 {
        app.log_in(&acme.email(), WRONG).await.expect(401);
    }
    app.log_in(&acme.email(), PASSWORD).await.expect(200);
    assert_eq!(app.audited_times(acme.id, "account.locked").await, 1, "the last attempt was right");
}

#[tokio::test]
async fn a_password_reset_by_mail_ends_the_lock_of_that_account_and_no_other() {
    let app = TestApp::start_with("[auth]\nlock_after_failures = 1").await;
    let (acme, globex) = (app.org().await, app.org().await);
    for org in [&acme, &globex] {
        app.log_in(&org.email(), WRONG).await.expect(401);
        app.log_in(&org.email(), PASSWORD).await.expect_problem(429, "too_many_attempts");
    }
    app.database.run(format!("select clear_login_failures('{}')", acme.owner.user().uuid())).await;
    app.log_in(&acme.email(), PASSWORD).await.expect(200);
    app.log_in(&globex.email(), PASSWORD).await.expect_problem(429, "too_many_attempts");
    // Whoever is signed in stays so, whatever others guess.
    globex.owner.get("/api/v1/me").await.expect(200);
}

#[tokio::test]
async fn a_password_that_could_not_be_compared_is_not_held_against_anybody() {
    let settings = "[auth]\nconcurrent_hashes = 1\nqueued_hashes = 0\nlock_after_failures = 20";
    let app = TestApp::start_with(settings).await;
    let acme = app.org().await;
    let email = acme.email();
    let replies = join_all((0..15).map(|_| app.log_in(&email, WRONG))).await;
    let compared = replies.iter().filter(|reply| reply.status == 401).count();
    assert!(replies.iter().all(|reply| [401, 503].contains(&reply.status)));
    let counted = app.database.count("select sum(failures)::bigint from login_failures").await;
    assert_eq!(counted, i64::try_from(compared).unwrap());
}

#[tokio::test]
async fn forged_headers_neither_escape_a_limit_nor_use_up_somebody_else_s() {
    let email = "nobody@example.com";
    // Nobody is believed: all of these come from one address.
    let app = TestApp::start_with(STRICT).await;
    for at in 0..3 {
        guess_from(&app.anon(), &format!("198.51.100.{at}"), email).await.expect(401);
    }
    guess_from(&app.anon(), "198.51.100.9", email).await.expect_problem(429, "rate_limited");

    // The proxy is believed, and what it was told itself is not.
    let app = TestApp::start_with(&format!("{BEHIND_A_PROXY}\n{STRICT}")).await;
    for forged in ["198.51.100.1", " 198.51.100.2", "nonsense"] {
        guess_from(&app.anon(), &format!("{forged}, 203.0.113.1 "), email).await.expect(401);
    }
    let more = guess_from(&app.anon(), "198.51.100.3,203.0.113.1", email).await;
    more.expect_problem(429, "rate_limited");
    for blamed in ["198.51.100.1", "198.51.100.2"] {
        for _ in 0..3 {
            guess_from(&app.anon(), blamed, email).await.expect(401);
        }
    }
}

#[tokio::test]
async fn the_addresses_of_one_network_have_a_limit_in_common() {
    let settings = format!("{BEHIND_A_PROXY}\n{STRICT}\n[auth]\nlock_after_failures = 100");
    let app = TestApp::start_with(&settings).await;
    for (within, beyond) in [("203.0.113.", "203.0.114.1"), ("2001:db8:1:", "2001:db8:2::1")] {
        let host =
            |at: u32| if within.contains(':') { format!("{within}{at}::1") } else { format!("{within}{at}") };
        for at in 1..=4 {
            for _ in 0..3 {
                guess_from(&app.anon(), &host(at), "nobody@example.com").await.expect(401);
            }
        }
        let refused = guess_from(&app.anon(), &host(5), "nobody@example.com").await;
        refused.expect_problem(429, "rate_limited");
        guess_from(&app.anon(), beyond, "nobody@example.com").await.expect(401);
    }
}

#[tokio::test]
async fn guessed_tokens_and_keys_are_charged_to_address_and_network() {
    let app = TestApp::start_with(&format!("{BEHIND_A_PROXY}\n{STRICT}")).await;
    let acme = app.org().await;
    let from = async |who: &Persona, ip: &str| {
        Reply::of(who.request(Method::GET, "/api/v1/products").header("x-forwarded-for", ip)).await
    };
    let guesses = ["nonsense", "insula_live_nobodyhasthiskeynobodyhasthiskey", "a.b.c"];
    for host in 1..=4 {
        for guess in guesses {
            from(&app.bearer(guess), &format!("203.0.113.{host}")).await.expect(401);
        }
        let refused = from(&app.bearer("nonsense"), &format!("203.0.113.{host}")).await;
        refused.expect_problem(429, "rate_limited");
    }
    from(&app.bearer("nonsense"), "203.0.113.5").await.expect_problem(429, "rate_limited");
    from(&app.bearer("nonsense"), "203.0.114.5").await.expect(401);
    from(&acme.owner, "203.0.113.1").await.expect(200);
}
