//! Permissions: all that a role or a key can be given, and what asks for it.

use crate::{
    authz::{Permission, Resource::Roles},
    extract::Json,
    middleware::TenantRoutes,
    openapi::{FURTHER, operations},
};
use axum::Extension;
use serde::Serialize;
use std::sync::Arc;
use utoipa::{
    ToSchema,
    openapi::{OpenApi, path::Operation},
};
use utoipa_axum::routes;

pub fn routes() -> TenantRoutes {
    TenantRoutes::of(Roles).allow_members(routes!(list_permissions))
}

/// Every permission that a route asks for: made once, of the routes themselves.
#[derive(Clone, Serialize, ToSchema)]
pub struct Catalogue {
    #[schema(max_items = 200, value_type = Vec<CataloguePermission>)]
    data: Arc<[CataloguePermission]>,
}

#[derive(Serialize, ToSchema)]
pub struct CataloguePermission {
    #[schema(example = "products:create", max_length = 60)]
    permission: String,
    /// What it lets somebody do.
    #[schema(example = "Create products.", max_length = 200)]
    description: &'static str,
    /// What needs it, for all or some of what it does.
    #[schema(max_items = 100)]
    operations: Vec<CatalogueOperation>,
}

#[derive(Serialize, ToSchema)]
pub struct CatalogueOperation {
    #[schema(example = "POST", max_length = 6)]
    method: &'static str,
    #[schema(example = "/api/v1/products", max_length = 200)]
    path: String,
    #[schema(example = "create_product", max_length = 60)]
    operation_id: String,
}

/// List permissions
///
/// With what each lets somebody do, and the operations that need it.
#[utoipa::path(get, path = "/permissions", tag = "roles",
    responses((status = 200, description = "All of them.", body = Catalogue)))]
async fn list_permissions(Extension(catalogue): Extension<Catalogue>) -> Json<Catalogue> {
    Json(catalogue)
}

impl Catalogue {
    /// Of the document that the routes have written.
    pub fn of(document: &OpenApi) -> Self {
        let data =
            Permission::all().filter(|permission| !permission.is_platforms()).filter_map(|permission| {
                let operations: Vec<_> = operations(document)
                    .filter(|(.., operation)| asks_for(operation, permission))
                    .map(|(method, path, operation)| CatalogueOperation {
                        method,
                        path: path.to_owned(),
                        operation_id: operation.operation_id.clone().unwrap_or_default(),
                    })
                    .collect();
                let description = permission.sentence().unwrap_or_default();
                let permission = permission.to_string();
                (!operations.is_empty()).then_some(CataloguePermission {
                    permission,
                    description,
                    operations,
                })
            });
        Self { data: data.collect() }
    }
}

fn asks_for(operation: &Operation, permission: Permission) -> bool {
    let said = |name: &str| operation.extensions.as_ref().and_then(|extensions| extensions.get(name));
    let permission = permission.to_string();
    said("x-permission").is_some_and(|asked| *asked == permission)
        || said(FURTHER)
            .and_then(serde_json::Value::as_array)
            .is_some_and(|further| further.iter().any(|asked| *asked == permission))
}
