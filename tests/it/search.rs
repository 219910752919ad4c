//! Search: what is found by which words, in which order, by whom, and never another org's.

use super::support::{Crowd, Org, Persona, Reply, TestApp, id};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

const PRODUCTS: &str = "/api/v1/products";

async fn make(by: &Persona, sku: &str, name: &str, description: &str) -> Value {
    let price = json!({"amount": 100, "currency": "EUR"});
    let new = json!({"sku": sku, "name": name, "description": description, "price": price});
    by.post(PRODUCTS, new).await.expect(201)
}

fn query(q: &str) -> String {
    reqwest::Url::parse_with_params("http://x/", [("q", q)]).unwrap().query().unwrap().to_owned()
}

async fn ask(by: &Persona, q: &str) -> Reply {
    by.get(&format!("/api/v1/search?{}&limit=100", query(q))).await
}

/// The skus of what is found, the best first; and the list finds the same.
async fn found(by: &Persona, q: &str) -> Vec<String> {
    let skus = |hits: &Value, at: &str| -> Vec<String> {
        let hits = hits["data"].as_array().unwrap();
        hits.iter().map(|hit| hit.pointer(at).unwrap().as_str().unwrap().to_owned()).collect()
    };
    let found = skus(&ask(by, q).await.expect(200), "/product/sku");
    let page = by.get(&format!("{PRODUCTS}?{}&limit=100&sort=sku", query(q))).await.expect(200);
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(skus(&page, "/sku"), sorted, "the list finds others for {q:?}");
    found
}

async fn shop() -> (TestApp, Org) {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (sku, name, description) in [
        ("WID-1", "Blue widget", "Holds a compressor."),
        ("WID-2", "Red widget", ""),
        ("CAF-1", "Café crème", "Größer als 100%"),
        ("COMP-9", "Compressor", "For fridges, and for a blue widget."),
        ("AB-2024", "Кот в сапогах", ""),
    ] {
        make(&acme.owner, sku, name, description).await;
    }
    (app, acme)
}

#[tokio::test]
async fn what_was_written_is_found_by_the_next_request_and_what_was_deleted_is_not() {
    let (_app, acme) = shop().await;
    let by = &acme.owner;
    let made = make(by, "NEW-1", "Lantern", "").await;
    assert_eq!(found(by, "lantern").await, ["NEW-1"]);

    let path = format!("{PRODUCTS}/{}", id(&made));
    by.patch(&path, json!({"name": "Candlestick"})).await.expect(200);
    assert_eq!(found(by, "candlestick").await, ["NEW-1"]);
    assert_eq!(found(by, "lantern").await, [""; 0]);

    by.delete(&path).await.expect(204);
    assert_eq!(found(by, "candlestick").await, [""; 0]);
    by.post(&format!("{path}/restore"), json!({})).await.expect(200);
    assert_eq!(found(by, "candlestick").await, ["NEW-1"]);
}

#[tokio::test]
async fn case_accents_and_what_stands_between_words_do_not_matter_and_beginnings_do() {
    let (_app, acme) = shop().await;
    for (q, skus) in [
        ("CAFE", vec!["CAF-1"]),
        ("cafe\u{301} CREME", vec!["CAF-1"]),
        ("groesser", vec![]),
        ("grosser", vec!["CAF-1"]),
        ("wid", vec!["WID-2", "WID-1"]),
        ("re wi", vec!["WID-2"]),
        ("wid1", vec!["WID-1"]),
        ("кот", vec!["AB-2024"]),
        ("КОТ", vec!["AB-2024"]),
        ("blue lantern", vec![]),
        ("!!!", vec![]),
    ] {
        assert_eq!(found(&acme.viewer, q).await, skus, "{q}");
    }
}

#[tokio::test]
async fn one_slip_in_a_word_is_forgiven_wherever_it_is_and_no_more() {
    let (_app, acme) = shop().await;
    let by = &acme.owner;
    assert_eq!(found(by, "bleu widget").await, ["WID-1"]);
    assert_eq!(found(by, "blue wigdet").await, ["WID-1"]);
    assert_eq!(found(by, "bleu wodget").await, ["WID-1"]);
    for at in 0..6 {
        let (head, tail) = ("widget".split_at(at).0, &"widget"[at + 1..]);
        let mut swapped: Vec<char> = "widget".chars().collect();
        swapped.swap(at.min(4), at.min(4) + 1);
        for slip in [
            format!("{head}{tail}"),
            format!("{head}x{tail}"),
            format!("{}x{}", &"widget"[..at], &"widget"[at..]),
            swapped.into_iter().collect(),
        ] {
            assert_eq!(found(by, &slip).await, ["WID-2", "WID-1"], "{slip}");
        }
    }
    for (q, why) in [
        ("wodgit", "two slips in one word"),
        ("2025", "another number is another thing"),
        ("rad", "a short word is most of it another one"),
    ] {
        assert_eq!(found(by, q).await, [""; 0], "{q}: {why}");
    }
}

#[tokio::test]
async fn the_own_sku_comes_first_then_whole_words_beginnings_descriptions_and_slips() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    for (sku, name, description) in [
        ("A-SLIP", "Goober", ""),
        ("B-TOLD", "Thing", "It wants a goobers."),
        ("C-BEGINS", "Goobersome", ""),
        ("D-WHOLE", "Thing of goobers", ""),
        ("E-SHORTER", "Goobers", ""),
        ("goobers", "Something", ""),
    ] {
        make(&acme.owner, sku, name, description).await;
    }
    let order = ["goobers", "E-SHORTER", "D-WHOLE", "C-BEGINS", "B-TOLD", "A-SLIP"];
    assert_eq!(found(&acme.owner, "Goobers").await, order);
    // The best of all, and not of the first that were looked at.
    let first = acme.owner.get("/api/v1/search?q=goobers&limit=2").await.expect(200);
    assert_eq!(first["data"][0]["product"]["sku"], "goobers");
    assert_eq!(first["data"][0]["score"], 1.0);
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    assert_eq!(first["has_more"], true);
    assert_eq!(ask(&acme.owner, "goobers").await.expect(200)["has_more"], false);
}

#[tokio::test]
async fn of_what_very_many_have_the_own_sku_still_comes_first_and_it_is_said_that_not_all_are_ranked() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let mut superuser = app.database.superuser().await;
    for (org, products) in [(&acme, 5_001), (&globex, 3)] {
        let many = format!(
            "insert into products (org_id, id, sku, name, price, currency)
             select '{}', gen_random_uuid(), 'C-' || at, 'Common ' || at, 1, 'EUR' from generate_series(1, {products}) at",
            org.id.uuid()
        );
        superuser.execute(sqlx::raw_sql(AssertSqlSafe(many))).await.unwrap();
    }
    make(&acme.owner, "common", "Something else", "").await;
    make(&acme.owner, "X-1", "Commonplace", "Of a common lantern.").await;
    for q in ["Common", "comm"] {
        let answer = acme.viewer.get(&format!("/api/v1/search?q={q}&limit=1")).await.expect(200);
        assert_eq!((&answer["truncated"], &answer["has_more"]), (&json!(true), &json!(true)), "{q}");
        let first = if q == "comm" { 0.8 } else { 1.0 };
        assert!((answer["data"][0]["score"].as_f64().unwrap() - first).abs() < 0.001, "{answer}");
    }
    let counted = |org: &Org| {
        let list = org.viewer.request(reqwest::Method::GET, &format!("{PRODUCTS}?q=common&limit=1"));
        Reply::of(list.header("prefer", "count=exact"))
    };
    assert_eq!(counted(&acme).await.expect(200)["total_count"], 5_000);
    assert_eq!(counted(&globex).await.expect(200)["total_count"], 3);
    for (org, q) in [(&acme, "common lantern"), (&acme, "4999"), (&globex, "common"), (&acme, "nothing")] {
        assert_eq!(ask(&org.viewer, q).await.expect(200)["truncated"], false, "{q}");
    }
    assert_eq!(found(&acme.viewer, "common lantern").await, ["X-1"]);
}

#[tokio::test]
async fn a_hit_says_what_it_is_and_why_in_html_that_is_safe_to_show() {
    let (_app, acme) = shop().await;
    let evil = "<script>alert('x')</script> \"gizmo\" & co";
    make(&acme.owner, "<b>-1", evil, "A <i>gizmo</i> it is.").await;
    let answer = ask(&acme.owner, "gizno").await.expect(200);
    let hit = &answer["data"][0];
    assert_eq!(hit["type"], "product");
    assert_eq!(hit["product"]["name"], evil);
    assert_eq!(
        hit["highlights"]["name"],
        "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;<mark>gizmo</mark>&quot; &amp; co"
    );
    assert_eq!(hit["highlights"]["sku"], "&lt;b&gt;-1");
    let told = ask(&acme.owner, "gizmo").await.expect(200);
    assert_eq!(
        told["data"][0]["highlights"]["description"],
        "A &lt;i&gt;<mark>gizmo</mark>&lt;/i&gt; it is."
    );
}

#[tokio::test]
async fn whatever_is_asked_is_answered_and_what_is_no_question_is_refused() {
    let (_app, acme) = shop().await;
    let long = "blue ".repeat(40);
    let one = "w".repeat(200);
    let odd = "é½ﬁ漢🔧".repeat(40);
    for q in [
        "'",
        "''; drop table products",
        "\"",
        "a:*",
        "& | !",
        "!a & (b | c)",
        "<->",
        "\\",
        "%",
        "_",
        "a\\'b",
        "*",
        "'='",
        "1~x",
        "$1",
        "{}",
        "\u{feff}",
        "\u{301}",
        "\t\n",
        "🔧",
        "İı",
        &long,
        &one,
        &odd,
    ] {
        ask(&acme.viewer, q).await.expect(200);
        acme.viewer.get(&format!("{PRODUCTS}?{}", query(q))).await.expect(200);
    }
    let too_long = "w".repeat(201);
    for q in ["", "\0", "a\0b", &too_long] {
        ask(&acme.viewer, q).await.expect_problem(400, "bad_parameter");
        acme.viewer.get(&format!("{PRODUCTS}?{}", query(q))).await.expect_problem(400, "bad_parameter");
    }
    for wrong in ["", "?q=a&limit=0", "?q=a&limit=101", "?q=a&limit=x", "?q=a&page=2", "?q=a&q=b"] {
        let answer = acme.viewer.get(&format!("/api/v1/search{wrong}")).await;
        answer.expect_problem(400, "bad_parameter");
    }
    // Words as long as any, and more of them than count.
    make(&acme.owner, &"S".repeat(64), &"N".repeat(200), &"D".repeat(10_000)).await;
    assert_eq!(found(&acme.owner, &"n".repeat(200)).await.len(), 1);
}

#[tokio::test]
async fn a_list_is_searched_filtered_sorted_and_paged_at_once() {
    let (_app, acme) = shop().await;
    let by = &acme.owner;
    let list = |rest: &str| format!("{PRODUCTS}?q=wid{rest}");
    let first = by.get(&list("&sort=-sku&limit=1")).await.expect(200);
    assert_eq!(first["data"][0]["sku"], "WID-2");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = by.get(&list(&format!("&sort=-sku&limit=1&cursor={cursor}"))).await.expect(200);
    assert_eq!(second["data"][0]["sku"], "WID-1");
    assert_eq!(second["has_more"], false);
    let other = format!("{PRODUCTS}?q=comp&sort=-sku&limit=1&cursor={cursor}");
    by.get(&other).await.expect_problem(400, "bad_cursor");
    assert_eq!(by.get(&list("&price_gte=101")).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn another_org_s_products_are_not_found_and_not_even_proposed() {
    let (app, acme) = shop().await;
    let globex = app.org().await;
    make(&globex.owner, "SECRET-1", "Clandestine widget", "").await;
    assert_eq!(found(&acme.owner, "clandestine").await, [""; 0]);
    assert_eq!(found(&globex.owner, "widget").await, ["SECRET-1"]);

    let mut database = app.database.connect("insula_app").await;
    for (org, words, proposed) in
        [(&acme, "clandestine", 0), (&globex, "clandestine", 1), (&globex, "blue", 0)]
    {
        let enter = format!("begin; set local app.org_id = '{}'", org.id.uuid());
        database.execute(sqlx::raw_sql(AssertSqlSafe(enter))).await.unwrap();
        assert_eq!(proposals(&mut database, words).await, Ok(proposed), "{words} to {}", org.slug);
        database.execute("rollback").await.unwrap();
    }
    assert!(proposals(&mut database, "widget").await.is_err(), "of no org at all");
}

/// How many the index proposes, whatever becomes of them.
async fn proposals(database: &mut PgConnection, words: &str) -> Result<i64, String> {
    let proposed = sqlx::query_scalar("select count(*) from search_products($1, null)").bind(words);
    proposed.fetch_one(database).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn who_may_not_see_products_finds_none_and_a_search_costs_five() {
    let (app, acme) = shop().await;
    let orders = app.api_key(&acme, &["orders:read"]).await;
    let problem = ask(&orders, "widget").await.expect_problem(403, "permission_denied");
    assert_eq!(problem["permission"], "products:read");
    let products = app.api_key(&acme, &["products:read"]).await;
    assert_eq!(found(&products, "red widget").await, ["WID-2"]);

    let document = app.anon().get("/openapi.json").await.expect(200);
    assert_eq!(document["paths"]["/api/v1/search"]["get"]["x-cost"], 5);
}

#[tokio::test]
async fn the_index_is_looked_up_by_org_and_words_whatever_they_are() {
    let crowd = Crowd::gather().await;
    let mut owner = crowd.owner().await;
    let prepare = format!(
        "begin; set local role insula_search; set local app.org_id = '{}'; \
         set local plan_cache_mode = force_generic_plan; \
         prepare proposals (tsquery) as select id from products \
         where org_id = current_setting('app.org_id')::uuid and deleted_at is null and search @@ $1",
        crowd.org.uuid()
    );
    owner.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap();
    let plan: Vec<String> =
        sqlx::query_scalar("explain execute proposals (null)").fetch_all(&mut owner).await.unwrap();
    let plan = plan.join("\n");
    let condition = plan.lines().find(|line| line.contains("Index Cond")).unwrap_or_default();
    assert!(plan.contains("products_search"), "{plan}");
    assert!(condition.contains("org_id =") && condition.contains("search @@"), "{plan}");
}
