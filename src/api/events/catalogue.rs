//! Which events there are.

use crate::{
    error::Result,
    events::{EVENT_TYPES, VERSION},
    extract::Json,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Every type of event, by name.
#[derive(Serialize, ToSchema)]
pub struct EventTypes {
    #[schema(max_items = 200)]
    pub data: Vec<EventTypeInfo>,
}

/// A type of event.
#[derive(Serialize, ToSchema)]
pub struct EventTypeInfo {
    #[schema(example = "product.created", max_length = 100)]
    pub name: &'static str,
    #[schema(example = "A product was made.", max_length = 500)]
    pub description: &'static str,
    /// Of the form of `data`.
    #[schema(example = 1, minimum = 1)]
    pub version: u32,
    /// What it takes to be told of it.
    #[schema(example = "products:read", max_length = 60)]
    pub permission: String,
    /// The schema of `data.object` in the OpenAPI document, where it is told as `GET` answers it.
    #[schema(example = "Product", max_length = 60)]
    pub schema: Option<&'static str>,
}

/// List the types of events
///
/// The OpenAPI document has the form of each under `webhooks`.
#[utoipa::path(get, path = "/event-types", tag = "events",
    responses((status = 200, description = "All that there are.", body = EventTypes)))]
pub async fn list_event_types() -> Result<Json<EventTypes>> {
    let data = EVENT_TYPES.iter().map(|kind| EventTypeInfo {
        name: kind.name,
        description: kind.about,
        version: VERSION,
        permission: kind.permission().to_string(),
        schema: kind.schema,
    });
    Ok(Json(EventTypes { data: data.collect() }))
}
