//! Categories: how an organisation sorts its products, as a tree.

use super::given;
use crate::{
    authz::{
        Action::{Create, Delete, Read, Update},
        Resource::Categories,
    },
    caller::Caller,
    category::Category,
    error::{Error, OptionExt as _, Result, SqlExt as _},
    events::{self, Entry},
    extract::{
        ETag, IfMatch, Json, List, ListParams, Listed, Path, Query, Shape, TenantDb, View, ViewParams,
    },
    idempotency::{Done, IdempotencyKey, once},
    ids::CategoryId,
    middleware::TenantRoutes,
    page::{Filter, Kind, Listing, Page, Sort},
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Categories)
        .allow(Read, routes!(list_categories))
        .remembered(Shape::<Category>::SIGHT)
        .allow(Create, routes!(create_category))
        .allow(Read, routes!(get_category))
        .remembered(Shape::<Category>::SIGHT)
        .allow(Update, routes!(update_category))
        .allow(Delete, routes!(delete_category))
        .with_trials()
}

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCategory {
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Tools", min_length = 1, max_length = 200)]
    pub name: String,
    #[garde(skip)]
    pub parent_id: Option<CategoryId>,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryPatch {
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "Hand tools", min_length = 1, max_length = 200)]
    pub name: Option<String>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    pub parent_id: Option<Option<CategoryId>>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Moving {
    /// The category that what is in this one is moved to.
    move_to: Option<CategoryId>,
}

impl Listed for Category {
    type Row = Self;
    const LISTING: &'static Listing = &Listing {
        columns: "id, name, parent_id, version, created_at, updated_at",
        from: "categories where org_id = $1",
        sorts: &[
            Sort { name: "created_at", column: "created_at", cast: "timestamptz" },
            Sort { name: "name", column: r#"name collate "C""#, cast: "text" },
        ],
        filters: &[Filter {
            name: "parent_id",
            predicate: "parent_id =",
            kind: Kind::Id(|text| text.parse().ok().map(CategoryId::uuid)),
            about: "Directly below this one.",
        }],
    };
}

/// List categories
#[utoipa::path(get, path = "/categories", tag = "categories", params(ListParams<Category>),
    responses((status = 200, description = "A page of categories.", body = Page<Category>)))]
async fn list_categories(db: TenantDb, list: List<Category>) -> Result<Response> {
    let page = list.page(&mut *db.read().await?).await?;
    Ok(list.answer(page))
}

/// Create a category
#[utoipa::path(post, path = "/categories", tag = "categories", request_body = NewCategory, params(IdempotencyKey),
    responses((status = 201, description = "It exists.", body = Category),
              (status = 409, description = "The name is taken at this place of the tree, or the same key is still at work \
                                            (`name_taken`, `in_flight`).")))]
async fn create_category(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewCategory>,
) -> Result<Response> {
    let tx = db.begin().await?;
    once(tx, &caller, key, ("create_category", &new), async |tx| {
        let category = insert(tx, &new).await?;
        let created = Entry::made("category.created", "category", category.id.uuid(), &category);
        events::record(tx, caller.actor(), &trail, created).await?;
        Ok(Done {
            status: StatusCode::CREATED,
            location: Some(format!("/api/v1/categories/{}", category.id)),
            tag: ETag(category.version).into(),
            body: category,
        })
    })
    .await
}

/// Fetch one category
#[utoipa::path(get, path = "/categories/{id}", tag = "categories",
    params(("id" = CategoryId, Path), ViewParams<Category>),
    responses((status = 200, description = "The category.", body = Category)))]
async fn get_category(db: TenantDb, Path(id): Path<CategoryId>, view: View<Category>) -> Result<Response> {
    let category = select(&mut db.read().await?, id).await?.or_not_found()?;
    view.answer(category.version, &category)
}

/// Change a category
#[utoipa::path(patch, path = "/categories/{id}", tag = "categories", request_body = CategoryPatch,
    params(("id" = CategoryId, Path), IfMatch),
    responses((status = 200, description = "The changed category.", body = Category),
              (status = 409, description = "The name is taken at this place of the tree (`name_taken`).")))]
async fn update_category(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<CategoryId>,
    expected: IfMatch,
    Json(patch): Json<CategoryPatch>,
) -> Result<Response> {
    let mut tx = db.begin().await?;
    let before = lock(&mut tx, id).await?.or_not_found()?;
    expected.check(before.version)?;
    if let Some(Some(parent)) = patch.parent_id {
        refuse_cycle(&mut tx, id, parent).await?;
    }
    let category = update(&mut tx, id, &patch).await?;
    let updated = Entry::changed("category.updated", "category", id.uuid(), &before, &category);
    events::record(&mut tx, caller.actor(), &trail, updated).await?;
    tx.commit().await?;
    Ok(tagged(category).into_response())
}

/// Delete a category
///
/// An empty one, or one whose products and categories are moved to another with it: what is in it is changed with
/// what permits to delete it.
#[utoipa::path(delete, path = "/categories/{id}", tag = "categories",
    params(("id" = CategoryId, Path), IfMatch, Moving),
    responses((status = 204, description = "It is gone."),
              (status = 409, description = "Something is still in it and `move_to` does not say where that should go, \
                                            or a category there has the name of one to be moved \
                                            (`category_in_use`, `name_taken`).")))]
async fn delete_category(
    db: TenantDb,
    caller: Caller,
    trail: Trail,
    Path(id): Path<CategoryId>,
    expected: IfMatch,
    Query(moving): Query<Moving>,
) -> Result<StatusCode> {
    let mut tx = db.begin().await?;
    let category = lock(&mut tx, id).await?.or_not_found()?;
    expected.check(category.version)?;
    let mut told = json!(category);
    if let Some(to) = moving.move_to {
        move_all(&mut tx, id, to).await?;
        told["moved_to"] = json!(to);
    }
    delete(&mut tx, id).await?;
    let deleted = Entry::gone("category.deleted", "category", id.uuid(), &told);
    events::record(&mut tx, caller.actor(), &trail, deleted).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tagged(category: Category) -> impl IntoResponse {
    (<[_; 1]>::from(ETag(category.version)), Json(category))
}

async fn insert(tx: &mut TenantTx, new: &NewCategory) -> Result<Category> {
    sqlx::query_as!(
        Category,
        r#"insert into categories (org_id, id, name, parent_id) values ($1, $2, $3, $4)
           returning id as "id: _", name, parent_id as "parent_id: _", version, created_at, updated_at"#,
        tx.org().uuid(),
        CategoryId::new().uuid(),
        new.name,
        new.parent_id.map(CategoryId::uuid)
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("categories_name_taken", name_taken)
    .on_constraint("categories_org_id_parent_id_fkey", no_parent)
}

async fn select(tx: &mut TenantTx, id: CategoryId) -> Result<Option<Category>> {
    let category = sqlx::query_as!(
        Category,
        r#"select id as "id: _", name, parent_id as "parent_id: _", version, created_at, updated_at
           from categories where org_id = $1 and id = $2"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(category.fetch_optional(&mut **tx).await?)
}

/// The row, locked to the end of the transaction. Its key stays free: another category that
/// moves below this one checks that it is there, and must not wait for a move that waits for its turn itself.
async fn lock(tx: &mut TenantTx, id: CategoryId) -> Result<Option<Category>> {
    let category = sqlx::query_as!(
        Category,
        r#"select id as "id: _", name, parent_id as "parent_id: _", version, created_at, updated_at
           from categories where org_id = $1 and id = $2 for no key update"#,
        tx.org().uuid(),
        id.uuid()
    );
    Ok(category.fetch_optional(&mut **tx).await?)
}

async fn refuse_cycle(tx: &mut TenantTx, id: CategoryId, parent: CategoryId) -> Result<()> {
    if is_within(tx, parent, id).await? {
        return Err(Error::invalid("/parent_id", "cycle", format!("{parent} is {id} itself or below it")));
    }
    Ok(())
}

/// Puts what is in a category into another, which must be there and not be part of it.
async fn move_all(tx: &mut TenantTx, from: CategoryId, to: CategoryId) -> Result<()> {
    if is_within(tx, to, from).await? {
        return Err(Error::malformed("cycle", format!("move_to: {to} is {from} itself or below it")));
    }
    lock(tx, to)
        .await?
        .ok_or_else(|| Error::malformed("unknown_category", "move_to: there is no such category"))?;
    sqlx::query!(
        "update categories set parent_id = $3, version = version + 1, updated_at = now()
         where org_id = $1 and parent_id = $2",
        tx.org().uuid(),
        from.uuid(),
        to.uuid()
    )
    .execute(&mut **tx)
    .await
    .on_constraint("categories_name_taken", || {
        Error::conflict("name_taken", "a category there has the name of one to be moved: rename either first")
    })?;
    // Locked as orders lock them, so that neither waits for the other in a circle.
    sqlx::query!(
        "with here as (
             select id from products where org_id = $1 and category_id = $2 order by id for no key update
         )
         update products p set category_id = $3, version = version + 1, updated_at = now()
         from here where p.org_id = $1 and p.id = here.id",
        tx.org().uuid(),
        from.uuid(),
        to.uuid()
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether a category is another or below it. Moves within one org take turns: two that are each fine alone could
/// close a cycle together.
async fn is_within(tx: &mut TenantTx, id: CategoryId, above: CategoryId) -> Result<bool> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('categories ' || $1, 0))",
        tx.org().to_string()
    )
    .execute(&mut **tx)
    .await?;
    let within = sqlx::query_scalar!(
        r#"with recursive up (id, parent_id) as (
               select id, parent_id from categories where org_id = $1 and id = $2
               union
               select c.id, c.parent_id from categories c join up on c.org_id = $1 and c.id = up.parent_id
           )
           select exists (select from up where id = $3) as "within!""#,
        tx.org().uuid(),
        id.uuid(),
        above.uuid()
    );
    Ok(within.fetch_one(&mut **tx).await?)
}

async fn update(tx: &mut TenantTx, id: CategoryId, patch: &CategoryPatch) -> Result<Category> {
    sqlx::query_as!(
        Category,
        r#"update categories
           set name = coalesce($3, name), parent_id = case when $4 then $5 else parent_id end,
               version = version + 1, updated_at = now()
           where org_id = $1 and id = $2
           returning id as "id: _", name, parent_id as "parent_id: _", version, created_at, updated_at"#,
        tx.org().uuid(),
        id.uuid(),
        patch.name,
        patch.parent_id.is_some(),
        patch.parent_id.flatten().map(CategoryId::uuid)
    )
    .fetch_one(&mut **tx)
    .await
    .on_constraint("categories_name_taken", name_taken)
    .on_constraint("categories_org_id_parent_id_fkey", no_parent)
}

async fn delete(tx: &mut TenantTx, id: CategoryId) -> Result<()> {
    let in_use =
        |what| move || Error::conflict("category_in_use", format!("{what} are still in this category"));
    // Deleted products, which may be restored, come back without it.
    sqlx::query!(
        "update products set category_id = null where org_id = $1 and category_id = $2 and deleted_at is not null",
        tx.org().uuid(),
        id.uuid()
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("delete from categories where org_id = $1 and id = $2", tx.org().uuid(), id.uuid())
        .execute(&mut **tx)
        .await
        .on_constraint("products_org_id_category_id_fkey", in_use("products"))
        .on_constraint("categories_org_id_parent_id_fkey", in_use("categories"))?;
    Ok(())
}

fn name_taken() -> Error {
    Error::conflict("name_taken", "a category at this place of the tree has this name")
}

fn no_parent() -> Error {
    Error::invalid("/parent_id", "not_found", "there is no such category")
}
