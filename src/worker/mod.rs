//! What works besides requests.

mod audit;
mod decisions;
mod key_uses;
mod limits;
mod mail;
mod permission_uses;
mod recorder;
mod simulations;
mod sweep;
mod usage;

pub use audit::{keep_audit_sealed, seal_audit};
pub use decisions::keep_decisions;
pub use key_uses::write_key_uses;
pub use limits::keep_limits;
pub use mail::send_mail;
pub use permission_uses::keep_uses;
pub use recorder::keep_recorder;
pub use simulations::run_simulations;
pub use sweep::sweep;
pub use usage::keep_usage;
