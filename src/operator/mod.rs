//! The operators' rooms: members of the built-in org `platform`, across all orgs.

pub mod accuracy;
pub mod jobs;
pub mod keys;
pub mod limits;
pub mod orgs;
pub mod overrides;
pub mod simulations;
pub mod tiers;
pub mod usage;
