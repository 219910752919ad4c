//! Amounts of money: whole minor units of one currency, never floats.

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"amount": 1999, "currency": "EUR"}` is 19.99 euros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units of the currency.
    #[garde(range(min = 0, max = MAX_AMOUNT))]
    #[schema(example = 1999, minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub amount: i64,
    #[garde(skip)]
    pub currency: Currency,
}

/// Ten billion euros: far above any price, and far below what could overflow a total of an order
/// (1,000 lines of 1,000 pieces).
pub const MAX_AMOUNT: i64 = 1_000_000_000_000;

/// The schema of a sum of amounts, which may be larger than any of them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described: it is told as `Money`")]
pub struct Sum {
    /// Minor units of the currency.
    #[schema(example = 3998, minimum = 0)]
    amount: i64,
    currency: Currency,
}

/// An ISO 4217 code: three capital letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = String, example = "EUR", pattern = "^[A-Z]{3}$", min_length = 3, max_length = 3)]
pub struct Currency(String);

impl Currency {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        if code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_uppercase()) {
            Ok(Self(code))
        } else {
            Err(serde::de::Error::custom("expected an ISO 4217 code of three capital letters, like EUR"))
        }
    }
}

impl Money {
    /// For columns that the database's checks have already accepted.
    pub fn from_columns(amount: i64, currency: String) -> Self {
        Self { amount, currency: Currency(currency) }
    }
}
