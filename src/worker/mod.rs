//! What works besides requests.

mod key_uses;
mod limits;
mod sweep;

pub use key_uses::write_key_uses;
pub use limits::keep_limits;
pub use sweep::sweep;
