//! Where traces go: to a collector that speaks OTLP over HTTP, in batches and by a thread of their own.
//!
//! What OpenTelemetry's own variables say of it is heard as well: `OTEL_EXPORTER_OTLP_HEADERS` (a token of the
//! collector's), `OTEL_RESOURCE_ATTRIBUTES`, and those of the batches (`OTEL_BSP_*`). Source: OTLP 1.9, OpenTelemetry's
//! "Environment Variable Specification".

use crate::config::{Traces, Unusable};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider, Tracer},
};
use std::time::Duration;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// How long the collector may take to answer; what it has not taken by then is dropped, and nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// None where traces are collected nowhere.
pub(super) fn provider(traces: &Traces) -> anyhow::Result<Option<SdkTracerProvider>> {
    if traces.otlp_url.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", traces.otlp_url.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| Unusable::new("INSULA_TRACES__OTLP_URL", error))?;
    let resource = Resource::builder()
        .with_service_name(traces.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    // By the trace's id alone: every process comes to the same answer, and a client can't have itself recorded.
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::TraceIdRatioBased(traces.sample))
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

pub(super) fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, Tracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("insula"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
}
