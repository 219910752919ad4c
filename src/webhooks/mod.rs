//! Webhooks: what is told to the endpoints of an org, how it is signed, and where it may go.

mod address;
mod secret;

pub use address::{UrlFault, WebhookUrl, forbidden};
pub use secret::Secret;
