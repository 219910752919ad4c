//! The gate: what is asked and done before an org is known, each one execute-only function of the database.

mod account;
mod api_keys;
mod attempts;
mod emails;
mod invitations;
mod live;
mod mail;
mod months;
mod my_sessions;
mod orgs;
mod passwords;
mod people;
mod sessions;
mod signing_keys;
mod tickets;
mod tiers;
mod totp;

pub use account::*;
pub use api_keys::*;
pub use attempts::*;
pub use emails::*;
pub use invitations::*;
pub use live::*;
pub use mail::*;
pub use months::*;
pub use my_sessions::*;
pub use orgs::*;
pub use passwords::*;
pub use people::*;
pub use sessions::*;
pub use signing_keys::*;
pub use tickets::*;
pub use tiers::*;
pub use totp::*;
