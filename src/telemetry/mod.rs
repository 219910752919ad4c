//! What a process says of itself while it works: its log, and traces where somebody collects them.

mod collected;
mod spans;
mod statements;

pub use spans::{answered, apart, caller, http, job, redis, trace_id, traceparent};

use crate::config::{Log, LogFormat, Traces, Unusable};
use anyhow::anyhow;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// What is traced and not logged: spans of this target go to the collector, and nowhere else.
const TRACED: &str = "insula::traced";

/// How long the last traces may take to be handed over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Hands over the traces that wait, when it is dropped.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown_with_timeout(FAREWELL)) {
            tracing::warn!(%error, "the last traces were not collected");
        }
    }
}

/// Starts logging to standard error: one JSON object a line, or text for a person's eyes. Standard output is for what was
/// asked for.
pub fn init(log: &Log) -> anyhow::Result<()> {
    start(log, None)
}

/// The same, and tracing where it is configured.
///
/// # Errors
/// Where a filter or an address is none; a collector that is not there is none.
pub fn init_with_traces(log: &Log, traces: &Traces) -> anyhow::Result<Telemetry> {
    let provider = collected::provider(traces)?;
    start(log, provider.as_ref())?;
    Ok(Telemetry(provider))
}

fn start(log: &Log, provider: Option<&SdkTracerProvider>) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&log.filter).map_err(|error| Unusable::new("INSULA_LOG__FILTER", error))?;
    let traced = provider.map(|provider| {
        let spans = filter_fn(|about| about.is_span() && about.target() == TRACED);
        collected::layer(provider).with_filter(spans).and_then(statements::layer(provider))
    });
    let logged = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logged: Box<dyn Layer<_> + Send + Sync> = match log.format {
        LogFormat::Json => {
            logged.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
        LogFormat::Text => logged.with_target(false).boxed(),
    };
    let logged = logged.with_filter(filter.and(filter_fn(|about: &Metadata<'_>| about.target() != TRACED)));
    Registry::default().with(traced).with(logged).try_init().map_err(|error| anyhow!(error))
}
