//! Many products in one request, each for itself or all or none.

use super::{NewProduct, Product, ProductPatch, READ_COST, store, told};
use crate::{
    authz::{
        Action::{self, Delete, Update},
        Permission,
        Resource::Products,
    },
    caller::Caller,
    error::{Error, Flaw, OptionExt as _, Problem, Result},
    events::{self, Entry},
    extract::{Json, Listed as _, TenantDb, read},
    idempotency::{Done, IdempotencyKey, once},
    ids::ProductId,
    tenancy::TenantTx,
    trail::Trail,
};
use axum::{http::StatusCode, response::Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Up to 1,000 changes of products, done in their order.
#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// All or none: one change that can't be made, and none is.
    #[garde(skip)]
    #[serde(default)]
    #[schema(default = false, example = true)]
    atomic: bool,
    // Read one by one, so that one that makes no sense stands in no other's way.
    #[garde(length(min = 1, max = 1_000))]
    #[schema(value_type = Vec<BulkItem>, min_items = 1, max_items = 1_000,
             example = json!([{"create": {"sku": "WHEEL-1", "name": "Wheel",
                                          "price": {"amount": 2_450, "currency": "EUR"}, "stock": 12}}]))]
    items: Vec<Value>,
}

/// A change of one product.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkItem {
    Create(#[garde(dive)] NewProduct),
    Update(#[garde(dive)] BulkUpdate),
    Delete(#[garde(dive)] BulkDelete),
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkUpdate {
    #[garde(skip)]
    id: ProductId,
    /// Only where the product is at this version; whatever there is where absent.
    #[garde(skip)]
    #[schema(example = 1)]
    version: Option<i64>,
    #[garde(dive)]
    patch: ProductPatch,
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDelete {
    #[garde(skip)]
    id: ProductId,
    /// Only where the product is at this version; whatever there is where absent.
    #[garde(skip)]
    #[schema(example = 1)]
    version: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub struct BulkResult {
    /// What became of each item, in their order.
    #[schema(max_items = 1_000)]
    data: Vec<BulkOutcome>,
    #[schema(example = 2, maximum = 1_000)]
    succeeded: usize,
    #[schema(example = 1, maximum = 1_000)]
    failed: usize,
}

#[derive(Serialize, ToSchema)]
pub struct BulkOutcome {
    /// As the request for this item alone would have been answered.
    #[schema(example = 201, minimum = 200, maximum = 499)]
    status: u16,
    /// The product, created or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    product: Option<Product>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<BulkProblem>,
}

/// Why an item was refused.
#[derive(Serialize, ToSchema)]
pub struct BulkProblem {
    #[schema(example = "sku_taken", max_length = 60)]
    code: &'static str,
    #[schema(example = "a product of this organisation has this sku", max_length = 1_000)]
    detail: String,
    /// Where the item is wrong, with pointers into the request's body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    errors: Vec<Flaw>,
}

/// Create, change and delete many products
///
/// Up to 1,000 at a time, done in their order. Each is done or refused for itself, as its `status` says; with `atomic`
/// one that is refused refuses all, and the answer points at each. Whoever may create products may ask; to change and
/// to delete takes what it takes elsewhere.
#[utoipa::path(post, path = "/products/bulk", tag = "products", request_body = Bulk, params(IdempotencyKey),
    responses((status = 200, description = "What became of each.", body = BulkResult),
              (status = 409, description = "The same key is still at work (`in_flight`).")))]
pub async fn change_products(
    db: TenantDb,
    trail: Trail,
    key: Option<IdempotencyKey>,
    Json(bulk): Json<Bulk>,
) -> Result<Response> {
    let items: Vec<Result<BulkItem>> = bulk.items.iter().map(parse).collect();
    let (tx, caller) = db.begin_as().await?;
    once(tx, &caller, key, ("change_products", &bulk), async |tx| {
        let (outcomes, told) = Work::begin(tx, &caller, &items).await?.through(items).await?;
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        if bulk.atomic && failed > 0 {
            return Err(Error::Invalid(flaws(outcomes)));
        }
        events::record_all(tx, caller.actor(), &trail, told).await?;
        let succeeded = outcomes.len() - failed;
        let data =
            outcomes.into_iter().enumerate().map(|outcome| BulkOutcome::of(&caller, outcome)).collect();
        Ok(Done {
            status: StatusCode::OK,
            location: None,
            tag: [],
            body: BulkResult { data, succeeded, failed },
        })
    })
    .await
}

fn parse(item: &Value) -> Result<BulkItem> {
    let text = serde_json::to_vec(item).map_err(|error| Error::Internal(error.into()))?;
    read(&text).map_err(|error| match error {
        Error::Invalid(flaws) => {
            // What is in a variant is checked under its place, and was sent under its name.
            let name = item.as_object().and_then(|item| item.keys().next()).cloned().unwrap_or_default();
            let named = |flaw: Flaw| match flaw.pointer.strip_prefix("/0") {
                Some(rest) => Flaw { pointer: format!("/{name}{rest}"), ..flaw },
                None => flaw,
            };
            Error::Invalid(flaws.into_iter().map(named).collect())
        }
        error => error,
    })
}

/// What an item has come to: a product that was made or changed, or nothing more to tell.
enum Outcome {
    Created(Box<Product>),
    Updated(Box<Product>),
    Deleted,
}

struct Work<'a> {
    tx: &'a mut TenantTx,
    caller: &'a Caller,
    /// The products that there are of those to be changed, locked, as they are by now.
    known: HashMap<ProductId, Product>,
    /// What has happened so far.
    told: Vec<Entry>,
}

impl<'a> Work<'a> {
    /// Locks all that will be changed, in the order of ids, which is everybody's.
    async fn begin(tx: &'a mut TenantTx, caller: &'a Caller, items: &[Result<BulkItem>]) -> Result<Self> {
        let named = items.iter().filter_map(|item| match item {
            Ok(BulkItem::Update(BulkUpdate { id, .. }) | BulkItem::Delete(BulkDelete { id, .. })) => {
                Some(*id)
            }
            Ok(BulkItem::Create(_)) | Err(_) => None,
        });
        let named: Vec<ProductId> = named.collect();
        let known = store::lock_all(tx, &named).await?;
        let known = known.into_iter().map(|product| (product.id, product)).collect();
        Ok(Self { tx, caller, known, told: Vec::new() })
    }

    /// # Errors
    /// Only what is no item's fault: each of theirs is its outcome.
    async fn through(mut self, items: Vec<Result<BulkItem>>) -> Result<(Vec<Result<Outcome>>, Vec<Entry>)> {
        let mut outcomes = Vec::with_capacity(items.len());
        // Those that follow one another are one statement.
        let mut creating: Vec<Result<NewProduct>> = Vec::new();
        for item in items {
            let outcome = match item {
                Ok(BulkItem::Create(new)) => {
                    creating.push(self.may_create(&new).map(|()| new));
                    continue;
                }
                Ok(BulkItem::Update(update)) => {
                    self.create(&mut creating, &mut outcomes).await?;
                    self.update(update).await
                }
                Ok(BulkItem::Delete(delete)) => {
                    self.create(&mut creating, &mut outcomes).await?;
                    self.delete(&delete).await
                }
                Err(error) => {
                    self.create(&mut creating, &mut outcomes).await?;
                    Err(error)
                }
            };
            outcomes.push(own_fault(outcome)?);
        }
        self.create(&mut creating, &mut outcomes).await?;
        Ok((outcomes, self.told))
    }

    fn may_create(&self, new: &NewProduct) -> Result<()> {
        self.caller.check_fields(Product::FIELDS, &[("cost", new.cost.is_some())])
    }

    async fn create(
        &mut self,
        creating: &mut Vec<Result<NewProduct>>,
        outcomes: &mut Vec<Result<Outcome>>,
    ) -> Result<()> {
        let creating = std::mem::take(creating);
        let fit: Vec<&NewProduct> = creating.iter().filter_map(|new| new.as_ref().ok()).collect();
        let mut made = store::insert_all(self.tx, &fit).await?.into_iter();
        for new in creating {
            outcomes.push(match new {
                Ok(_) => {
                    let made = made.next().or_not_found()?.map_err(|error| inside("/create", error));
                    self.told.extend(made.as_ref().ok().map(told::created));
                    made.map(|product| Outcome::Created(Box::new(product)))
                }
                Err(error) => Err(error),
            });
        }
        Ok(())
    }

    async fn update(&mut self, BulkUpdate { id, version, patch }: BulkUpdate) -> Result<Outcome> {
        self.exercise(Update)?;
        let before = self.known.get(&id).or_not_found()?;
        refuse_stale(before, version)?;
        self.caller.check_fields(Product::FIELDS, &[("cost", patch.cost.is_some())])?;
        let mut product = before.clone();
        let of_patch = |error| inside("/update/patch", error);
        product.apply(patch, self.caller.may(READ_COST)).map_err(of_patch)?;
        let product =
            self.tx.attempt(async |tx| store::update(tx, &product).await).await.map_err(of_patch)?;
        self.told.push(told::updated(before, &product));
        self.known.insert(id, product.clone());
        Ok(Outcome::Updated(Box::new(product)))
    }

    async fn delete(&mut self, BulkDelete { id, version }: &BulkDelete) -> Result<Outcome> {
        self.exercise(Delete)?;
        let product = self.known.get(id).or_not_found()?;
        refuse_stale(product, *version)?;
        store::delete(self.tx, *id).await?;
        self.told.push(told::deleted(product));
        self.known.remove(id);
        Ok(Outcome::Deleted)
    }

    fn exercise(&self, action: Action) -> Result<()> {
        let permission = Permission { resource: Products, action };
        if self.caller.exercise(permission) { Ok(()) } else { Err(self.caller.refusal(permission)) }
    }
}

fn refuse_stale(product: &Product, expected: Option<i64>) -> Result<()> {
    match expected {
        Some(version) if version != product.version => Err(Error::Stale),
        _ => Ok(()),
    }
}

/// What the client can't help is no item's fault, and ends the whole.
fn own_fault(outcome: Result<Outcome>) -> Result<Result<Outcome>> {
    match outcome {
        Err(error @ (Error::Internal(_) | Error::Unavailable(_) | Error::Crowded)) => Err(error),
        outcome => Ok(outcome),
    }
}

impl BulkOutcome {
    fn of(caller: &Caller, (at, outcome): (usize, Result<Outcome>)) -> Self {
        let (status, product) = match outcome {
            Ok(Outcome::Created(product)) => (StatusCode::CREATED, Some(product)),
            Ok(Outcome::Updated(product)) => (StatusCode::OK, Some(product)),
            Ok(Outcome::Deleted) => (StatusCode::NO_CONTENT, None),
            Err(error) => {
                let error = inside(&place(at), error);
                let errors = if let Error::Invalid(flaws) = &error { flaws.clone() } else { Vec::new() };
                let Problem { status, code, detail, .. } = error.into_problem();
                let problem = Some(BulkProblem { code, detail, errors });
                return Self { status: status.as_u16(), product: None, problem };
            }
        };
        let product = product.map(|mut product| {
            caller.see(Product::FIELDS, [&mut *product]);
            *product
        });
        Self { status: status.as_u16(), product, problem: None }
    }
}

/// What is wrong in a part of something, seen from the whole.
fn inside(part: &str, error: Error) -> Error {
    match error {
        Error::Invalid(flaws) => Error::Invalid(
            flaws
                .into_iter()
                .map(|flaw| Flaw { pointer: format!("{part}{}", flaw.pointer), ..flaw })
                .collect(),
        ),
        error => error,
    }
}

/// Of all that were refused, as one refusal.
fn flaws(outcomes: impl IntoIterator<Item = Result<Outcome>>) -> Vec<Flaw> {
    let refused = outcomes.into_iter().enumerate().filter_map(|(at, outcome)| Some((at, outcome.err()?)));
    refused
        .flat_map(|(at, error)| match inside(&place(at), error) {
            Error::Invalid(flaws) => flaws,
            error => {
                let Problem { code, detail, .. } = error.into_problem();
                vec![Flaw::new(place(at), code, detail)]
            }
        })
        .collect()
}

fn place(at: usize) -> String {
    format!("/items/{at}")
}
