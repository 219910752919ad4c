//! Exports: an organisation's rows as a file, written by a job and kept for a week.

use crate::{
    authz::{
        Action::{Create, Read, ReadCost},
        Permission,
        Resource::{Exports, Products},
    },
    caller::Caller,
    error::{Error, OptionExt as _, Result},
    events::{self, Entry},
    extract::{Json, Path, TenantDb},
    idempotency::{Done, IdempotencyKey, once},
    ids::JobId,
    jobs::{
        self, Broken, Handlers, Job, JobStatus, NewJob, Run, Succeeded,
        exports::{ExportArgs, KIND, NewExport},
        files::{self, CsvFile, Format, NdjsonFile},
    },
    middleware::TenantRoutes,
    product::{NewProduct, rows::ProductRow, sheet},
    state::AppState,
    storage::Writing,
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use time::{OffsetDateTime, macros::datetime};
use utoipa_axum::routes;
use uuid::Uuid;

const EXPORT: Permission = Permission { resource: Exports, action: Create };
const READ_PRODUCTS: Permission = Permission { resource: Products, action: Read };
const READ_COST: Permission = Permission { resource: Products, action: ReadCost };

/// Rows of one page: one short transaction each.
const PAGE: i64 = 1_000;
/// How often it is told how far an export has come, in pages.
const TELL: i64 = 10;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Exports)
        .allow(Create, routes!(create_export))
        .further_on(READ_PRODUCTS)
        .further_on(READ_COST)
        .costing(50)
        .allow(Read, routes!(download_export))
        .further_on(READ_PRODUCTS)
        .further_on(READ_COST)
}

pub fn handlers(handlers: Handlers, state: &AppState) -> Handlers {
    let state = state.clone();
    handlers.on(KIND, move |run| export(run, state.clone()))
}

/// Export into a file
///
/// A job writes it; once that has succeeded, the file can be downloaded for 7 days. Costs are in it only where whoever
/// asks may see them. Importing the file again gives the same rows. In a CSV file, a text that a spreadsheet would take
/// for a formula stands after a `'`, which an import takes away again.
#[utoipa::path(post, path = "/exports", tag = "exports", request_body = NewExport, params(IdempotencyKey),
    responses((status = 202, description = "The job that writes it.", body = Job),
              (status = 409, description = "The same key is still at work (`in_flight`).")))]
async fn create_export(
    db: TenantDb,
    trail: Trail,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewExport>,
) -> Result<Response> {
    let (tx, caller) = db.begin_as().await?;
    check(&caller, READ_PRODUCTS)?;
    let args = ExportArgs { format: new.format, costs: caller.exercise(READ_COST), is_scheduled: false };
    once(tx, &caller, key, ("create_export", &new), async |tx| {
        let id = JobId::new();
        files::note(tx, id).await?;
        let args = serde_json::to_value(&args).map_err(|error| Error::Internal(error.into()))?;
        let job = NewJob { kind: KIND, args, unique_key: None, max_attempts: 5 };
        jobs::enqueue_as(tx, Some(caller.actor()), id, job).await?;
        let entry = Entry::new("export.requested", "job", id.uuid().to_string()).after(json!(new));
        events::record(tx, caller.actor(), &trail, entry).await?;
        Ok(Done {
            status: StatusCode::ACCEPTED,
            location: Some(format!("/api/v1/jobs/{id}")),
            tag: [],
            body: jobs::find(tx, id).await?.or_not_found()?,
        })
    })
    .await
}

/// Download an export
///
/// Whoever may not see costs can't download a file with costs in it.
#[utoipa::path(get, path = "/exports/{id}/content", tag = "exports", params(("id" = JobId, Path)),
    responses((status = 200, description = "The file.",
               content((CsvFile = "text/csv"), (NdjsonFile = "application/x-ndjson"))),
              (status = 409, description = "It is not written yet, or never will be (`not_ready`).")))]
async fn download_export(
    db: TenantDb,
    State(state): State<AppState>,
    Path(id): Path<JobId>,
) -> Result<Response> {
    let (mut tx, caller) = db.read_as().await?;
    check(&caller, READ_PRODUCTS)?;
    let (args, status) = select(&mut tx, id).await?.or_not_found()?;
    drop(tx);
    if args.costs {
        check(&caller, READ_COST)?;
    }
    if status != JobStatus::Succeeded {
        return Err(Error::conflict("not_ready", "the file is not written: its job tells how far it is"));
    }
    let file = state.storage.read(&files::key(caller.org(), id), 0).await?;
    let named = format!("attachment; filename=\"products.{}\"", args.format.extension());
    let headers = [
        (header::CONTENT_TYPE, args.format.content_type().to_str().unwrap_or_default().to_owned()),
        (header::CONTENT_DISPOSITION, named),
    ];
    Ok((headers, Body::from_stream(file)).into_response())
}

fn check(caller: &Caller, permission: Permission) -> Result<()> {
    if caller.exercise(permission) { Ok(()) } else { Err(caller.refusal(permission)) }
}

/// Begun anew by each attempt. What it has written is seen by nobody before it is whole, and whole it becomes in a
/// transaction in which no other attempt can.
async fn export(run: Run, state: AppState) -> Result<Succeeded, Broken> {
    let mut args: ExportArgs = serde_json::from_value(run.job.args.clone())
        .map_err(|error| Broken::ForGood(format!("it asks for what this release does not know: {error}")))?;
    if args.is_scheduled {
        args.costs = judge(&run, &state).await?;
    }
    let mut writing = state.storage.write(&files::key(run.job.org, run.job.id));
    let rows = match write(&run, &args, &mut writing).await {
        Ok(rows) => rows,
        Err(broken) => {
            writing.give_up().await.ok();
            return Err(broken);
        }
    };
    let bytes = writing.written;
    let mut tx = run.begin().await?;
    run.progress(&mut tx, rows, Some(rows)).await?;
    writing.finish().await?;
    let path = format!("/api/v1/exports/{}/content", run.job.id);
    run.succeed(tx, &json!({"rows": rows, "bytes": bytes, "path": path})).await
}

/// What a schedule asks for is done with the rights that its maker has by now. Answers whether they may see costs, having
/// written that down for whoever downloads the file.
async fn judge(run: &Run, state: &AppState) -> Result<bool, Broken> {
    let maker = run.maker(&state.authz, state.clock.now()).await?;
    maker.must(&[EXPORT, READ_PRODUCTS])?;
    let costs = maker.may(READ_COST);
    let mut tx = run.begin().await?;
    run.checkpoint(&mut tx, (0, None), &json!({"costs": costs})).await?;
    tx.commit().await?;
    Ok(costs)
}

/// Answers how many rows that were: those that there were all the while are in it once.
async fn write(run: &Run, args: &ExportArgs, writing: &mut Writing) -> Result<i64, Broken> {
    let total = count(&mut run.read().await?).await?;
    if args.format == Format::Csv {
        writing.push(record(sheet::header(args.costs))?.into()).await?;
    }
    let (mut rows, mut after) = (0, (datetime!(0001-01-01 0:00 UTC), Uuid::nil()));
    for number in 0.. {
        let page = select_page(&mut run.read().await?, after).await?;
        let Some(last) = page.last() else { break };
        after = (last.created_at, last.id.uuid());
        rows += i64::try_from(page.len()).unwrap_or(PAGE);
        let mut bytes = Vec::new();
        for product in page.into_iter().map(NewProduct::from) {
            match args.format {
                Format::Csv => {
                    let cells = sheet::cells(&product, args.costs).map_err(broke_off)?;
                    bytes.extend(record(cells.iter().map(AsRef::as_ref))?);
                }
                Format::Ndjson => {
                    bytes.extend(sheet::line(&product, args.costs).map_err(broke_off)?);
                    bytes.push(b'\n');
                }
            }
        }
        writing.push(bytes.into()).await?;
        if number % TELL == 0 {
            let mut tx = run.begin().await?;
            run.progress(&mut tx, rows, Some(total.max(rows))).await?;
            tx.commit().await?;
        }
    }
    Ok(rows)
}

fn record<'a>(cells: impl Iterator<Item = &'a str>) -> Result<Vec<u8>, Broken> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(cells).map_err(broke_off)?;
    writer.into_inner().map_err(|error| broke_off(error.into_error()))
}

fn broke_off(error: impl Into<anyhow::Error>) -> Broken {
    Error::Internal(error.into()).into()
}

async fn count(tx: &mut TenantTx) -> Result<i64> {
    let many = sqlx::query_scalar!(
        r#"select count(*) as "many!" from products where org_id = $1 and deleted_at is null"#,
        tx.org().uuid()
    );
    Ok(many.fetch_one(&mut **tx).await?)
}

/// In the order in which they were made, which no change of a row changes.
async fn select_page(tx: &mut TenantTx, after: (OffsetDateTime, Uuid)) -> Result<Vec<ProductRow>> {
    let page = sqlx::query_as!(
        ProductRow,
        r#"select id as "id: _", created_at, sku, name, description, price, cost, currency, stock,
                  category_id as "category_id: _", is_active, metadata as "metadata: _"
           from products where org_id = $1 and deleted_at is null and (created_at, id) > ($2, $3)
           order by created_at, id limit $4"#,
        tx.org().uuid(),
        after.0,
        after.1,
        PAGE
    );
    Ok(page.fetch_all(&mut **tx).await?)
}

/// An export whose file is still kept, or will be.
async fn select(tx: &mut TenantTx, id: JobId) -> Result<Option<(ExportArgs, JobStatus)>> {
    let found = sqlx::query!(
        r#"select j.args, j.state, j.status as "status: JobStatus" from jobs j
           join job_files f on f.org_id = $1 and f.job_id = j.id
           where j.org_id = $1 and j.id = $2 and j.kind = $3"#,
        tx.org().uuid(),
        id.uuid(),
        KIND
    );
    let Some(found) = found.fetch_optional(&mut **tx).await? else { return Ok(None) };
    let mut args: ExportArgs =
        serde_json::from_value(found.args).map_err(|error| Error::Internal(error.into()))?;
    args.costs |= found.state.is_some_and(|state| state["costs"] == true);
    Ok(Some((args, found.status)))
}
