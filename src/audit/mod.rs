//! The audit: who did what to whom, kept for good.
//!
//! Its lines are written along with what they tell (see [`crate::events`]). Once committed each becomes part of its
//! org's [`chain`], which anybody can [`verify`].

pub mod chain;
mod event;
mod verify;

pub use event::{AuditEvent, AuditRow, hex};
pub use verify::{Break, Verified, find, next_org, verify};
