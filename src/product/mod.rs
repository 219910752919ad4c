//! A product as it is made: one at a time by its own room, and by the file.

pub mod rows;
pub mod sheet;

use crate::{ids::CategoryId, metadata::Metadata, money::Money};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    /// Unique among the organisation's products.
    #[garde(length(chars, min = 1, max = 64))]
    #[schema(example = "COG-1", min_length = 1, max_length = 64)]
    pub sku: String,
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "Cog", min_length = 1, max_length = 200)]
    pub name: String,
    #[garde(length(chars, max = 10_000))]
    #[serde(default)]
    #[schema(max_length = 10_000)]
    pub description: String,
    #[garde(dive)]
    pub price: Money,
    /// In the currency of the price.
    #[garde(dive, custom(same_currency(&self.price)))]
    pub cost: Option<Money>,
    #[garde(range(min = 0))]
    #[serde(default)]
    #[schema(example = 40, minimum = 0)]
    pub stock: i32,
    #[garde(skip)]
    pub category_id: Option<CategoryId>,
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub is_active: bool,
    #[garde(dive)]
    #[serde(default)]
    pub metadata: Metadata,
}

/// One row, one currency.
pub fn same_currency(price: &Money) -> impl FnOnce(&Option<Money>, &()) -> garde::Result {
    |cost, ()| match cost {
        Some(cost) if cost.currency != price.currency => {
            Err(garde::Error::new("not in the currency of the price"))
        }
        _ => Ok(()),
    }
}

fn yes() -> bool {
    true
}
