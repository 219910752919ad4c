//! Webhooks: what is told to the endpoints of an org, how it is signed, where it may go, and what becomes of it.

mod address;
mod attempt;
mod disable;
mod figures;
mod queue;
mod retry;
mod secret;
mod settle;

pub use address::{UrlFault, WebhookUrl, forbidden, origin, within};
pub use attempt::{Attempt, Outcome};
pub use disable::DisabledReason;
pub use figures::{DeliveryFigures, figures};
pub use queue::{Claimed, Queue, Room};
pub use retry::{Next, next, retry_after};
pub use secret::Secret;
