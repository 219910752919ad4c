//! What works besides requests.

mod audit;
mod limits;
mod sweep;

pub use audit::{keep_audit_sealed, seal_audit};
pub use limits::keep_limits;
pub use sweep::sweep;
