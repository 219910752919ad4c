//! Images: how a product looks, in the order in which it is shown.

mod store;

use crate::{
    api::given,
    authz::{
        Action::{Read, Update},
        Resource::Products,
    },
    caller::Caller,
    error::{OptionExt as _, Result},
    events::{self, Entry},
    extract::{ETag, IfMatch, Json, Path, TenantDb},
    file_links::FileLinks,
    idempotency::{Done, IdempotencyKey, once},
    ids::{FileId, ImageId, OrgId, ProductId},
    middleware::TenantRoutes,
    page::Page,
    state::AppState,
    trail::Trail,
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Products)
        .allow(Read, routes!(list_product_images))
        .allow(Update, routes!(add_product_image))
        .allow(Read, routes!(get_product_image))
        .allow(Update, routes!(update_product_image))
        .allow(Update, routes!(remove_product_image))
        .with_trials()
}

/// Of one product.
pub const MOST: i64 = 20;

#[derive(Serialize, ToSchema)]
pub struct ProductImage {
    pub id: ImageId,
    pub product_id: ProductId,
    pub file_id: FileId,
    /// From 1 up, without a gap.
    #[schema(example = 1, minimum = 1, maximum = 20)]
    pub position: i32,
    /// What is to be seen, for whoever can't.
    #[schema(example = "A cog with twelve teeth", max_length = 500)]
    pub alt: String,
    #[schema(example = "image/png", max_length = 100)]
    pub content_type: String,
    /// In pixels.
    #[schema(example = 640, minimum = 1)]
    pub width: Option<i32>,
    #[schema(example = 480, minimum = 1)]
    pub height: Option<i32>,
    /// Where whoever has this address sees it, until `url_expires_at`; an hour at least.
    #[schema(
        format = "uri",
        max_length = 1_000,
        example = "https://api.example.com/api/v1/files/fil_01jd8yq3c5f4x7t9k2m6n8p0rs/content?org=org_01jd8yq3c5f4x7t9k2m6n8p0rs&expires=1767225600&signature=h2bX6yCxWwqkC1m4o0yq9Yy3hC0b6Q0iRrQnE9m8b5k"
    )]
    pub url: String,
    #[serde(with = "time::serde::rfc3339")]
    pub url_expires_at: OffsetDateTime,
    #[schema(example = 1)]
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProductImage {
    /// A PNG, JPEG, GIF or WebP.
    #[garde(skip)]
    pub file_id: FileId,
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(example = "A cog with twelve teeth", max_length = 500)]
    pub alt: String,
    /// Those from there on move up by one. At the end where not given, or beyond it.
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    pub position: Option<i32>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductImagePatch {
    #[garde(inner(length(chars, max = 500)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "A cog from the side", max_length = 500)]
    pub alt: Option<String>,
    /// Those in between make room. Beyond the end it is the last.
    #[garde(inner(range(min = 1)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = 1, minimum = 1)]
    pub position: Option<i32>,
}

impl ProductImage {
    /// What is told of it: without the link, which opens the file for whoever reads of it and ends.
    fn told(&self) -> Value {
        let mut told = json!(self);
        if let Some(told) = told.as_object_mut() {
            told.retain(|name, _| !name.starts_with("url"));
        }
        told
    }

    /// With a link that is good from now on.
    fn linked(mut self, links: &FileLinks, org: OrgId, now: OffsetDateTime) -> Self {
        let link = links.make(org, self.file_id, now);
        (self.url, self.url_expires_at) = (link.url, link.expires_at);
        self
    }
}

/// List the images of a product
///
/// All there are, first things first.
#[utoipa::path(get, path = "/products/{id}/images", tag = "products", params(("id" = ProductId, Path)),
    responses((status = 200, description = "Its images.", body = Page<ProductImage>)))]
async fn list_product_images(
    State(state): State<AppState>,
    db: TenantDb,
    Path(id): Path<ProductId>,
) -> Result<Json<Page<ProductImage>>> {
    let mut tx = db.read().await?;
    store::see_product(&mut tx, id).await?;
    let (images, org) = (store::select_all(&mut tx, id).await?, tx.org());
    drop(tx);
    let now = state.clock.now();
    let data = images.into_iter().map(|image| image.linked(&state.file_links, org, now)).collect();
    Ok(Json(Page { data, next_cursor: None, prev_cursor: None, has_more: false, total_count: None }))
}

/// Show a product by an image
///
/// That was uploaded to `/files`. A product has 20 at most.
#[utoipa::path(post, path = "/products/{id}/images", tag = "products", request_body = NewProductImage,
    params(("id" = ProductId, Path), IdempotencyKey),
    responses((status = 201, description = "It is shown.", body = ProductImage),
              (status = 409, description = "The product is shown by this file already, or by as many as it can be, or the \
                                            same key is still at work (`already_shown`, `too_many_images`, `in_flight`).")))]
async fn add_product_image(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<ProductId>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewProductImage>,
) -> Result<Response> {
    let tx = db.begin().await?;
    once(tx, &caller, key, ("add_product_image", &(id, &new)), async |tx| {
        store::lock_product(tx, id).await?;
        let image = store::insert(tx, id, &new).await?;
        let created = Entry::made("product_image.created", "product_image", image.id.uuid(), &image.told());
        events::record(tx, caller.actor(), &trail, created).await?;
        Ok(Done {
            status: StatusCode::CREATED,
            location: Some(format!("/api/v1/products/{id}/images/{}", image.id)),
            tag: ETag(image.version).into(),
            body: image.linked(&state.file_links, caller.org(), state.clock.now()),
        })
    })
    .await
}

/// Fetch one image of a product
#[utoipa::path(get, path = "/products/{id}/images/{image_id}", tag = "products",
    params(("id" = ProductId, Path), ("image_id" = ImageId, Path)),
    responses((status = 200, description = "The image.", body = ProductImage)))]
async fn get_product_image(
    State(state): State<AppState>,
    db: TenantDb,
    Path((id, image)): Path<(ProductId, ImageId)>,
) -> Result<Response> {
    let mut tx = db.read().await?;
    store::see_product(&mut tx, id).await?;
    let (image, org) = (store::select(&mut tx, id, image).await?.or_not_found()?, tx.org());
    drop(tx);
    Ok(tagged(&state, org, image).into_response())
}

/// Describe or move an image of a product
#[utoipa::path(patch, path = "/products/{id}/images/{image_id}", tag = "products", request_body = ProductImagePatch,
    params(("id" = ProductId, Path), ("image_id" = ImageId, Path), IfMatch),
    responses((status = 200, description = "The changed image.", body = ProductImage)))]
async fn update_product_image(
    State(state): State<AppState>,
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path((id, image)): Path<(ProductId, ImageId)>,
    expected: IfMatch,
    Json(patch): Json<ProductImagePatch>,
) -> Result<Response> {
    let mut tx = db.begin().await?;
    store::lock_product(&mut tx, id).await?;
    let before = store::select(&mut tx, id, image).await?.or_not_found()?;
    expected.check(before.version)?;
    store::update(&mut tx, &before, &patch).await?;
    let (changed, org) = (store::select(&mut tx, id, image).await?.or_not_found()?, tx.org());
    let (was, is) = (before.told(), changed.told());
    let updated = Entry::changed("product_image.updated", "product_image", image.uuid(), &was, &is);
    events::record(&mut tx, caller.actor(), &trail, updated).await?;
    tx.commit().await?;
    Ok(tagged(&state, org, changed).into_response())
}

/// Take an image from a product
///
/// The file stays, and those after it move down by one.
#[utoipa::path(delete, path = "/products/{id}/images/{image_id}", tag = "products",
    params(("id" = ProductId, Path), ("image_id" = ImageId, Path), IfMatch),
    responses((status = 204, description = "It is no longer shown.")))]
async fn remove_product_image(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path((id, image)): Path<(ProductId, ImageId)>,
    expected: IfMatch,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    store::lock_product(&mut tx, id).await?;
    let before = store::select(&mut tx, id, image).await?.or_not_found()?;
    expected.check(before.version)?;
    store::delete(&mut tx, &before).await?;
    let deleted = Entry::gone("product_image.deleted", "product_image", image.uuid(), &before.told());
    events::record(&mut tx, caller.actor(), &trail, deleted).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tagged(state: &AppState, org: OrgId, image: ProductImage) -> impl IntoResponse + use<> {
    let tag: [_; 1] = ETag(image.version).into();
    (tag, Json(image.linked(&state.file_links, org, state.clock.now())))
}
