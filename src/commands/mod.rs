//! What an operator does at a terminal, a file a command.

pub mod audit;
pub mod bootstrap;
pub mod health;
pub mod keys;
pub mod operator;
pub mod policy;
pub mod tiers;
