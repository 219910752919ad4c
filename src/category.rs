//! A category as it is told: by its own room, and along with what is in it.

use crate::{
    error::Result,
    ids::{CategoryId, OrgId},
};
use serde::Serialize;
use sqlx::PgConnection;
use std::collections::HashMap;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Category {
    pub id: CategoryId,
    #[schema(example = "Tools", max_length = 200)]
    pub name: String,
    pub parent_id: Option<CategoryId>,
    #[schema(example = 1)]
    pub version: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// Those of these that are there, by one statement.
pub async fn by_id(
    connection: &mut PgConnection,
    org: OrgId,
    ids: impl Iterator<Item = CategoryId>,
) -> Result<HashMap<CategoryId, Category>> {
    let ids: Vec<Uuid> = ids.map(CategoryId::uuid).collect();
    let found = sqlx::query_as!(
        Category,
        r#"select id as "id: _", name, parent_id as "parent_id: _", version, created_at, updated_at
           from categories where org_id = $1 and id = any($2)"#,
        org.uuid(),
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(|category| (category.id, category)).collect())
}
