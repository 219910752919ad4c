//! Insula, floor by floor. A file imports only from floors below its own; `tests/it/floors.rs` holds this.

// 0 words
pub mod clock;
pub mod ids;

// 1 pipes
pub mod local;

// 3 keys
pub mod limits;
