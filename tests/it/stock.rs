//! Stock and order numbers, however many buy at once.

use super::support::{Org, TestApp, id, pointers, product};
use futures::future::{join, join_all};
use serde_json::{Value, json};

const ORDERS: &str = "/api/v1/orders";
const PRODUCTS: &str = "/api/v1/products";

/// What is tested is who gets what, not how long they wait for a connection.
const PATIENT: &str = "[database]\nacquire_seconds = 30";

async fn stocked(org: &Org, sku: &str, stock: u32) -> Value {
    org.owner.post(PRODUCTS, product(sku, stock)).await.expect(201)
}

fn of(lines: &[(&Value, i64)]) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(product, quantity)| json!({"product_id": product["id"], "quantity": quantity}))
        .collect();
    json!({"lines": lines})
}

async fn left(org: &Org, product: &Value) -> i64 {
    let product = org.viewer.get(&format!("{PRODUCTS}/{}", id(product))).await.expect(200);
    product["stock"].as_i64().unwrap()
}

async fn numbers(org: &Org) -> Vec<i64> {
    let page = org.viewer.get(&format!("{ORDERS}?sort=number&limit=100")).await.expect(200);
    page["data"].as_array().unwrap().iter().map(|order| order["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_order_takes_all_it_names_or_nothing() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, wheel) = (stocked(&acme, "COG", 10).await, stocked(&acme, "WHEEL", 1).await);
    let theirs = stocked(&globex, "COG", 10).await;

    acme.member.post(ORDERS, of(&[(&cog, 4)])).await.expect(201);
    let refused = acme.member.post(ORDERS, of(&[(&cog, 1), (&wheel, 2)])).await;
    let refused = refused.expect_problem(409, "out_of_stock");
    assert_eq!(refused["detail"], "2 of WHEEL are wanted, and 1 are there");
    // Lines of one product are one wish.
    acme.member.post(ORDERS, of(&[(&cog, 4), (&cog, 3)])).await.expect_problem(409, "out_of_stock");
    assert_eq!((left(&acme, &cog).await, left(&acme, &wheel).await), (6, 1));
    acme.member.post(ORDERS, of(&[(&cog, 3), (&wheel, 1), (&cog, 3)])).await.expect(201);
    assert_eq!((left(&acme, &cog).await, left(&acme, &wheel).await), (0, 0));
    assert_eq!(left(&globex, &theirs).await, 10);
    assert_eq!(numbers(&acme).await, [1, 2], "a refused order takes no number");
}

#[tokio::test]
async fn what_cannot_be_sold_is_pointed_at_line_by_line() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, gone, off) =
        (stocked(&acme, "COG", 9).await, stocked(&acme, "GONE", 9).await, stocked(&acme, "OFF", 9).await);
    let theirs = stocked(&globex, "THEIRS", 9).await;
    let mut yen = product("YEN", 9);
    yen["price"]["currency"] = json!("JPY");
    let yen = acme.owner.post(PRODUCTS, yen).await.expect(201);
    acme.owner.delete(&format!("{PRODUCTS}/{}", id(&gone))).await.expect(204);
    acme.owner.patch(&format!("{PRODUCTS}/{}", id(&off)), json!({"is_active": false})).await.expect(200);
    let never = json!({"id": "prd_01jd8yq3c5f4x7t9k2m6n8p0rs"});

    let lines = [(&cog, 1), (&gone, 1), (&off, 1), (&theirs, 1), (&never, 1), (&yen, 1)];
    let problem = acme.member.post(ORDERS, of(&lines)).await.expect_problem(422, "invalid");
    let told: Vec<(&str, &str)> = pointers(&problem)
        .into_iter()
        .zip(problem["errors"].as_array().unwrap().iter().map(|flaw| flaw["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("/lines/1/product_id", "not_found"),
            ("/lines/2/product_id", "not_on_sale"),
            ("/lines/3/product_id", "not_found"),
            ("/lines/4/product_id", "not_found"),
            ("/lines/5/product_id", "mixed_currencies"),
        ]
    );
    for (order, pointer) in [
        (json!({"lines": []}), "/lines"),
        (json!({}), "/lines"),
        (of(&vec![(&cog, 1); 101]), "/lines"),
        (of(&[(&cog, 0)]), "/lines/0/quantity"),
        (of(&[(&cog, 1), (&cog, -1)]), "/lines/1/quantity"),
        (of(&[(&cog, 1_001)]), "/lines/0/quantity"),
        (of(&[(&cog, i64::MAX)]), "/lines/0/quantity"),
        (of(&[(&json!({"id": "nonsense"}), 1)]), "/lines/0/product_id"),
        (
            json!({"lines": [{"product_id": cog["id"], "quantity": 1, "unit_price": 0}]}),
            "/lines/0/unit_price",
        ),
        (json!({"lines": [{"product_id": cog["id"], "quantity": 1}], "total": 0}), "/total"),
    ] {
        let problem = acme.member.post(ORDERS, order).await.expect_problem(422, "invalid");
        assert_eq!(pointers(&problem), [pointer]);
    }
    assert_eq!((left(&acme, &cog).await, left(&globex, &theirs).await), (9, 9));
}

#[tokio::test]
async fn two_hundred_buyers_of_ten_pieces_make_ten_orders() {
    let app = TestApp::start_with(PATIENT).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, theirs) = (stocked(&acme, "COG", 10).await, stocked(&globex, "COG", 10).await);
    let buyers = [&acme.member, &acme.admin, &acme.owner];
    let replies = join_all((0..200).map(|at| buyers[at % 3].post(ORDERS, of(&[(&cog, 1)])))).await;
    let (sold, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    assert_eq!((sold.len(), refused.len()), (10, 190));
    for reply in refused {
        reply.expect_problem(409, "out_of_stock");
    }
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(app.database.count(deadlocks).await, 0);
    assert_eq!((left(&acme, &cog).await, left(&globex, &theirs).await), (0, 10));
    assert_eq!(numbers(&acme).await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn orders_that_name_products_in_opposite_order_never_lock_each_other_out() {
    let app = TestApp::start_with(PATIENT).await;
    let acme = app.org().await;
    let (cog, wheel) = (stocked(&acme, "COG", 100).await, stocked(&acme, "WHEEL", 100).await);
    let place = |at: usize| {
        let (first, second) = if at.is_multiple_of(2) { (&cog, &wheel) } else { (&wheel, &cog) };
        acme.member.post(ORDERS, of(&[(first, 1), (second, 1)]))
    };
    let placed = join_all((0..20).map(place)).await;
    let cancels: Vec<String> =
        placed.iter().map(|reply| format!("{ORDERS}/{}/cancel", id(&reply.expect(201)))).collect();
    // And against cancellations, which give back what they took.
    let (cancelled, placed) = join(
        join_all(cancels.iter().map(|path| acme.owner.post(path, json!({})))),
        join_all((0..20).map(place)),
    )
    .await;
    for (reply, status) in cancelled.iter().zip([200; 20]).chain(placed.iter().zip([201; 20])) {
        reply.expect(status);
    }
    assert_eq!((left(&acme, &cog).await, left(&acme, &wheel).await), (80, 80));
    assert_eq!(numbers(&acme).await, (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn numbers_have_no_gaps_though_every_other_order_fails() {
    let app = TestApp::start_with(PATIENT).await;
    let (acme, globex) = (app.org().await, app.org().await);
    let (cog, rare) = (stocked(&acme, "COG", 100).await, stocked(&acme, "RARE", 0).await);
    let theirs = stocked(&globex, "COG", 100).await;
    let wishes: Vec<Value> =
        (0..30).map(|at| if at % 2 == 0 { of(&[(&cog, 1)]) } else { of(&[(&cog, 1), (&rare, 1)]) }).collect();
    join_all(wishes.into_iter().map(|wish| acme.member.post(ORDERS, wish))).await;
    assert_eq!(numbers(&acme).await, (1..=15).collect::<Vec<_>>());
    assert_eq!(left(&acme, &cog).await, 85);
    let first = globex.member.post(ORDERS, of(&[(&theirs, 1)])).await.expect(201);
    assert_eq!(first["number"], 1, "each org counts for itself");
}

#[tokio::test]
async fn stock_comes_back_once() {
    let app = TestApp::start_with(PATIENT).await;
    let acme = app.org().await;
    let cog = stocked(&acme, "COG", 10).await;
    for moves in [["cancel"].as_slice(), &["pay", "cancel"], &["pay", "refund"], &["pay", "fulfil", "refund"]]
    {
        let order = acme.member.post(ORDERS, of(&[(&cog, 3), (&cog, 1)])).await.expect(201);
        assert_eq!(left(&acme, &cog).await, 6);
        let (last, before) = moves.split_last().unwrap();
        for step in before {
            acme.owner.post(&format!("{ORDERS}/{}/{step}", id(&order)), json!({})).await.expect(200);
            assert_eq!(left(&acme, &cog).await, 6);
        }
        let path = &format!("{ORDERS}/{}/{last}", id(&order));
        let replies = join_all((0..8).map(|_| acme.owner.post(path, json!({})))).await;
        let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
        assert_eq!(done.len(), 1);
        for reply in refused {
            reply.expect_problem(409, "illegal_transition");
        }
        assert_eq!(left(&acme, &cog).await, 10);
    }
}

#[tokio::test]
async fn an_order_can_be_cancelled_whatever_became_of_its_products() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let (full, gone) = (stocked(&acme, "FULL", 10).await, stocked(&acme, "GONE", 10).await);
    let order = acme.member.post(ORDERS, of(&[(&full, 1), (&gone, 1)])).await.expect(201);
    acme.owner.patch(&format!("{PRODUCTS}/{}", id(&full)), json!({"stock": i32::MAX})).await.expect(200);
    acme.owner.delete(&format!("{PRODUCTS}/{}", id(&gone))).await.expect(204);
    let cancelled = acme.owner.post(&format!("{ORDERS}/{}/cancel", id(&order)), json!({})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(left(&acme, &full).await, i64::from(i32::MAX));
}

#[tokio::test]
async fn the_dearest_order_there_can_be_adds_up() {
    let app = TestApp::start().await;
    let acme = app.org().await;
    let mut dear = product("DEAR", 2_000_000);
    dear["price"]["amount"] = json!(1_000_000_000_000_i64);
    let dear = acme.owner.post(PRODUCTS, dear).await.expect(201);
    let order = acme.member.post(ORDERS, of(&[(&dear, 1_000); 100])).await.expect(201);
    assert_eq!(order["total"]["amount"], 100_000_000_000_000_000_i64);
    assert_eq!(left(&acme, &dear).await, 1_900_000);
}
