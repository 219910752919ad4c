//! What an export is: asked for by hand or by a schedule, and done by a job of this kind.

use super::files::{Format, Rows};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How its jobs are called.
pub const KIND: &str = "products.export";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
pub struct NewExport {
    pub resource: Rows,
    pub format: Format,
}

/// What the job is told.
#[derive(Serialize, Deserialize)]
pub struct ExportArgs {
    pub format: Format,
    /// Whether whoever asked may see costs: without, there are none in the file.
    pub costs: bool,
    /// Nobody asked just now: what its maker may do is asked when it is done.
    #[serde(default)]
    pub is_scheduled: bool,
}

impl ExportArgs {
    /// Of one that a schedule asks for.
    pub fn of_schedule(export: NewExport) -> Self {
        let Rows::Products = export.resource;
        Self { format: export.format, costs: false, is_scheduled: true }
    }
}
