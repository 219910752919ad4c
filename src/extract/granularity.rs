//! Into what pieces a span is cut.

use serde::{Deserialize, Serialize};
use time::Duration;
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = UsageGranularity)]
pub enum Granularity {
    Minute,
    Hour,
    Day,
}

impl Granularity {
    /// What fits a span of this length, where so long a one is still cut into minutes, and so long a one into hours.
    pub fn fitting(length: Duration, minutes: Duration, hours: Duration) -> Self {
        if length <= minutes {
            Self::Minute
        } else if length <= hours {
            Self::Hour
        } else {
            Self::Day
        }
    }

    /// As Postgres cuts it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}
