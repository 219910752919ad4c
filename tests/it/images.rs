//! How products look: which pictures, in which order, and who may say so.

use super::support::{Org, Persona, Reply, TestApp, id, pointers, product, upload};
use futures::future::join_all;
use insula::worker;
use reqwest::Method;
use serde_json::{Value, json};

const PRODUCTS: &str = "/api/v1/products";

async fn thing(by: &Persona, sku: &str) -> String {
    format!("{PRODUCTS}/{}", id(&by.post(PRODUCTS, product(sku, 1)).await.expect(201)))
}

/// Shows the product by a new picture.
async fn show(by: &Persona, product: &str, alt: &str) -> Value {
    let file = by.picture().await;
    by.post(&format!("{product}/images"), json!({"file_id": file["id"], "alt": alt})).await.expect(201)
}

fn path(product: &str, image: &Value) -> String {
    format!("{product}/images/{}", id(image))
}

/// The alternative texts in their order, after a look at whether they are numbered by it.
async fn shown(by: &Persona, product: &str) -> Vec<String> {
    let page = by.get(&format!("{product}/images")).await.expect(200);
    let images = page["data"].as_array().unwrap();
    for (image, position) in images.iter().zip(1..) {
        assert_eq!(image["position"], position, "{images:?}");
    }
    images.iter().map(|image| image["alt"].as_str().unwrap().to_owned()).collect()
}

async fn product_with(org: &Org, alts: &[&str]) -> (String, Vec<Value>) {
    let product = thing(&org.owner, "THING").await;
    let mut images = Vec::new();
    for alt in alts {
        images.push(show(&org.owner, &product, alt).await);
    }
    (product, images)
}

#[tokio::test]
async fn a_product_is_shown_by_pictures_of_its_own_org_alone() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (product, theirs) = (thing(&acme.member, "COG").await, thing(&globex.owner, "COG").await);
    let file = acme.member.picture().await;
    let new = json!({"file_id": file["id"], "alt": "A cog"});
    let reply = acme.member.post(&format!("{product}/images"), new.clone()).await;
    let image = reply.expect(201);
    assert_eq!(reply.header("location"), path(&product, &image));
    assert_eq!((&image["position"], &image["alt"], &image["width"]), (&json!(1), &json!("A cog"), &json!(2)));
    let got = acme.viewer.get(&path(&product, &image)).await;
    assert_eq!((got.expect(200), got.header("etag")), (image.clone(), "\"1\""));
    let page = acme.viewer.get(&format!("{product}/images")).await.expect(200);
    assert_eq!((&page["data"], &page["has_more"]), (&json!([image]), &json!(false)));
    assert_eq!(app.anon().follow(&image["url"]).await.status, 200);

    for reply in [
        globex.owner.get(&format!("{product}/images")).await,
        globex.owner.get(&path(&product, &image)).await,
        globex.owner.get(&path(&theirs, &image)).await,
        globex.owner.post(&format!("{product}/images"), new.clone()).await,
        globex.owner.patch(&path(&product, &image), json!({"alt": "mine"})).await,
        globex.owner.delete(&path(&theirs, &image)).await,
    ] {
        reply.expect_problem(404, "not_found");
    }
    let never_was = json!({"file_id": "fil_01jd8yq3c5f4x7t9k2m6n8p0rs"});
    let foreign = globex.owner.post(&format!("{theirs}/images"), new.clone()).await;
    assert_eq!(pointers(&foreign.expect_problem(422, "invalid")), ["/file_id"]);
    let unknown = globex.owner.post(&format!("{theirs}/images"), never_was).await;
    assert_eq!(foreign.without_request_id(), unknown.without_request_id());

    let refused = acme.viewer.post(&format!("{product}/images"), new).await;
    refused.expect_problem(403, "permission_denied");
    acme.viewer.delete(&path(&product, &image)).await.expect_problem(403, "permission_denied");
    acme.member.delete(&path(&product, &image)).await.expect(204);
    acme.member.get(&path(&product, &image)).await.expect_problem(404, "not_found");
    acme.member.get(&format!("/api/v1/files/{}", id(&file))).await.expect(200);
}

#[tokio::test]
async fn what_is_no_picture_shows_nothing_and_no_picture_shows_a_product_twice() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let images = format!("{}/images", thing(&acme.owner, "COG").await);
    for (declared, bytes) in
        [("text/plain", "text"), ("image/svg+xml", "<svg/>"), ("application/pdf", "%PDF-1.7")]
    {
        let file = upload(&acme.owner, "a", declared, bytes).await.expect(201);
        let problem =
            acme.owner.post(&images, json!({"file_id": file["id"]})).await.expect_problem(422, "invalid");
        assert_eq!(problem["errors"][0]["code"], "not_an_image", "{declared}");
    }
    let file = acme.owner.picture().await;
    for (field, wrong) in
        [("alt", json!("x".repeat(501))), ("position", json!(0)), ("alt", json!(null)), ("colour", json!(1))]
    {
        let mut new = json!({"file_id": file["id"]});
        new[field] = wrong;
        let problem = acme.owner.post(&images, new).await.expect_problem(422, "invalid");
        assert!(pointers(&problem)[0].ends_with(field), "{problem}");
    }
    let new = json!({"file_id": file["id"]});
    acme.owner.post(&images, new.clone()).await.expect(201);
    acme.owner.post(&images, new.clone()).await.expect_problem(409, "already_shown");

    // Sent again under its key it is done once.
    let other = json!({"file_id": acme.owner.picture().await["id"]});
    let first = acme.owner.post_as("once", &images, other.clone()).await.expect(201);
    assert_eq!(acme.owner.post_as("once", &images, other).await.expect(201), first);
    // Under the same key another product is another request.
    let elsewhere = format!("{}/images", thing(&acme.owner, "WHEEL").await);
    acme.owner.post_as("once", &elsewhere, new).await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn pictures_have_an_order_that_each_can_be_moved_in() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (product, images) = product_with(&acme, &["a", "b", "c", "d"]).await;
    for (moved, position, order) in
        [(0, 3, "bcad"), (0, 1, "abcd"), (3, 1, "dabc"), (3, 99, "abcd"), (1, 2, "abcd"), (1, 3, "acbd")]
    {
        let reply = acme.member.patch(&path(&product, &images[moved]), json!({"position": position})).await;
        assert_eq!(reply.expect(200)["position"], position.min(4));
        assert_eq!(shown(&acme.viewer, &product).await.concat(), order);
    }
    let file = acme.owner.picture().await;
    let second = json!({"file_id": file["id"], "alt": "x", "position": 2});
    acme.owner.post(&format!("{product}/images"), second).await.expect(201);
    assert_eq!(shown(&acme.viewer, &product).await.concat(), "axcbd");
    let last = json!({"file_id": acme.owner.picture().await["id"], "alt": "y", "position": 50});
    assert_eq!(acme.owner.post(&format!("{product}/images"), last).await.expect(201)["position"], 6);

    acme.owner.delete(&path(&product, &images[0])).await.expect(204);
    assert_eq!(shown(&acme.viewer, &product).await.concat(), "xcbdy");
    let both = json!({"position": 1, "alt": "B"});
    acme.member.patch(&path(&product, &images[1]), both).await.expect(200);
    assert_eq!(shown(&acme.viewer, &product).await.concat(), "Bxcdy");
}

#[tokio::test]
async fn a_picture_is_changed_as_it_was_last_seen_and_tried_out_for_nothing() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (product, images) = product_with(&acme, &["a", "b"]).await;
    let first = path(&product, &images[0]);
    let changed = acme.member.patch_if(&first, "\"1\"", json!({"alt": "A"})).await;
    assert_eq!((changed.expect(200)["alt"].clone(), changed.header("etag")), (json!("A"), "\"2\""));
    acme.member.patch_if(&first, "\"1\"", json!({"alt": "AA"})).await.expect_problem(412, "stale");
    // Whoever moves is another, and so is whoever was moved.
    acme.member.patch(&path(&product, &images[1]), json!({"position": 1})).await.expect(200);
    assert_eq!(acme.viewer.get(&first).await.header("etag"), "\"3\"");
    for (method, field) in [(Method::PATCH, "alt"), (Method::DELETE, "")] {
        let request = acme.member.request(method, &first).json(&json!({field: "x"}));
        Reply::of(request).await.expect_problem(428, "if_match_required");
    }
    let trial =
        acme.member.request(Method::PATCH, &first).header("prefer", "dry-run").header("if-match", "*");
    let tried = Reply::of(trial.json(&json!({"position": 1, "alt": "z"}))).await.expect(200);
    assert_eq!((&tried["position"], &tried["alt"]), (&json!(1), &json!("z")));
    assert_eq!(shown(&acme.viewer, &product).await, ["b", "A"]);
}

#[tokio::test]
async fn however_many_come_at_once_a_product_has_twenty_pictures_and_an_order_of_them() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let product = thing(&acme.owner, "COG").await;
    let mut files = Vec::new();
    for _ in 0..25 {
        files.push(acme.owner.picture().await);
    }
    let images = format!("{product}/images");
    let at_once = files.iter().enumerate().map(|(at, file)| {
        acme.owner
            .post(&images, json!({"file_id": file["id"], "alt": at.to_string(), "position": at % 3 + 1}))
    });
    let replies = join_all(at_once).await;
    let made: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(made.len(), 20);
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        refused.expect_problem(409, "too_many_images");
    }
    assert_eq!(shown(&acme.viewer, &product).await.len(), 20);

    let moves = made.iter().enumerate().map(|(at, image)| {
        let (by, path) = (&acme.owner, path(&product, &image.json()));
        async move {
            let done = if at % 2 == 0 {
                by.delete(&path).await
            } else {
                by.patch(&path, json!({"position": 20 - at})).await
            };
            assert!([200, 204].contains(&done.status), "{}", done.text);
        }
    });
    join_all(moves).await;
    assert_eq!(shown(&acme.viewer, &product).await.len(), 10);
}

#[tokio::test]
async fn a_file_that_shows_a_product_stays_until_the_product_goes() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (product, images) = product_with(&acme, &["a", "b", "c"]).await;
    let file = |image: &Value| format!("/api/v1/files/{}", image["file_id"].as_str().unwrap());
    acme.owner.delete(&file(&images[0])).await.expect_problem(409, "in_use");
    acme.owner.delete(&path(&product, &images[0])).await.expect(204);
    acme.owner.delete(&file(&images[0])).await.expect(204);

    acme.owner.delete(&product).await.expect(204);
    for reply in [
        acme.owner.get(&format!("{product}/images")).await,
        acme.owner.get(&path(&product, &images[1])).await,
        acme.owner.patch(&path(&product, &images[1]), json!({"alt": "x"})).await,
    ] {
        reply.expect_problem(404, "not_found");
    }
    // It shows nothing that anybody sees; the product comes back without it.
    acme.owner.delete(&file(&images[1])).await.expect(204);
    acme.owner.post(&format!("{product}/restore"), json!({})).await.expect(200);
    assert_eq!(shown(&acme.viewer, &product).await, ["c"]);

    acme.owner.delete(&product).await.expect(204);
    app.database.run("update products set deleted_at = now() - interval '31 days'").await;
    worker::sweep_rows(&app.state).await.unwrap();
    assert_eq!(app.database.count("select count(*) from product_images").await, 0);
    acme.owner.delete(&file(&images[2])).await.expect(204);
}
