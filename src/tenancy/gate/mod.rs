//! The gate: what is asked and done before an org is known, each one execute-only function of the database.

mod account;
mod api_keys;
mod mail;
mod orgs;
mod people;
mod sessions;
mod tiers;

pub use account::*;
pub use api_keys::*;
pub use mail::*;
pub use orgs::*;
pub use people::*;
pub use sessions::*;
pub use tiers::*;
