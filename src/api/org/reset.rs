//! A sandbox, as empty as on its first day.

use crate::{
    caller::Caller,
    error::{Error, Result},
    events::{self, Entry},
    extract::{Action, TenantDb},
    tenancy::TenantTx,
    trail::Trail,
};
use axum::http::StatusCode;
use serde_json::json;

/// Reset the sandbox
///
/// Deletes all that was made in it: catalogue, files, orders, jobs, schedules, webhooks and idempotency keys; order numbers begin at 1 again. Its
/// audit stays, and whoever may come in still may. To be called with a test key: there is no such thing for live data.
#[utoipa::path(post, path = "/org/reset", tag = "org",
    responses((status = 204, description = "It is empty."),
              (status = 409, description = "This is live data (`not_a_sandbox`).")))]
pub async fn reset_sandbox(db: TenantDb, caller: Caller, trail: Trail, _: Action) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    if !is_sandbox(&mut tx).await? {
        let detail = "only a sandbox can be reset, and this is live data: call with a test key";
        return Err(Error::conflict("not_a_sandbox", detail));
    }
    let rows = clear(&mut tx).await?;
    let entry = Entry::new("sandbox.reset", "org", tx.org().uuid().to_string()).before(json!({"rows": rows}));
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asked in the transaction that deletes, whatever else may be remembered.
async fn is_sandbox(tx: &mut TenantTx) -> Result<bool> {
    let sandbox = sqlx::query_scalar!(
        r#"select sandbox_of is not null as "sandbox!" from orgs where id = $1 for share"#,
        tx.org().uuid()
    );
    Ok(sandbox.fetch_optional(&mut **tx).await? == Some(true))
}

/// Deletes what names others before what is named, and answers how many rows that were.
async fn clear(tx: &mut TenantTx) -> Result<u64> {
    let org = tx.org().uuid();
    let statements = [
        sqlx::query!("delete from order_history where org_id = $1", org),
        sqlx::query!("delete from order_lines where org_id = $1", org),
        sqlx::query!("delete from orders where org_id = $1", org),
        sqlx::query!("delete from order_numbers where org_id = $1", org),
        sqlx::query!("delete from product_images where org_id = $1", org),
        sqlx::query!(
            "with gone as (delete from files where org_id = $1 returning id)
             insert into loose_files (org_id, id, due_at) select $1, id, now() from gone",
            org
        ),
        sqlx::query!("delete from products where org_id = $1", org),
        sqlx::query!("delete from categories where org_id = $1", org),
        sqlx::query!("delete from import_errors where org_id = $1", org),
        sqlx::query!("delete from webhook_endpoints where org_id = $1", org),
        sqlx::query!("delete from schedules where org_id = $1", org),
        sqlx::query!("delete from jobs where org_id = $1", org),
        sqlx::query!("delete from idempotency_keys where org_id = $1", org),
    ];
    let mut rows = 0;
    for statement in statements {
        rows += statement.execute(&mut **tx).await?.rows_affected();
    }
    Ok(rows)
}
