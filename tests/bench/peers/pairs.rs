//! Who asks for what in the measurements: people signed in by the server, and what there is in their orgs.

use crate::{
    cluster::{Cluster, PASSWORD, base_url, told},
    fill::PEOPLE,
};
use futures::{StreamExt as _, stream};
use insula::ids::{CategoryId, ProductId};
use serde_json::{Value, json};
use std::{collections::HashMap, fs};
use uuid::Uuid;

/// As many as the harness has of its own.
const PAIRS: i32 = 4_000;

#[derive(sqlx::FromRow)]
struct Pair {
    t: i32,
    p: i32,
    c: i32,
    product: Uuid,
    category: Uuid,
    /// Three that are not the same.
    products: Vec<Uuid>,
}

pub async fn write(cluster: &Cluster) {
    let scale = cluster.scale().await;
    let tokens = tokens(scale.orgs).await;
    let pairs: Vec<Value> = drawn(cluster).await.iter().map(|pair| pair.to_json(&tokens)).collect();
    fs::write(told("BENCH_PAIRS").unwrap(), json!({"pairs": pairs}).to_string()).unwrap();
}

/// At random, and in each run the same.
async fn drawn(cluster: &Cluster) -> Vec<Pair> {
    let scale = cluster.scale().await;
    let mut superuser = cluster.superuser().await;
    sqlx::query("select setseed(0.42)").execute(&mut superuser).await.unwrap();
    sqlx::query_as(
        "with drawn as materialized (
             select 1 + floor(random() * $1::int)::int as t, 1 + floor(random() * $2::int)::int as p,
                    floor(random() * $2)::int as start, 1 + floor(random() * (($2 - 1) / 3))::int as step
             from generate_series(1, $4::int)
         ),
         named as (select *, 1 + p % $3::int as c from drawn)
         select t, p, c, md5('p:' || t || ':' || p)::uuid as product, md5('c:' || t || ':' || c)::uuid as category,
                array(select md5('p:' || t || ':' || (1 + (start + nth * step) % $2))::uuid from generate_series(0, 2) nth)
                    as products
         from named",
    )
    .bind(scale.orgs)
    .bind(scale.products)
    .bind(scale.categories)
    .bind(PAIRS)
    .fetch_all(&mut superuser)
    .await
    .unwrap()
}

type Tokens = HashMap<(i32, &'static str), String>;

async fn tokens(orgs: i32) -> Tokens {
    let client = reqwest::Client::new();
    let everybody = (1..=orgs).flat_map(|t| PEOPLE.map(|(name, _)| (t, name)));
    // As many at a time as are hashed at a time, and one that waits for each.
    stream::iter(everybody).map(|(t, name)| sign_in(&client, t, name)).buffer_unordered(4).collect().await
}

async fn sign_in(client: &reqwest::Client, t: i32, name: &'static str) -> ((i32, &'static str), String) {
    let login = json!({"email": email(t, name), "password": PASSWORD});
    let answer = client.post(format!("{}/api/v1/auth/login", base_url())).json(&login).send().await.unwrap();
    let session: Value = answer.error_for_status().unwrap().json().await.unwrap();
    ((t, name), session["access_token"].as_str().unwrap().to_owned())
}

fn email(t: i32, name: &str) -> String {
    format!("{name}@tenant-{t}.example")
}

impl Pair {
    fn to_json(&self, tokens: &Tokens) -> Value {
        let Self { t, p, c, product, category, products } = self;
        let products: Vec<ProductId> = products.iter().copied().map(ProductId::from_uuid).collect();
        json!({
            "tenant": format!("tenant-{t}"),
            "token": tokens[&(*t, "manager")],
            "limited": tokens[&(*t, "trial")],
            "forbidden": tokens[&(*t, "viewer")],
            "product": ProductId::from_uuid(*product),
            "sku": format!("SKU-{p:06}"),
            "category": CategoryId::from_uuid(*category),
            "category_name": format!("Category {c}"),
            "products": products,
            "email": email(*t, "manager"),
            "password": PASSWORD,
        })
    }
}
