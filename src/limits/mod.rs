//! How much a tier may do: policies, the decision that charges all of them or none, and what clients are told of it.
//!
//! governor is the arithmetic, the cells are ours, time is `crate::clock`. Read downwards: `policy` is what an
//! operator writes, `tier` what it compiles to, `engine` what decides, `decision` and `headers` what comes out.
//! `month` stands beside the engine: quotas that Postgres counts.
//! `course` works out what is to come, `forecast` tells it.
//! `either` is the way in, `shared` what several replicas do through Redis.
//! `entitlements` is what a tier grants besides.
//! `accuracy` counts how exactly all of it was kept.
//! `ip` stands apart: it guards the doors that open before anybody is known.

mod accuracy;
mod book;
mod bucket;
mod cell;
mod course;
mod decision;
mod either;
mod engine;
mod entitlements;
#[cfg(test)]
mod fixture;
mod forecast;
mod headers;
mod ip;
mod lowering;
mod mix;
#[cfg(test)]
mod model;
mod month;
mod overrides;
mod permit;
mod policy;
pub mod record;
#[cfg(test)]
mod reference;
mod replay;
mod rule;
mod shared;
mod shelf;
mod tier;
#[cfg(test)]
mod traps;
mod verdict;

pub use accuracy::{Accuracy, Counting, sweep_accuracy};
pub use book::{Granted, TierBook};
pub use decision::{Decision, Reading};
pub use either::Limits;
pub use engine::Limiter;
pub use entitlements::Entitlements;
pub use forecast::{Batch, CallsForecast, Forecast, PolicyForecast};
pub use headers::Headers;
pub use ip::IpLimiter;
pub use lowering::lowered;
pub use month::Period as BillingMonth;
pub use overrides::OverrideBook;
pub use permit::Permit;
pub use policy::{Fault, Mode, Period, Policy, Scope, Unit};
pub use replay::{Outcomes, Replay, Replayed};
pub use tier::{Subject, Tier, TierPlan};
pub use verdict::{Reached, Verdict};
