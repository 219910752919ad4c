//! What works besides requests.

mod sweep;

pub use sweep::sweep;
