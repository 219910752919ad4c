//! What works besides requests.

mod decisions;
mod limits;
mod sweep;

pub use decisions::keep_decisions;
pub use limits::keep_limits;
pub use sweep::sweep;
