//! Files: taken in whole or not at all, as what they are, and given out by links alone.

use super::support::{Document, Persona, Reply, TestApp, id, png, pointers, until, upload};
use insula::worker;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const FILES: &str = "/api/v1/files";

async fn with(who: &Persona, method: Method, url: &Value, headers: &[(&str, &str)]) -> Reply {
    let path = url.as_str().unwrap().strip_prefix("http://insula.test").unwrap();
    let request = who.request(method, path);
    Reply::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Begins an upload of so many bytes, less the last of them, and answers the line that it goes over.
async fn begin(app: &TestApp, by: &Persona, bytes: usize) -> TcpStream {
    let (head, tail) = (
        "--cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n",
        "\r\n--cut--\r\n",
    );
    let mut client = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!(
        "POST {FILES} HTTP/1.1\r\nhost: insula.test\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=cut\r\ncontent-length: {}\r\n\r\n{head}",
        by.token.as_ref().unwrap(),
        head.len() + bytes + tail.len(),
    );
    client.write_all(request.as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; bytes - 1]).await.unwrap();
    client
}

#[tokio::test]
async fn a_file_exists_only_for_its_own_org_and_for_whoever_holds_a_link_to_it() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let bytes = png();
    let reply = upload(&acme.member, "cog.png", "image/png", bytes.clone()).await;
    let file = reply.expect(201);
    let path = format!("{FILES}/{}", id(&file));
    assert_eq!(reply.header("location"), path);
    for (field, value) in [
        ("name", json!("cog.png")),
        ("content_type", json!("image/png")),
        ("size", json!(bytes.len())),
        ("width", json!(2)),
        ("height", json!(3)),
        ("created_by", json!(acme.member.user().to_string())),
    ] {
        assert_eq!(file[field], value, "{field}");
    }
    assert_eq!(acme.viewer.get(&path).await.expect(200), file);
    assert_eq!(acme.viewer.get(FILES).await.expect(200)["data"], json!([file]));
    let fields = acme.viewer.get(&format!("{FILES}?content_type=image/png&fields=name")).await.expect(200);
    assert_eq!(fields["data"], json!([{"name": "cog.png"}]));

    let content = app.anon().follow(&file["url"]).await;
    assert_eq!((content.status, &content.bytes), (200, &bytes));
    assert_eq!(content.header("content-type"), "image/png");
    assert_eq!(content.header("content-length"), bytes.len().to_string());
    assert_eq!(content.header("etag"), format!("\"{}\"", file["sha256"].as_str().unwrap()));

    let never_was = globex.owner.get(&format!("{FILES}/fil_01jd8yq3c5f4x7t9k2m6n8p0rs")).await;
    for theirs in [globex.owner.get(&path).await, globex.owner.delete(&path).await] {
        assert_eq!(theirs.expect_problem(404, "not_found")["status"], 404);
        assert_eq!(theirs.without_request_id(), never_was.without_request_id());
    }
    assert_eq!(globex.owner.get(FILES).await.expect(200)["data"], json!([]));

    upload(&acme.viewer, "a", "text/plain", "a").await.expect_problem(403, "permission_denied");
    acme.member.delete(&path).await.expect_problem(403, "permission_denied");
    acme.admin.delete(&path).await.expect(204);
    acme.viewer.get(&path).await.expect_problem(404, "not_found");
    app.anon().follow(&file["url"]).await.expect_problem(404, "not_found");
    assert_eq!(app.stored(acme.id).await, [""; 0]);
}

#[tokio::test]
async fn a_link_opens_its_own_file_of_its_own_org_as_it_was_signed_and_until_it_expires() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (own, other, theirs) =
        (acme.owner.picture().await, acme.owner.picture().await, globex.owner.picture().await);
    let url = own["url"].as_str().unwrap();
    let anybody = app.anon();
    let missing = anybody.follow(&json!(url.replace(id(&own), "fil_01jd8yq3c5f4x7t9k2m6n8p0rs"))).await;
    missing.expect_problem(404, "not_found");

    let signature = url.split("signature=").nth(1).unwrap();
    let expires = url.split("expires=").nth(1).unwrap().split('&').next().unwrap();
    let mut wrong = vec![
        url.replace(id(&own), id(&other)),
        url.replace(id(&own), id(&theirs)),
        url.replace(&acme.id.to_string(), &globex.id.to_string()),
        url.replace(&acme.id.to_string(), &globex.id.to_string()).replace(id(&own), id(&theirs)),
        url.replace(expires, "4000000000"),
        url.replace(expires, &format!("0{expires}")),
        url.replace(signature, theirs["url"].as_str().unwrap().split("signature=").nth(1).unwrap()),
        url.replace(signature, ""),
        format!("{url}="),
        format!("{url}&fields=id"),
        format!("{url}&org={}", globex.id),
        url.split('?').next().unwrap().to_owned(),
        url.replace("expires=", "expires=-"),
        url.replace("org=org_", "org=usr_"),
    ];
    for at in 0..signature.len() {
        let letter = if signature[at..].starts_with('A') { 'B' } else { 'A' };
        let edited = format!("{}{letter}{}", &signature[..at], &signature[at + 1..]);
        wrong.push(url.replace(signature, &edited));
    }
    for url in wrong {
        for who in [&anybody, &acme.owner] {
            let reply = who.follow(&json!(url)).await;
            assert_eq!(reply.status, 404, "{url} opens");
            assert_eq!(reply.but_for_the_request(), missing.but_for_the_request(), "{url}");
        }
    }
    anybody.follow(&own["url"]).await.expect(200);

    // An hour later it still opens; a quarter more, and it does not.
    app.clock.advance(Duration::from_mins(59));
    let late = anybody.follow(&own["url"]).await;
    let left = late.header("cache-control").strip_prefix("private, max-age=").unwrap();
    let left: u64 = left.strip_suffix(", immutable").unwrap().parse().unwrap();
    assert!((60..=960).contains(&left), "{left}");
    app.clock.advance(Duration::from_secs(left));
    anybody.follow(&own["url"]).await.expect_problem(404, "not_found");
    let path = format!("{FILES}/{}", id(&own));
    let fresh = app.signed_in(acme.owner.user(), acme.id).await.get(&path).await.expect(200);
    anybody.follow(&fresh["url"]).await.expect(200);

    app.database.suspend(acme.id).await;
    anybody.follow(&fresh["url"]).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn of_an_address_only_guesses_count() {
    let app = TestApp::start_with("[limits.ip]\nquota_per_minute = 6\nburst = 3").await;
    let acme = app.org().await;
    let file = acme.owner.picture().await;
    let guess = json!(format!("{}x", file["url"].as_str().unwrap()));
    for _ in 0..3 {
        app.anon().follow(&guess).await.expect_problem(404, "not_found");
    }
    app.anon().follow(&guess).await.expect_problem(429, "rate_limited");
    for _ in 0..10 {
        app.anon().follow(&file["url"]).await.expect(200);
    }
}

#[tokio::test]
async fn a_file_is_what_its_bytes_say_and_what_could_do_something_is_saved_and_not_shown() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (name, declared, bytes, code) in [
        ("cog.png", "image/png", "<!DOCTYPE html><script>alert(1)</script>".as_bytes(), "wrong_type"),
        ("cog.png", "image/png", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "wrong_type"),
        ("cog.pdf", "application/pdf", b"text", "wrong_type"),
        ("cog.png", "image/png", &png()[..12], "broken_image"),
        ("cog.png", "image/png", b"", "empty"),
    ] {
        let problem = upload(&acme.owner, name, declared, bytes).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), ["/file"], "{declared}");
        assert_eq!(problem["errors"][0]["code"], code, "{declared}");
    }
    assert_eq!(acme.owner.get(FILES).await.expect(200)["data"], json!([]));
    assert_eq!(app.on_disk(), 0);

    let script: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    for (declared, bytes, kind, shown) in [
        ("image/png", png(), "image/png", "inline"),
        ("application/octet-stream", png(), "image/png", "inline"),
        ("image/svg+xml", script.to_vec(), "image/svg+xml", "attachment"),
        ("text/html", b"<!doctype html><p>x".to_vec(), "text/html", "attachment"),
        ("text/plain", b"<html>".to_vec(), "text/html", "attachment"),
        ("application/pdf", b"%PDF-1.7 ..".to_vec(), "application/pdf", "attachment"),
        ("application/x-own", b"\0\x01\x02".to_vec(), "application/octet-stream", "attachment"),
    ] {
        let file = upload(&acme.owner, "a", declared, bytes).await.expect(201);
        assert_eq!(file["content_type"], kind, "{declared}");
        let reply = app.anon().follow(&file["url"]).await;
        assert_eq!(reply.header("content-type"), kind);
        assert!(reply.header("content-disposition").starts_with(&format!("{shown}; ")), "{kind}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let policy = "default-src 'none'; sandbox; frame-ancestors 'none'";
        assert_eq!(reply.header("content-security-policy"), policy);
        assert_eq!(reply.header("cross-origin-resource-policy"), "cross-origin");
    }
}

#[tokio::test]
async fn a_name_leads_nowhere_and_ends_no_header() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (given, kept) in [
        ("../../etc/cron.d/x", "x"),
        ("C:\\temp\\cog.png", "cog.png"),
        ("Zahnräder €.png", "Zahnräder €.png"),
        ("a\u{202e}gpj.exe", "agpj.exe"),
        ("..", "file"),
    ] {
        let file = upload(&acme.owner, given, "text/plain", "x").await.expect(201);
        assert_eq!(file["name"], kept, "{given}");
        assert_eq!(app.anon().follow(&file["url"]).await.status, 200);
    }
    let named = |name: &str| {
        let file = Part::bytes(b"x".to_vec()).file_name("a.txt");
        acme.owner.upload(Form::new().text("name", name.to_owned()).part("file", file))
    };
    let quoted = named("say \"cheese\"; x=1").await.expect(201);
    assert_eq!(quoted["name"], "say \"cheese\"; x=1");
    let header = app.anon().follow(&quoted["url"]).await.header("content-disposition").to_owned();
    let expected =
        "attachment; filename=\"say _cheese__ x=1\"; filename*=UTF-8''say%20%22cheese%22%3B%20x%3D1";
    assert_eq!(header, expected);
    for wrong in
        ["", " ", "a/b", "../x", "a\r\nset-cookie: x=1", "a\u{202e}b", &"x".repeat(201), &"x".repeat(9_000)]
    {
        let problem = named(wrong).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), ["/name"], "{wrong:?}");
    }
}

#[tokio::test]
async fn a_form_that_is_none_or_holds_what_it_should_not_is_refused() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let part = || Part::bytes(b"x".to_vec()).file_name("a.txt");
    for (form, pointer, code) in [
        (Form::new().text("name", "a"), "/file", "missing_field"),
        (Form::new().part("file", part()).part("file", part()), "/file", "given_twice"),
        (Form::new().text("colour", "red").part("file", part()), "/colour", "unknown_field"),
    ] {
        let problem = acme.owner.upload(form).await.expect_problem(422, "invalid");
        assert_eq!((pointers(&problem), &problem["errors"][0]["code"]), (vec![pointer], &json!(code)));
    }
    let send = |content_type: &'static str, body: &'static str| {
        Reply::of(acme.owner.request(Method::POST, FILES).header("content-type", content_type).body(body))
    };
    send("application/json", "{}").await.expect_problem(415, "unsupported_media_type");
    send("multipart/form-data", "x").await.expect_problem(415, "unsupported_media_type");
    send("multipart/form-data; boundary=cut", "no form").await.expect_problem(400, "malformed_form");
    let cut = "--cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc";
    send("multipart/form-data; boundary=cut", cut).await.expect_problem(400, "malformed_form");
    let trial = acme.owner.request(Method::POST, FILES).header("prefer", "dry-run");
    let trial = trial.multipart(Form::new().part("file", part()));
    Reply::of(trial).await.expect_problem(400, "no_dry_run");
    assert_eq!(acme.owner.get(FILES).await.expect(200)["data"], json!([]));
    assert_eq!(app.on_disk(), 0);
}

#[tokio::test]
async fn a_file_may_be_as_large_as_the_setting_says_and_no_larger() {
    let app = TestApp::start_with("[storage]\nfile_mebibytes = 1").await;
    let acme = app.org().await;
    let largest = vec![b'x'; 1 << 20];
    let file = upload(&acme.owner, "large.txt", "text/plain", largest.clone()).await.expect(201);
    assert_eq!(file["size"], 1 << 20);
    assert_eq!(app.anon().follow(&file["url"]).await.bytes, largest);
    assert_eq!(app.on_disk(), 1);

    for more in [1, 70_000, 3 << 20] {
        let bytes = vec![b'x'; (1 << 20) + more];
        let refused = upload(&acme.owner, "larger.txt", "text/plain", bytes).await;
        refused.expect_problem(413, "payload_too_large");
    }
    // The body of any other operation is no longer than before.
    let json = json!({"sku": "x".repeat(1 << 20)});
    acme.owner.post("/api/v1/products", json).await.expect_problem(413, "payload_too_large");
    assert_eq!(app.on_disk(), 1);
}

#[tokio::test]
async fn nothing_stays_of_an_upload_whose_client_hangs_up() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let client = begin(&app, &acme.owner, 7 << 20).await;
    until("some of it is on disk", async || app.on_disk() > 0).await;
    assert_eq!(app.stored(acme.id).await, [""; 0], "and none of it to be seen");
    drop(client);
    until("none of it is", async || app.on_disk() == 0).await;
    assert_eq!(acme.owner.get(FILES).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn an_upload_may_take_longer_than_other_requests_while_it_goes_on() {
    let app = TestApp::start_with("[http]\ntimeout_seconds = 1").await;
    let acme = app.org().await;
    let mut slow = begin(&app, &acme.owner, 200_000).await;
    // Little has arrived of it, and no more does: it has the second that everybody has.
    let mut silent = begin(&app, &acme.owner, 1_000).await;
    let mut said = String::new();
    silent.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");

    slow.write_all(b"x\r\n--cut--\r\n").await.unwrap();
    let mut said = String::new();
    slow.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_kept() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    app.database.run("alter table files rename to gone").await;
    upload(&acme.owner, "a.txt", "text/plain", "x").await.expect_problem(500, "internal");
    assert_eq!(app.stored(acme.id).await, [""; 0]);
}

#[tokio::test]
async fn what_a_server_that_died_has_left_is_swept_once_no_upload_can_be_under_way() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let kept = globex.owner.picture().await;
    let left = app.died_in_an_upload(acme.id, app.clock.now() + time::Duration::days(1)).await;
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!(app.stored(acme.id).await, [left.to_string()], "it may still become a file");

    app.clock.advance(Duration::from_hours(25));
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!(app.stored(acme.id).await, [""; 0]);
    assert_eq!(app.stored(globex.id).await, [id(&kept)]);
    assert_eq!(app.database.count("select count(*) from loose_files").await, 0);
    worker::sweep_rows(&app.state).await.unwrap();
}

#[tokio::test]
async fn what_the_storage_would_not_let_go_of_is_tried_again() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let file = acme.owner.picture().await;
    let place = app.database.files.join(acme.id.to_string()).join(id(&file));
    // A folder is no file, and can't be deleted as one.
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir_all(place.join("full")).unwrap();
    acme.owner.delete(&format!("{FILES}/{}", id(&file))).await.expect(204);
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!(app.database.count("select count(*) from loose_files").await, 1);

    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "left").unwrap();
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!(app.database.count("select count(*) from loose_files").await, 0);
    assert_eq!(app.on_disk(), 0);
}

#[tokio::test]
async fn a_part_is_had_by_its_range_and_nothing_by_who_has_it_already() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let file = upload(&acme.owner, "a.txt", "text/plain", "0123456789").await.expect(201);
    let (url, tag) = (&file["url"], format!("\"{}\"", file["sha256"].as_str().unwrap()));
    let get = async |headers: &[(&str, &str)]| with(&app.anon(), Method::GET, url, headers).await;

    for (range, part, said) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-1", "9", "bytes 9-9/10"),
        ("bytes=0-99", "0123456789", "bytes 0-9/10"),
    ] {
        let reply = get(&[("range", range)]).await;
        assert_eq!((reply.status, reply.text.as_str(), reply.header("content-range")), (206, part, said));
        assert_eq!(reply.header("content-length"), part.len().to_string());
        assert_eq!(reply.header("etag"), tag);
    }
    for range in ["bytes=0-1,4-5", "bytes=4-2", "lines=1-2"] {
        let reply = get(&[("range", range)]).await;
        assert_eq!(
            (reply.status, reply.text.as_str(), reply.header("content-range")),
            (200, "0123456789", "")
        );
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
    let beyond = get(&[("range", "bytes=10-")]).await;
    beyond.expect_problem(416, "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), "bytes */10");

    assert_eq!(get(&[("range", "bytes=0-0"), ("if-range", &tag)]).await.text, "0");
    assert_eq!(get(&[("range", "bytes=0-0"), ("if-range", "\"old\"")]).await.text, "0123456789");
    let known = get(&[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", tag.as_str()));
    assert!(known.header("cache-control").starts_with("private, max-age="));
    assert_eq!(get(&[("if-none-match", "\"old\"")]).await.status, 200);

    let path = url.as_str().unwrap().strip_prefix("http://insula.test").unwrap();
    let head = app.anon().request(Method::HEAD, path).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"10".parse().unwrap()));
}

#[tokio::test]
async fn the_document_says_how_to_upload() {
    let document = Document::of(&TestApp::start().await).await;
    let operations = document.operations();
    let upload = operations.iter().find(|operation| operation.to_string() == "POST /api/v1/files").unwrap();
    let form = &upload.description["requestBody"]["content"]["multipart/form-data"];
    let form = document.resolve(&form["schema"]);
    assert_eq!(form["properties"]["file"]["format"], "binary");
    assert_eq!(form["required"], json!(["file"]));
    let samples = upload.description["x-codeSamples"].as_array().unwrap();
    let curl = samples.iter().find(|sample| sample["lang"] == "Shell").unwrap()["source"].as_str().unwrap();
    assert!(curl.contains("--form 'file=@cog.png'") && !curl.contains("Content-Type"), "{curl}");
}
