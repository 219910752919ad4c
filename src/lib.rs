//! Insula, floor by floor. A file imports only from floors below its own; `tests/it/floors.rs` holds this.

// 0 words
pub mod clock;
pub mod config;
pub mod entity_tag;
pub mod error;
pub mod ids;
pub mod metadata;
pub mod money;
pub mod networks;

// 1 pipes
pub mod cache;
pub mod cron;
pub mod db;
pub mod file_links;
pub mod local;
pub mod mail;
pub mod metrics;
pub mod page;
pub mod patience;
pub mod refs;
pub mod storage;
pub mod telemetry;
pub mod trail;
pub mod vault;

// 2 fence
pub mod bootstrap;
pub mod bus;
pub mod tenancy;

// 3 keys
pub mod authn;
pub mod authz;
pub mod decisions;
pub mod limits;

// 4 what has happened
pub mod events;
pub mod metering;

// 5 means
pub mod access;
pub mod account;
pub mod audit;
pub mod caller;
pub mod category;
pub mod jobs;
pub mod openapi;
pub mod people;
pub mod policy_check;
pub mod prefer;
pub mod product;
pub mod state;
pub mod webhooks;

// 6 hall
pub mod attempt;
pub mod extract;
pub mod idempotency;
pub mod middleware;
pub mod tiers;

// 7 rooms
pub mod api;
pub mod operator;

// 8 the table of contents, and what works besides requests
pub mod router;
pub mod worker;

// 9 the whole
pub mod app;

// 10 what is run at a terminal
pub mod commands;
pub mod dev;
