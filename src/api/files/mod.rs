//! Files: what an organisation uploads, and gets back by links that expire.

mod content;
mod kind;
mod name;
mod range;
mod store;
mod upload;

use crate::{
    authz::{
        Action::{Create, Delete, Read},
        Resource::Files,
    },
    caller::Caller,
    error::{OptionExt as _, Result},
    events::{self, Entry},
    extract::{Form, Json, List, ListParams, Listed, Path, TenantDb},
    file_links::FileLinks,
    ids::{FileId, OrgId},
    middleware::{PublicRoutes, TenantRoutes},
    page::{Filter, Kind, Listing, Page, Sort},
    state::AppState,
    storage::Key,
    trail::Trail,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Files)
        .allow(Read, routes!(list_files))
        .allow(Create, routes!(upload_file))
        .allow(Read, routes!(get_file))
        .allow(Delete, routes!(delete_file))
}

pub fn public_routes() -> PublicRoutes {
    PublicRoutes::default().open_to_holders(routes!(content::get_file_content))
}

#[derive(Serialize, ToSchema)]
pub struct File {
    pub id: FileId,
    #[schema(example = "cog.png", max_length = 200)]
    pub name: String,
    /// What its bytes say it is.
    #[schema(example = "image/png", max_length = 100)]
    pub content_type: String,
    /// In bytes.
    #[schema(example = 34_817, minimum = 1)]
    pub size: i64,
    /// Of its bytes, in hexadecimal.
    #[schema(
        example = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        min_length = 64,
        max_length = 64
    )]
    pub sha256: String,
    /// In pixels, of a PNG, JPEG, GIF or WebP.
    #[schema(example = 640, minimum = 1)]
    pub width: Option<i32>,
    #[schema(example = 480, minimum = 1)]
    pub height: Option<i32>,
    /// Where whoever has this address fetches its content, until `url_expires_at`; an hour at least. Pictures (PNG, JPEG,
    /// GIF, WebP) are shown by browsers, everything else is saved.
    #[schema(
        format = "uri",
        max_length = 1_000,
        example = "https://api.example.com/api/v1/files/fil_01jd8yq3c5f4x7t9k2m6n8p0rs/content?org=org_01jd8yq3c5f4x7t9k2m6n8p0rs&expires=1767225600&signature=h2bX6yCxWwqkC1m4o0yq9Yy3hC0b6Q0iRrQnE9m8b5k"
    )]
    pub url: String,
    #[serde(with = "time::serde::rfc3339")]
    pub url_expires_at: OffsetDateTime,
    /// The user or API key that uploaded it.
    #[schema(example = "usr_01jd8yq3c5f4x7t9k2m6n8p0rs", max_length = 40)]
    pub created_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A form with a file in it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read part by part; this is how it looks")]
pub struct Upload {
    #[schema(value_type = String, format = Binary, min_length = 1, max_length = 1_073_741_824)]
    file: Vec<u8>,
    /// What the form calls the file, where not given.
    #[schema(example = "cog.png", min_length = 1, max_length = 200)]
    name: Option<String>,
}

impl Listed for File {
    type Row = store::FileRow;
    const LISTING: &'static Listing = &Listing {
        columns: store::COLUMNS,
        from: "files where org_id = $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "name", column: r#"name collate "C""#, cast: "text" },
        ],
        filters: &[Filter {
            name: "content_type",
            predicate: "content_type =",
            kind: Kind::Text,
            about: "Of this type.",
        }],
    };
}

impl File {
    /// With a link that is good from now on.
    fn linked(&mut self, links: &FileLinks, org: OrgId, now: OffsetDateTime) {
        let link = links.make(org, self.id, now);
        (self.url, self.url_expires_at) = (link.url, link.expires_at);
    }
}

/// For how long an upload may be under way, and then some.
const UNDER_WAY: Duration = Duration::days(1);

/// List files
#[utoipa::path(get, path = "/files", tag = "files", params(ListParams<File>),
    responses((status = 200, description = "A page of files.", body = Page<File>)))]
async fn list_files(State(state): State<AppState>, db: TenantDb, list: List<File>) -> Result<Response> {
    let mut tx = db.read().await?;
    let (mut page, org) = (list.page(&mut tx).await?, tx.org());
    drop(tx);
    for file in &mut page.data {
        file.linked(&state.file_links, org, state.clock.now());
    }
    Ok(list.answer(page))
}

/// Upload a file
///
/// As `multipart/form-data`. Its type is told by its bytes; one that is declared must not contradict them. It is there
/// once it has arrived whole.
#[utoipa::path(post, path = "/files", tag = "files",
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses((status = 201, description = "It is there.", body = File),
              (status = 400, description = "The form can't be read, ends early, or was to be tried out \
                                            (`malformed_form`, `body_incomplete`, `no_dry_run`)."),
              (status = 413, description = "The file is larger than this server takes (`payload_too_large`)."),
              (status = 415, description = "The body is not declared as a form (`unsupported_media_type`).")))]
async fn upload_file(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    form: Form,
) -> Result<Response> {
    let id = FileId::new();
    let mut tx = db.begin().await?;
    store::loosen(&mut tx, id, trail.at + UNDER_WAY).await?;
    tx.commit().await?;

    let key = Key::of(caller.org(), id);
    let received = upload::receive(form, &state.storage, &key, state.config.storage.file_bytes()).await?;
    match keep(&db, &caller, &trail, id, &received).await {
        Ok(mut file) => {
            file.linked(&state.file_links, caller.org(), state.clock.now());
            let location = format!("/api/v1/files/{id}");
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(file)).into_response())
        }
        Err(error) => {
            forget(&state, &key).await;
            Err(error)
        }
    }
}

/// Fetch one file
///
/// What is known of it, and where its content is.
#[utoipa::path(get, path = "/files/{id}", tag = "files", params(("id" = FileId, Path)),
    responses((status = 200, description = "The file.", body = File)))]
async fn get_file(State(state): State<AppState>, db: TenantDb, Path(id): Path<FileId>) -> Result<Json<File>> {
    let mut tx = db.read().await?;
    let mut file = store::select(&mut tx, id).await?.or_not_found()?;
    file.linked(&state.file_links, tx.org(), state.clock.now());
    Ok(Json(file))
}

/// Delete a file
///
/// Links to it open nothing from then on. One that shows a product is taken from that product first.
#[utoipa::path(delete, path = "/files/{id}", tag = "files", params(("id" = FileId, Path)),
    responses((status = 204, description = "It is gone."),
              (status = 409, description = "A product is shown by it (`in_use`).")))]
async fn delete_file(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<FileId>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let file = store::delete(&mut tx, id).await?.or_not_found()?;
    store::loosen(&mut tx, id, trail.at).await?;
    let entry = Entry::new("file.deleted", "file", id.uuid().to_string()).before(told(&file));
    events::record(&mut tx, caller.actor(), &trail, entry).await?;
    tx.commit().await?;
    forget(&state, &Key::of(caller.org(), id)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a file of what is in the storage.
async fn keep(
    db: &TenantDb,
    caller: &Caller,
    trail: &Trail,
    id: FileId,
    received: &upload::Received,
) -> Result<File> {
    let mut tx = db.begin().await?;
    let file = store::insert(&mut tx, id, caller.actor(), received).await?;
    let entry = Entry::new("file.created", "file", id.uuid().to_string()).after(told(&file));
    events::record(&mut tx, caller.actor(), trail, entry).await?;
    tx.commit().await?;
    Ok(file)
}

/// What cannot be deleted now is deleted by the worker, which knows of it.
async fn forget(state: &AppState, key: &Key) {
    if let Err(error) = state.storage.delete(key).await {
        tracing::warn!(%error, "a file can't be deleted; trying again later");
    }
}

/// As the audit knows it.
fn told(file: &File) -> serde_json::Value {
    json!({"name": file.name, "content_type": file.content_type, "size": file.size, "sha256": file.sha256})
}
