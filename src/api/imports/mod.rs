//! Imports: an organisation's rows out of a file, which is taken in as it comes and worked through by a job.

mod records;
mod rows;
mod run;
mod store;

use crate::{
    audit::hex,
    authz::{
        Action::{Create, Read, ReadCost, Update},
        Permission,
        Resource::{Imports, Products},
    },
    caller::Caller,
    error::{Error, OptionExt as _, Problem, Result},
    events::{self, Entry},
    extract::{List, ListParams, Listed, Path, Query, TenantDb},
    idempotency::{Done, IdempotencyKey, once},
    ids::{ImportErrorId, JobId},
    jobs::{
        self, Handlers, Job, NewJob,
        files::{self, CsvFile, Format, NdjsonFile, Rows},
    },
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    patience::Patience,
    state::AppState,
    storage::Writing,
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

const KIND: &str = "products.import";
const NEEDED: [Permission; 2] =
    [Permission { resource: Products, action: Create }, Permission { resource: Products, action: Update }];
const READ_COST: Permission = Permission { resource: Products, action: ReadCost };

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Imports)
        .allow(Create, routes!(create_import))
        .further_on(NEEDED[0])
        .further_on(NEEDED[1])
        .further_on(READ_COST)
        .costing(50)
        .allow(Read, routes!(list_import_errors))
}

pub fn handlers(handlers: Handlers, state: &AppState) -> Handlers {
    let storage = state.storage.clone();
    handlers.on(KIND, move |job| run::import(job, storage.clone()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportParams {
    /// What the rows of the file are.
    resource: Rows,
}

/// What the job is told.
#[derive(Serialize, Deserialize)]
struct Args {
    format: Format,
    bytes: i64,
    /// Whether whoever asked may set costs.
    costs: bool,
}

/// What was wrong with a row.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct ImportError {
    pub id: ImportErrorId,
    /// Where the row begins in the file, the first line being 1.
    #[schema(example = 17, minimum = 1)]
    pub line: i64,
    /// JSON Pointer (RFC 6901) into the row; of CSV, its column after a slash. Empty for the row as a whole.
    #[schema(example = "/price_amount", max_length = 500)]
    pub pointer: String,
    #[schema(example = "invalid", max_length = 60)]
    pub code: String,
    #[schema(example = "lower than 0", max_length = 500)]
    pub detail: String,
}

impl Listed for ImportError {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, line, pointer, code, detail",
        from: "import_errors where org_id = $1",
        sorts: &[Sort { name: "line", column: "line", cast: "bigint" }],
        filters: &[Filter {
            name: "id",
            predicate: "job_id =",
            kind: Kind::WithinId(|text| text.parse().ok().map(JobId::uuid)),
            about: "The import that the path names.",
        }],
    };
}

/// Import from a file
///
/// The body is the file, as `text/csv` with a header row or as `application/x-ndjson`. A job makes the products whose
/// sku is not there yet and changes the others: of those, a field that a row has no cell for stays as it is. A row that
/// can't be accepted is told of and left out. Whoever asks must be allowed to create and update products now; the job
/// does it whatever becomes of them.
#[utoipa::path(post, path = "/imports", tag = "imports", params(ImportParams, IdempotencyKey),
    request_body(content((CsvFile = "text/csv"), (NdjsonFile = "application/x-ndjson"))),
    responses((status = 202, description = "The job that works it through.", body = Job),
              (status = 400, description = "A query parameter is unknown or unusable, or the body did not arrive whole."),
              (status = 409, description = "The same key is still at work (`in_flight`)."),
              (status = 413, description = "The file is too large."),
              (status = 415, description = "The body is declared as neither.")))]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
async fn create_import(
    db: TenantDb,
    State(state): State<AppState>,
    trail: Trail,
    Extension(patience): Extension<Patience>,
    key: Option<IdempotencyKey>,
    Query(asked): Query<ImportParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::of(declared.unwrap_or_default()).ok_or_else(unsupported)?;
    let id = JobId::new();
    let (mut tx, caller) = db.begin_as().await?;
    check(&caller)?;
    files::note(&mut tx, id).await?;
    tx.commit().await?;

    let file = files::key(caller.org(), id);
    let (bytes, digest) =
        receive(state.storage.write(&file), state.config.storage.import_bytes(), body, &patience).await?;

    let mut enqueued = false;
    let answer = async {
        let (tx, caller) = db.begin_as().await?;
        check(&caller)?;
        let args = Args { format, bytes, costs: caller.exercise(READ_COST) };
        let request = json!({"resource": asked.resource, "format": format, "sha256": hex(&digest)});
        once(tx, &caller, key, ("create_import", &request), async |tx| {
            let args = serde_json::to_value(&args).map_err(|error| Error::Internal(error.into()))?;
            let job = NewJob { kind: KIND, args, unique_key: None, max_attempts: 20 };
            jobs::enqueue_as(tx, Some(caller.actor()), id, job).await?;
            let entry = Entry::new("import.requested", "job", id.uuid().to_string()).after(request.clone());
            events::record(tx, caller.actor(), &trail, entry).await?;
            let body = jobs::find(tx, id).await?.or_not_found()?;
            enqueued = true;
            Ok(Done {
                status: StatusCode::ACCEPTED,
                location: Some(format!("/api/v1/jobs/{id}")),
                tag: [],
                body,
            })
        })
        .await
    };
    let answer = answer.await;
    // Once it is enqueued, an error may mean that it was committed all the same.
    if !enqueued {
        state.storage.delete(&file).await.ok();
    }
    answer
}

/// List what was wrong with the rows of an import
///
/// The first 10,000 that were found, the last line first; a row that is wrong in several places is there for each.
#[utoipa::path(get, path = "/imports/{id}/errors", tag = "imports",
    params(("id" = JobId, Path), ListParams<ImportError>),
    responses((status = 200, description = "A page of what was wrong.", body = Page<ImportError>)))]
async fn list_import_errors(
    db: TenantDb,
    Path(id): Path<JobId>,
    list: List<ImportError>,
) -> Result<Response> {
    let mut tx = db.read().await?;
    exists(&mut tx, id).await?.then_some(()).or_not_found()?;
    let page = list.page(&mut tx).await?;
    Ok(list.answer(page))
}

fn check(caller: &Caller) -> Result<()> {
    match NEEDED.into_iter().find(|needed| !caller.exercise(*needed)) {
        Some(missing) => Err(caller.refusal(missing)),
        None => Ok(()),
    }
}

/// Puts the body into the storage as it comes, and answers how long it is, and its digest. Of one that does not come to
/// its end nothing is left.
async fn receive(mut writing: Writing, most: u64, body: Body, patience: &Patience) -> Result<(i64, Vec<u8>)> {
    let mut digest = Sha256::new();
    let mut body = body.into_data_stream();
    let received = async {
        while let Some(piece) = body.next().await {
            let piece =
                piece.map_err(|_| Error::malformed("body_incomplete", "the body did not arrive whole"))?;
            let arrived = writing.written + piece.len() as u64;
            patience.arrived(piece.len() as u64);
            if arrived > most {
                let problem = Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE);
                return Err(Error::Unacceptable(Box::new(problem)));
            }
            digest.update(&piece);
            writing.push(piece).await?;
        }
        Ok(())
    };
    match received.await {
        Ok(()) => {
            let bytes = i64::try_from(writing.written).unwrap_or(i64::MAX);
            writing.finish().await?;
            Ok((bytes, digest.finalize().to_vec()))
        }
        Err(error) => {
            writing.give_up().await.ok();
            Err(error)
        }
    }
}

fn unsupported() -> Error {
    let detail = "send the file as text/csv or application/x-ndjson";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Error::Unacceptable(Box::new(Problem::new(status, "unsupported_media_type", detail)))
}

async fn exists(tx: &mut TenantTx, id: JobId) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from jobs where org_id = $1 and id = $2 and kind = $3) as "found!""#,
        tx.org().uuid(),
        id.uuid(),
        KIND
    );
    Ok(found.fetch_one(&mut **tx).await?)
}
