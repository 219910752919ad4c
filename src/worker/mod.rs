//! What works besides requests.

mod limits;
mod sweep;

pub use limits::keep_limits;
pub use sweep::sweep;
