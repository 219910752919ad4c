//! What works besides requests.

mod limits;
mod mail;
mod sweep;

pub use limits::keep_limits;
pub use mail::send_mail;
pub use sweep::sweep;
