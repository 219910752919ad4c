//! What is counted for Prometheus, and the text it is told in. Every label has few values: never an org, a person, a key
//! or a path that somebody made up.

mod attempts;
mod reads;
mod requests;
mod text;

pub use attempts::Attempts;
pub use reads::Reads;
pub use requests::Requests;
pub use text::Text;
