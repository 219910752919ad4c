//! Planning: whether calls that are still to be made fit the limits, when, and how fast they may come.

use crate::{
    caller::{Caller, subject},
    error::{Error, Flaw, Result},
    extract::Json,
    limits::{Batch, Forecast},
    openapi::{COST, operations},
    state::AppState,
};
use axum::{Extension, extract::State};
use garde::Validate;
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc};
use utoipa::{ToSchema, openapi::OpenApi};

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// In the order in which they are made.
    #[garde(length(min = 1, max = 100), dive)]
    #[schema(min_items = 1, max_items = 100)]
    pub calls: Vec<PlannedCalls>,
}

/// An operation by its `operation_id`, or by its `method` and `path`.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedCalls {
    #[garde(length(chars, max = 100))]
    #[schema(example = "list_products", max_length = 100)]
    pub operation_id: Option<String>,
    #[garde(length(chars, max = 10))]
    #[schema(max_length = 10)]
    pub method: Option<String>,
    /// As it is called, or as it stands in the document: `/api/v1/products/{id}`.
    #[garde(length(chars, max = 2_000))]
    #[schema(max_length = 2_000)]
    pub path: Option<String>,
    /// How often.
    #[garde(range(min = 1, max = 1_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000, example = 250)]
    pub count: u32,
}

/// Plan calls
///
/// Of calls that are made one after another, each as soon as it fits, while nobody else uses the same limits: whether all
/// pass now, when the last does, how fast they may come, and which policy they wait for. Costs nothing, and keeps nothing
/// free.
#[utoipa::path(post, path = "/limits/plan", tag = "limits", request_body = Intent,
    responses((status = 200, description = "What would become of them.", body = Forecast)))]
pub async fn plan_calls(
    State(state): State<AppState>,
    Extension(costs): Extension<Costs>,
    caller: Caller,
    Json(intent): Json<Intent>,
) -> Result<Json<Forecast>> {
    let mut flaws = Vec::new();
    let mut batches = Vec::new();
    for (place, calls) in intent.calls.iter().enumerate() {
        match costs.of_calls(calls) {
            Ok(cost) => batches.push(Batch { cost, count: calls.count }),
            Err(Unknown { field, code, detail }) => {
                flaws.push(Flaw::new(format!("/calls/{place}{field}"), code, detail));
            }
        }
    }
    if !flaws.is_empty() {
        return Err(Error::Invalid(flaws));
    }
    let control = state.directory.get(caller.org()).await?;
    let who = subject(caller.actor());
    let plan = state.plan(caller.org(), &control, who, caller.tier()).await?;
    Ok(Json(state.limits.forecast(caller.org(), who, &plan, &batches).await))
}

/// What each operation costs that a tier limits: made once, of the routes themselves.
#[derive(Clone)]
pub struct Costs(Arc<Operations>);

#[derive(Default)]
struct Operations {
    by_id: HashMap<String, u32>,
    by_path: HashMap<&'static str, matchit::Router<u32>>,
}

struct Unknown {
    field: &'static str,
    code: &'static str,
    detail: &'static str,
}

impl Costs {
    /// Of the document that the routes have written.
    pub fn of(document: &OpenApi) -> Self {
        let mut known = Operations::default();
        for (method, path, operation) in operations(document) {
            let cost = operation.extensions.as_ref().and_then(|said| said.get(COST)?.as_u64());
            // Without a cost it is limited by address, and by no tier.
            let Some(cost) = cost.and_then(|cost| u32::try_from(cost).ok()) else { continue };
            known.by_id.extend(operation.operation_id.clone().map(|id| (id, cost)));
            let paths = known.by_path.entry(method).or_default();
            if let Err(error) = paths.insert(path, cost) {
                tracing::error!(%error, method, path, "can't be planned by its path");
            }
        }
        Self(Arc::new(known))
    }

    fn of_calls(&self, calls: &PlannedCalls) -> Result<u32, Unknown> {
        match (&calls.operation_id, &calls.method, &calls.path) {
            (Some(id), None, None) => self.0.by_id.get(id).copied().ok_or(Unknown {
                field: "/operation_id",
                code: "not_found",
                detail: "the limits of tiers know no such operation; operation_ids stand in the API's document",
            }),
            (None, Some(method), Some(path)) => self.at(method, path).ok_or(Unknown {
                field: "/path",
                code: "not_found",
                detail: "the limits of tiers know no operation with this method at this path",
            }),
            _ => Err(Unknown {
                field: "",
                code: "invalid",
                detail: "must name either an operation_id, or a method and a path",
            }),
        }
    }

    fn at(&self, method: &str, path: &str) -> Option<u32> {
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        let paths = self.0.by_path.get(method.to_ascii_uppercase().as_str())?;
        paths.at(path).ok().map(|found| *found.value)
    }
}
