//! What works besides requests.

mod audit;
mod events;
mod jobs;
mod limits;
mod listeners;
mod mail;
mod metrics;
mod permission_uses;
mod places;
mod schedules;
mod simulations;
mod sweep;
mod turns;
mod usage_alerts;
mod webhooks;
mod write_down;

pub use audit::{keep_audit_sealed, seal_audit};
pub use events::{keep_events_numbered, number_events};
pub use jobs::run_jobs;
pub use limits::keep_limits;
pub use listeners::keep_listeners_told;
pub use mail::send_mail;
pub use metrics::serve_metrics;
pub use permission_uses::keep_uses;
pub use places::keep_places_told;
pub use schedules::keep_schedules;
pub use simulations::run_simulations;
pub use sweep::{sweep, sweep_rows};
pub use usage_alerts::{keep_usage_told, tell_of_usage};
pub use webhooks::{WebhookClient, deliver_webhooks};
pub use write_down::{keep_accuracy, keep_decisions, keep_key_uses, keep_recorder, keep_usage};
