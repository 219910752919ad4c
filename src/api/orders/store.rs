//! What Postgres is told of orders.

use super::{NewOrder, Order, OrderLine, OrderStatus};
use crate::{
    authn::{self, Actor},
    error::{Error, Flaw, Result},
    ids::{ApiKeyId, OrderId, OrderStepId, ProductId, UserId},
    metadata::Metadata,
    money::Money,
    tenancy::TenantTx,
};
use anyhow::anyhow;
use serde::Deserialize;
use sqlx::types::Json;
use std::collections::HashMap;
use time::OffsetDateTime;
use uuid::Uuid;

/// The lines ride along as one value, so that a page of orders is one statement.
pub const COLUMNS: &str = "id, number, status, currency, total, note, metadata, placed_by_user, placed_by_key, \
    version, created_at, updated_at, \
    (select json_agg(l order by l.line) from order_lines l where l.org_id = orders.org_id and l.order_id = orders.id) \
    as lines";

#[derive(sqlx::FromRow)]
pub struct OrderRow {
    id: OrderId,
    number: i64,
    status: OrderStatus,
    currency: String,
    total: i64,
    note: String,
    metadata: Json<Metadata>,
    placed_by_user: Option<UserId>,
    placed_by_key: Option<ApiKeyId>,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    lines: Json<Vec<LineRow>>,
}

#[derive(Deserialize)]
struct LineRow {
    product_id: Uuid,
    sku: String,
    name: String,
    quantity: i32,
    unit_price: i64,
    total: i64,
}

impl From<OrderRow> for Order {
    fn from(row: OrderRow) -> Self {
        let money = |amount| Money::from_columns(amount, row.currency.clone());
        let lines = row.lines.0.into_iter().map(|line| OrderLine {
            product_id: ProductId::from_uuid(line.product_id),
            sku: line.sku,
            name: line.name,
            quantity: line.quantity,
            unit_price: money(line.unit_price),
            total: money(line.total),
        });
        Self {
            lines: lines.collect(),
            total: money(row.total),
            id: row.id,
            number: row.number,
            status: row.status,
            placed_by: authn::id_in(row.placed_by_user, row.placed_by_key).unwrap_or_default(),
            note: row.note,
            metadata: row.metadata.0,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Locks the products in id order, so that two orders never wait for each other, and checks that all can be
/// sold; then one statement takes the stock, the number and the prices.
pub async fn place(tx: &mut TenantTx, actor: &Actor, new: &NewOrder) -> Result<Order> {
    let products: Vec<Uuid> = new.lines.iter().map(|line| line.product_id.uuid()).collect();
    let quantities: Vec<i32> = new.lines.iter().map(|line| line.quantity).collect();
    let currency = check(tx, new, &products).await?;
    let id = OrderId::new();
    let (user, key) = actor.columns();
    sqlx::query!(
        "with wanted as (
             select product_id, quantity, line
             from unnest($3::uuid[], $4::int[]) with ordinality as wanted (product_id, quantity, line)
         ),
         taken as (
             update products
             set stock = stock - sums.quantity, version = version + 1, updated_at = now()
             from (select product_id, sum(quantity)::int as quantity from wanted group by product_id) sums
             where products.org_id = $1 and products.id = sums.product_id
         ),
         priced as (
             select line, product_id, sku, name, quantity, price
             from wanted join products on products.org_id = $1 and products.id = wanted.product_id
         ),
         numbered as (
             insert into order_numbers (org_id, last) values ($1, 1)
             on conflict (org_id) do update set last = order_numbers.last + 1
             returning last
         ),
         placed as (
             insert into orders (org_id, id, number, currency, total, note, metadata, placed_by_user, placed_by_key)
             select $1, $2, (select last from numbered), $5, sum(quantity * price), $6, $7, $8, $9 from priced
         ),
         written_down as (
             insert into order_history (org_id, id, order_id, status, by_user, by_key)
             values ($1, $10, $2, 'placed', $8, $9)
         )
         insert into order_lines (org_id, order_id, line, product_id, sku, name, quantity, unit_price, total)
         select $1, $2, line, product_id, sku, name, quantity, price, quantity * price from priced",
        tx.org().uuid(),
        id.uuid(),
        &products,
        &quantities,
        currency,
        new.note,
        Json(&new.metadata) as _,
        user,
        key,
        OrderStepId::new().uuid()
    )
    .execute(&mut **tx)
    .await?;
    select(tx, id).await?.ok_or_else(|| Error::Internal(anyhow!("an order that was just placed is gone")))
}

/// Answers the one currency of the order.
async fn check(tx: &mut TenantTx, new: &NewOrder, products: &[Uuid]) -> Result<String> {
    let rows = sqlx::query!(
        "select id, sku, currency, stock, is_active from products
         where org_id = $1 and id = any($2) and deleted_at is null
         order by id for update",
        tx.org().uuid(),
        products
    )
    .fetch_all(&mut **tx)
    .await?;
    let rows: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.id, row)).collect();
    let mut currency: Option<&str> = None;
    let mut wanted: HashMap<Uuid, i64> = HashMap::new();
    let mut flaws = Vec::new();
    for (at, line) in new.lines.iter().enumerate() {
        let mut flaw =
            |code, detail: &str| flaws.push(Flaw::new(format!("/lines/{at}/product_id"), code, detail));
        match rows.get(&line.product_id.uuid()) {
            None => flaw("not_found", "there is no such product"),
            Some(row) if !row.is_active => flaw("not_on_sale", "this product is not on sale"),
            Some(row) if currency.is_some_and(|currency| currency != row.currency) => {
                flaw("mixed_currencies", "this product has another currency than those before it");
            }
            Some(row) => {
                currency = Some(&row.currency);
                *wanted.entry(row.id).or_default() += i64::from(line.quantity);
            }
        }
    }
    if !flaws.is_empty() {
        return Err(Error::Invalid(flaws));
    }
    for (id, quantity) in wanted {
        let row = &rows[&id];
        if i64::from(row.stock) < quantity {
            let detail = format!("{} of {} are wanted, and {} are there", quantity, row.sku, row.stock);
            return Err(Error::conflict("out_of_stock", detail));
        }
    }
    Ok(currency.unwrap_or_default().to_owned())
}

pub async fn select(tx: &mut TenantTx, id: OrderId) -> Result<Option<Order>> {
    let row = sqlx::query_as!(
        OrderRow,
        r#"select id as "id: _", number, status as "status: _", currency, total, note, metadata as "metadata: _",
                  placed_by_user as "placed_by_user: _", placed_by_key as "placed_by_key: _",
                  version, created_at, updated_at,
                  (select json_agg(l order by l.line) from order_lines l
                   where l.org_id = orders.org_id and l.order_id = orders.id) as "lines!: _"
           from orders where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(Into::into))
}

pub async fn exists(tx: &mut TenantTx, id: OrderId) -> Result<bool> {
    let there = sqlx::query_scalar!(
        r#"select exists (select from orders where org_id = $1 and id = $2) as "there!""#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(there.fetch_one(&mut **tx).await?)
}

/// What a change of an order depends on.
pub struct Locked {
    pub status: OrderStatus,
    pub note: String,
    pub metadata: Json<Metadata>,
    pub version: i64,
    /// A user or a key.
    pub placed_by: (Option<Uuid>, Option<Uuid>),
}

pub async fn lock(tx: &mut TenantTx, id: OrderId) -> Result<Option<Locked>> {
    let row = sqlx::query!(
        r#"select status as "status: OrderStatus", note, metadata as "metadata: Json<Metadata>", version,
                  placed_by_user, placed_by_key
           from orders where org_id = $1 and id = $2 for update"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(row.fetch_optional(&mut **tx).await?.map(|row| Locked {
        status: row.status,
        note: row.note,
        metadata: row.metadata,
        version: row.version,
        placed_by: (row.placed_by_user, row.placed_by_key),
    }))
}

pub async fn update(tx: &mut TenantTx, id: OrderId, note: &str, metadata: &Metadata) -> Result<()> {
    sqlx::query!(
        "update orders set note = $3, metadata = $4, version = version + 1, updated_at = now()
         where org_id = $1 and id = $2",
        tx.org().uuid(),
        id.uuid(),
        note,
        Json(metadata) as _
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Moves an order, and writes down who did.
pub async fn set_status(tx: &mut TenantTx, actor: &Actor, id: OrderId, status: OrderStatus) -> Result<()> {
    let (user, key) = actor.columns();
    sqlx::query!(
        "with moved as (
             update orders set status = $3, version = version + 1, updated_at = now()
             where org_id = $1 and id = $2
         )
         insert into order_history (org_id, id, order_id, status, by_user, by_key)
         values ($1, $4, $2, $3, $5, $6)",
        tx.org().uuid(),
        id.uuid(),
        status.as_str(),
        OrderStepId::new().uuid(),
        user,
        key
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Locks the products in id order, as placing does. A deleted product gets its stock back too: it may be restored.
/// A stock that is as high as it can be stays there, so that no order is stuck because of it.
pub async fn give_back_stock(tx: &mut TenantTx, id: OrderId) -> Result<()> {
    sqlx::query!(
        "with back as (
             select product_id, sum(quantity)::int as quantity from order_lines
             where org_id = $1 and order_id = $2 group by product_id
         ),
         locked as (
             select id from products where org_id = $1 and id in (select product_id from back) order by id for update
         )
         update products
         set stock = least(stock::bigint + back.quantity, 2147483647)::int, version = version + 1, updated_at = now()
         from back join locked on locked.id = back.product_id
         where products.org_id = $1 and products.id = back.product_id",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
