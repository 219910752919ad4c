//! Products: what an organisation sells.

mod bulk;
pub mod images;
mod store;
mod told;

use super::given;
use crate::{
    authz::{
        Action::{Create, Delete, Read, ReadCost, Update},
        Field, Permission,
        Resource::{Categories, Products},
    },
    caller::Caller,
    category::{self, Category},
    error::{Error, OptionExt as _, Result},
    events,
    extract::{
        Action as Nothing, ETag, Expansion, IfMatch, Json, List, ListParams, Listed, Path, Shape, TenantDb,
        View, ViewParams,
    },
    idempotency::{Done, IdempotencyKey, once},
    ids::{CategoryId, OrgId, ProductId},
    metadata::{Metadata, MetadataPatch},
    middleware::TenantRoutes,
    money::Money,
    page::{Filter, Kind, Listing, Page, Sort},
    product::{NewProduct, same_currency},
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use garde::Validate;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Products)
        .allow(Read, routes!(list_products))
        .remembered(Shape::<Product>::SIGHT)
        .allow(Create, routes!(create_product))
        .allow(Create, routes!(bulk::change_products))
        .further(Update)
        .further(Delete)
        .costing(BULK_UNITS)
        .allow(Read, routes!(get_product))
        .remembered(Shape::<Product>::SIGHT)
        .allow(Update, routes!(update_product))
        .allow(Delete, routes!(delete_product))
        .allow(Delete, routes!(restore_product))
        .hide(Product::FIELDS)
        .allow(Delete, routes!(list_deleted_products))
        .with_trials()
}

/// What many changes at once take of a tier's quotas.
const BULK_UNITS: u32 = 50;

#[derive(Clone, Serialize, ToSchema)]
pub struct Product {
    pub id: ProductId,
    #[schema(example = "COG-1", max_length = 64)]
    pub sku: String,
    #[schema(example = "Cog", max_length = 200)]
    pub name: String,
    #[schema(max_length = 10_000)]
    pub description: String,
    pub price: Money,
    /// Left out for whoever may not see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Money>)]
    pub cost: Option<Option<Money>>,
    #[schema(example = 40, minimum = 0)]
    pub stock: i32,
    pub category_id: Option<CategoryId>,
    /// With `expand=category`, where it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub category: Option<Category>,
    pub is_active: bool,
    pub metadata: Metadata,
    #[schema(example = 1)]
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductPatch {
    #[garde(inner(length(chars, min = 1, max = 64)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "COG-2", min_length = 1, max_length = 64)]
    pub sku: Option<String>,
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "Small cog", min_length = 1, max_length = 200)]
    pub name: Option<String>,
    #[garde(inner(length(chars, max = 10_000)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 10_000)]
    pub description: Option<String>,
    #[garde(dive)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub price: Option<Money>,
    #[garde(dive)]
    #[serde(default, deserialize_with = "given")]
    pub cost: Option<Option<Money>>,
    #[garde(inner(range(min = 0)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = 40, minimum = 0)]
    pub stock: Option<i32>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    pub category_id: Option<Option<CategoryId>>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub is_active: Option<bool>,
    #[garde(dive)]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub metadata: Option<MetadataPatch>,
}

/// What is left of a product after it was deleted.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub struct DeletedProduct {
    pub id: ProductId,
    #[schema(example = "COG-1", max_length = 64)]
    pub sku: String,
    #[schema(example = "Cog", max_length = 200)]
    pub name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub deleted_at: OffsetDateTime,
    /// Until when it can be restored.
    #[serde(with = "time::serde::rfc3339")]
    pub restorable_until: OffsetDateTime,
}

impl Listed for DeletedProduct {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, sku, name, deleted_at, deleted_at + interval '30 days' as restorable_until",
        from: "products where org_id = $1 and deleted_at > now() - interval '30 days' and purged_at is null",
        sorts: &[Sort { name: "deleted_at", column: "deleted_at", cast: "timestamptz" }],
        filters: &[Filter { name: "sku", predicate: "sku =", kind: Kind::Text, about: "That had this sku." }],
    };
}

const READ_COST: Permission = Permission { resource: Products, action: ReadCost };

impl Listed for Product {
    type Row = store::ProductRow;
    const EXPANSIONS: &'static [Expansion<Self>] = &[Expansion {
        name: "category",
        permission: Permission { resource: Categories, action: Read },
        fetch: with_category,
    }];
    const FIELDS: &'static [Field<Self>] =
        &[Field { name: "cost", permission: READ_COST, hide: |product| product.cost = None }];
    const LISTING: &'static Listing = &Listing {
        columns: store::COLUMNS,
        from: "products where org_id = $1 and deleted_at is null",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "sku", column: r#"sku collate "C""#, cast: "text" },
            Sort { name: "name", column: r#"name collate "C""#, cast: "text" },
            Sort { name: "price", column: "price", cast: "bigint" },
        ],
        filters: &[
            Filter {
                name: "q",
                // An array, so that it is a condition like the others, and looked up.
                predicate: "id = any(array(select id from search_products({}, null)))",
                kind: Kind::Words,
                about: "In which these words are found, as `GET /search` finds them: of more than 5,000 the 5,000 that it ranks.",
            },
            Filter {
                name: "category_id",
                predicate: "category_id =",
                kind: Kind::Id(|text| text.parse().ok().map(CategoryId::uuid)),
                about: "In this category.",
            },
            Filter {
                name: "price_gte",
                predicate: "price >=",
                kind: Kind::Int,
                about: "At this price or above.",
            },
            Filter {
                name: "price_lte",
                predicate: "price <=",
                kind: Kind::Int,
                about: "At this price or below.",
            },
            Filter {
                name: "is_active",
                predicate: "is_active =",
                kind: Kind::Bool,
                about: "On sale or not.",
            },
            Filter {
                name: "created_after",
                predicate: "created_at >",
                kind: Kind::Time,
                about: "Created since.",
            },
        ],
    };
}

/// List products
#[utoipa::path(get, path = "/products", tag = "products", params(ListParams<Product>),
    responses((status = 200, description = "A page of products.", body = Page<Product>)))]
async fn list_products(db: TenantDb, list: List<Product>) -> Result<Response> {
    let (mut tx, caller) = db.read_as().await?;
    let list = list.seen_by(caller);
    let page = list.page(&mut tx).await?;
    drop(tx);
    Ok(list.answer(page))
}

/// Create a product
///
/// With a cost only for whoever may see it.
#[utoipa::path(post, path = "/products", tag = "products", request_body = NewProduct,
    params(Shape<Product>, IdempotencyKey),
    responses((status = 201, description = "It exists.", body = Product),
              (status = 409, description = "The sku is taken, or the same key is still at work (`sku_taken`, `in_flight`).")))]
async fn create_product(
    db: TenantDb,
    trail: Trail,
    key: Option<IdempotencyKey>,
    shape: Shape<Product>,
    Json(new): Json<NewProduct>,
) -> Result<Response> {
    let (tx, caller) = db.begin_as().await?;
    caller.check_fields(Product::FIELDS, &[("cost", new.cost.is_some())])?;
    // Also where it was expanded before, for who might see it then.
    shape.check(&caller)?;
    once(tx, &caller, key, ("create_product", &shape.of_request(&new)), async |tx| {
        let mut product = store::insert(tx, &new).await?;
        events::record(tx, caller.actor(), &trail, told::created(&product)).await?;
        shape.expand(tx, &caller, std::slice::from_mut(&mut product)).await?;
        caller.see(Product::FIELDS, [&mut product]);
        Ok(Done {
            status: StatusCode::CREATED,
            location: Some(format!("/api/v1/products/{}", product.id)),
            tag: ETag(product.version).into(),
            body: shape.show(product)?,
        })
    })
    .await
}

/// Fetch one product
#[utoipa::path(get, path = "/products/{id}", tag = "products",
    params(("id" = ProductId, Path), ViewParams<Product>),
    responses((status = 200, description = "The product.", body = Product)))]
async fn get_product(db: TenantDb, Path(id): Path<ProductId>, view: View<Product>) -> Result<Response> {
    let (mut tx, caller) = db.read_as().await?;
    let mut product = store::select(&mut tx, id).await?.or_not_found()?;
    view.expand(&mut tx, &caller, &mut product).await?;
    drop(tx);
    caller.see(Product::FIELDS, [&mut product]);
    view.answer(product.version, &product)
}

/// Change a product
#[utoipa::path(patch, path = "/products/{id}", tag = "products", request_body = ProductPatch,
    params(("id" = ProductId, Path), Shape<Product>, IfMatch),
    responses((status = 200, description = "The changed product.", body = Product),
              (status = 409, description = "The sku is taken (`sku_taken`).")))]
async fn update_product(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<ProductId>,
    expected: IfMatch,
    shape: Shape<Product>,
    Json(patch): Json<ProductPatch>,
) -> Result<Response> {
    let (mut tx, caller) = db.begin_as().await?;
    let before = store::lock(&mut tx, id).await?.or_not_found()?;
    expected.check(before.version)?;
    caller.check_fields(Product::FIELDS, &[("cost", patch.cost.is_some())])?;
    let mut product = before.clone();
    product.apply(patch, caller.may(READ_COST))?;
    let product = store::update(&mut tx, &product).await?;
    events::record(&mut tx, caller.actor(), &trail, told::updated(&before, &product)).await?;
    written(tx, &caller, &shape, product).await
}

/// Delete a product
///
/// Orders that name it keep their lines; its sku may be used again. It can be restored for 30 days.
#[utoipa::path(delete, path = "/products/{id}", tag = "products", params(("id" = ProductId, Path), IfMatch),
    responses((status = 204, description = "It is gone.")))]
async fn delete_product(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<ProductId>,
    expected: IfMatch,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let product = store::lock(&mut tx, id).await?.or_not_found()?;
    expected.check(product.version)?;
    store::delete(&mut tx, id).await?;
    events::record(&mut tx, caller.actor(), &trail, told::deleted(&product)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List deleted products
///
/// Those that can still be restored.
#[utoipa::path(get, path = "/products/deleted", tag = "products", params(ListParams<DeletedProduct>),
    responses((status = 200, description = "A page of deleted products.", body = Page<DeletedProduct>)))]
async fn list_deleted_products(db: TenantDb, list: List<DeletedProduct>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Restore a deleted product
///
/// As it was, for 30 days after it was deleted.
#[utoipa::path(post, path = "/products/{id}/restore", tag = "products",
    params(("id" = ProductId, Path), Shape<Product>),
    responses((status = 200, description = "The product, which is back.", body = Product),
              (status = 409, description = "It is not deleted, or another product has its sku by now (`not_deleted`, `sku_taken`).")))]
async fn restore_product(
    db: TenantDb,
    trail: Trail,
    Path(id): Path<ProductId>,
    shape: Shape<Product>,
    _: Nothing,
) -> Result<Response> {
    let (mut tx, caller) = db.begin_as().await?;
    let product = store::restore(&mut tx, id).await?;
    events::record(&mut tx, caller.actor(), &trail, told::restored(&product)).await?;
    written(tx, &caller, &shape, product).await
}

/// Ends `tx`, which changed a product, and answers it. It has a tag in any shape: who changes it next needs one.
async fn written(
    mut tx: TenantTx,
    caller: &Caller,
    shape: &Shape<Product>,
    mut product: Product,
) -> Result<Response> {
    shape.expand(&mut tx, caller, std::slice::from_mut(&mut product)).await?;
    tx.commit().await?;
    caller.see(Product::FIELDS, [&mut product]);
    let tag: [_; 1] = ETag(product.version).into();
    Ok((tag, Json(shape.show(product)?)).into_response())
}

fn with_category<'a>(
    connection: &'a mut PgConnection,
    org: OrgId,
    products: &'a mut [Product],
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let named = products.iter().filter_map(|product| product.category_id);
        let found = category::by_id(connection, org, named).await?;
        for product in products {
            product.category = product.category_id.and_then(|id| found.get(&id).cloned());
        }
        Ok(())
    })
}

impl Product {
    fn apply(&mut self, patch: ProductPatch, sees_cost: bool) -> Result<()> {
        let ProductPatch { sku, name, description, price, cost, stock, category_id, is_active, metadata } =
            patch;
        self.sku = sku.unwrap_or(std::mem::take(&mut self.sku));
        self.name = name.unwrap_or(std::mem::take(&mut self.name));
        self.description = description.unwrap_or(std::mem::take(&mut self.description));
        self.price = price.unwrap_or(self.price.clone());
        let cost = cost.unwrap_or(self.cost.take().flatten());
        self.stock = stock.unwrap_or(self.stock);
        self.category_id = category_id.unwrap_or(self.category_id);
        self.is_active = is_active.unwrap_or(self.is_active);
        if let Some(patch) = metadata {
            self.metadata = std::mem::take(&mut self.metadata)
                .patched(&patch)
                .map_err(|error| Error::invalid("/metadata", "invalid", error.message()))?;
        }
        // Whoever can't see the cost learns no more than that the currency must stay.
        let place = if sees_cost { "/cost" } else { "/price/currency" };
        same_currency(&self.price)(&cost, &())
            .map_err(|error| Error::invalid(place, "invalid", error.message()))?;
        self.cost = Some(cost);
        Ok(())
    }
}
