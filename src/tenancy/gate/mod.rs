//! The gate: what is asked and done before an org is known, each one execute-only function of the database.

mod api_keys;
mod emails;
mod mail;
mod orgs;
mod passwords;
mod people;
mod sessions;
mod tiers;

pub use api_keys::*;
pub use emails::*;
pub use mail::*;
pub use orgs::*;
pub use passwords::*;
pub use people::*;
pub use sessions::*;
pub use tiers::*;
