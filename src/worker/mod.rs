//! What works besides requests.

mod limits;
mod permission_uses;
mod sweep;

pub use limits::keep_limits;
pub use permission_uses::keep_uses;
pub use sweep::sweep;
