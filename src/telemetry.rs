//! The log: one JSON object a line, or text for a person's eyes.

use crate::config::{Log, LogFormat, Unusable};
use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error; standard output is for what was asked for.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&log.filter).map_err(|error| Unusable::new("INSULA_LOG__FILTER", error))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    started.map_err(|error| anyhow!(error))
}
