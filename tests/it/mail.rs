//! How mails leave: over SMTP or into a folder, at least once, and by one replica at a time.

use super::support::{Database, Dir, Smtp, TestApp, config, until};
use serde_json::{Value, json};
use std::{collections::HashSet, fs, net::TcpListener, time::Duration};

const FORGOT: &str = "/api/v1/auth/password/forgot";
const ADA: &str = "ada@example.com";

/// Asks for a mail to somebody who is there.
async fn mail_to(app: &TestApp, address: &str) {
    app.person(address).await;
    app.anon().post(FORGOT, json!({"email": address})).await.expect(202);
}

/// How many mails there are of which this holds, in SQL.
async fn mails(app: &TestApp, which: &str) -> i64 {
    app.database.count(&format!("select count(*) from mails where {which}")).await
}

/// A header of a message, unfolded.
fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let headers = message.split("\n\n").next().unwrap();
    let line = headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in\n{headers}"))
}

fn folder(dir: &Dir) -> String {
    format!("[mail]\nfolder = \"{}\"\n", dir.path().join("mail").display())
}

#[tokio::test]
async fn a_mail_goes_out_over_smtp_with_its_link_and_its_token_is_forgotten_then() {
    let smtp = Smtp::start(&[]).await;
    let settings = format!(
        "{}from = \"Insula <no-reply@insula.example>\"\nlink_base = \"https://app.example.com/\"",
        smtp.settings()
    );
    let app = TestApp::start_with(&settings).await;
    mail_to(&app, ADA).await;
    until("it is sent", async || mails(&app, "sent_at is not null and error is null").await == 1).await;
    let received = smtp.received();
    assert_eq!(received.len(), 1);
    let message = &received[0];
    assert_eq!(header(message, "From"), "Insula <no-reply@insula.example>");
    assert_eq!(header(message, "To"), ADA);
    assert_eq!(header(message, "Subject"), "Set a new password");
    assert_eq!(header(message, "Auto-Submitted"), "auto-generated");
    assert!(header(message, "Message-ID").ends_with("@insula.example>"));
    assert!(header(message, "Content-Type").starts_with("multipart/alternative;"));

    // As it is read: lines that were too long are whole again.
    let body = message.replace("=\n", "").replace("=3D", "=");
    assert!(body.contains("Hello Somebody,"), "{body}");
    let link = body.split("https://app.example.com/reset-password?token=").nth(1).unwrap();
    let token = link.split_whitespace().next().unwrap();
    assert!(token.starts_with("insula_mail_"), "{body}");

    assert_eq!(mails(&app, "secret is not null").await, 0);
    let reset = json!({"token": token, "password": "staple the wrong horse"});
    app.anon().post("/api/v1/auth/password/reset", reset).await.expect(204);
    until("and told of", async || smtp.received().len() == 2).await;
    assert_eq!(header(&smtp.received()[1], "Subject"), "Your password was changed");
}

#[tokio::test]
async fn each_mail_goes_out_once_however_many_replicas_send() {
    const MAILS: i64 = 60;
    let queue = TestApp::start().await;
    for at in 0..MAILS {
        mail_to(&queue, &format!("p{at}@example.com")).await;
    }
    let smtp = Smtp::start(&[]).await;
    let settings = smtp.settings();
    let replica = || TestApp::start_on(queue.database.clone(), &settings);
    let _replicas = tokio::join!(replica(), replica(), replica());
    until("all are sent", async || mails(&queue, "sent_at is not null").await == MAILS).await;
    let received = smtp.received();
    let ids: HashSet<&str> = received.iter().map(|message| header(message, "Message-ID")).collect();
    let recipients: HashSet<&str> = received.iter().map(|message| header(message, "To")).collect();
    assert_eq!((received.len(), ids.len(), recipients.len()), (60, 60, 60));
    assert_eq!(mails(&queue, "attempts = 1 and error is null").await, MAILS);
}

#[tokio::test]
async fn a_mail_that_is_refused_for_now_is_tried_again_after_a_pause() {
    let smtp = Smtp::start(&["451 greylisted", "452 still greylisted"]).await;
    let app = TestApp::start_with(&smtp.settings()).await;
    mail_to(&app, ADA).await;
    for (attempt, answer, pause) in
        [(1, "greylisted", "between '8 s' and '12 s'"), (2, "still greylisted", "between '16 s' and '24 s'")]
    {
        let refused = format!("attempts = {attempt} and error like '% {answer}' and secret is not null");
        until("it is refused", async || mails(&app, &refused).await == 1).await;
        let now = app.clock.now().unix_timestamp();
        let due = format!("due_at - to_timestamp({now}) {pause}");
        // The clock has stood still since, less than a second past what is counted from.
        assert_eq!(mails(&app, &due.replace("12 s", "13 s").replace("24 s", "25 s")).await, 1, "{due}");
        assert_eq!(smtp.received().len(), 0);
        app.clock.advance(Duration::from_secs(12 * attempt));
    }
    until("it is taken", async || smtp.received().len() == 1).await;
    until("and noted", async || {
        mails(&app, "attempts = 3 and sent_at is not null and error is null").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_given_up_at_once_and_says_why() {
    let smtp = Smtp::start(&["550 no such mailbox here"]).await;
    let app = TestApp::start_with(&smtp.settings()).await;
    mail_to(&app, ADA).await;
    let given_up = "given_up_at is not null and error like '%no such mailbox here%' and secret is null";
    until("it is given up", async || mails(&app, given_up).await == 1).await;
    mail_to(&app, "bob@example.com").await;
    app.clock.advance(Duration::from_hours(2));
    until("another is sent", async || smtp.received().len() == 1).await;
    assert_eq!(header(&smtp.received()[0], "To"), "bob@example.com");
    assert_eq!(mails(&app, "attempts = 1 and sent_at is null").await, 1);
}

#[tokio::test]
async fn a_server_that_is_away_for_a_day_is_waited_for_no_longer() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = TestApp::start_with(&format!("[mail]\nsmtp_url = \"smtp://{nobody}\"")).await;
    mail_to(&app, ADA).await;
    until("it is tried", async || {
        mails(&app, "attempts = 1 and error is not null and given_up_at is null").await == 1
    })
    .await;
    app.clock.advance(Duration::from_hours(23));
    until("and tried", async || mails(&app, "attempts = 2 and given_up_at is null").await == 1).await;
    app.clock.advance(Duration::from_hours(1));
    until("and given up", async || mails(&app, "given_up_at is not null and secret is null").await == 1)
        .await;
}

#[tokio::test]
async fn what_a_replica_had_under_way_when_it_died_is_sent_by_another() {
    let deaf = Smtp::start(&["hang"]).await;
    let dying = TestApp::start_with(&deaf.settings()).await;
    mail_to(&dying, ADA).await;
    until("it is under way", async || mails(&dying, "attempts = 1").await == 1).await;
    let database = dying.database.clone();
    let smtp = Smtp::start(&[]).await;
    let other = TestApp::start_on(database, &smtp.settings()).await;
    mail_to(&other, "bob@example.com").await;
    until("bob's is sent", async || smtp.received().len() == 1).await;
    assert_eq!(header(&smtp.received()[0], "To"), "bob@example.com", "ada's is not taken from who has it");
    other.clock.advance(Duration::from_mins(6));
    until("ada's is sent", async || smtp.received().len() == 2).await;
    assert_eq!(header(&smtp.received()[1], "To"), ADA);
}

#[tokio::test]
async fn without_a_way_out_mails_wait_and_serving_goes_on() {
    let dir = Dir::new();
    let app = TestApp::start().await;
    mail_to(&app, ADA).await;
    app.anon().get("/health/ready").await.expect(200);
    assert_eq!(mails(&app, "attempts = 0 and sent_at is null and given_up_at is null").await, 1);
    let later = TestApp::start_on(app.database.clone(), &folder(&dir)).await;
    until("it is sent", async || mails(&later, "sent_at is not null").await == 1).await;
}

/// The folder, and what `insula dev` shows of it.
#[tokio::test]
async fn a_folder_keeps_mails_for_people_and_for_programs_and_dev_alone_shows_them() {
    let dir = Dir::new();
    let database = Database::new().await;
    let mut with_page = config(&database, &folder(&dir));
    with_page.dev.mail_page = true;
    let dev = TestApp::start_as(database.clone(), with_page).await;
    assert_eq!(dev.anon().get("/dev/mail.json").await.expect(200), json!({"data": []}));
    mail_to(&dev, ADA).await;
    mail_to(&dev, "bob@example.com").await;
    until("both are sent", async || mails(&dev, "sent_at is not null").await == 2).await;

    let list = dev.anon().get("/dev/mail.json").await.expect(200);
    let sent: Vec<&Value> = list["data"].as_array().unwrap().iter().collect();
    assert_eq!((sent.len(), &sent[0]["to"], &sent[1]["to"]), (2, &json!("bob@example.com"), &json!(ADA)));
    let (token, link) = (sent[1]["token"].as_str().unwrap(), sent[1]["link"].as_str().unwrap());
    assert_eq!(link, format!("http://insula.test/reset-password?token={token}"));
    assert_eq!(
        (&sent[1]["template"], &sent[1]["from"]),
        (&json!("reset_password"), &json!("Insula <insula@localhost>"))
    );

    let page = dev.anon().get("/dev/mail").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none';"));
    assert!(
        page.text.contains(token) && page.text.contains(&format!("<a href=\"{link}\">")),
        "{}",
        page.text
    );
    assert!(page.text.find("bob@example.com") < page.text.find(ADA), "newest first");
    assert!(!page.text.contains("<script"));

    let files: Vec<_> =
        fs::read_dir(dir.path().join("mail")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 4);
    let eml = files.iter().find(|file| file.extension().unwrap() == "eml").unwrap();
    assert!(fs::read_to_string(eml).unwrap().contains("Subject: Set a new password\r\n"));

    // Whoever serves in earnest shows nobody's mail, a folder or not.
    let serving = TestApp::start_on(database, &folder(&dir)).await;
    for path in ["/dev/mail", "/dev/mail.json"] {
        serving.anon().get(path).await.expect_problem(404, "not_found");
    }
}
