//! Each statement as a span of whatever asks for it. sqlx says so when one is over: nothing has to be written where
//! statements are.

use super::TRACED;
use opentelemetry::{
    Context as Trace, KeyValue,
    trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use std::{fmt, time::Duration};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::Context, registry::LookupSpan};

const SQLX: &str = "sqlx::query";

pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Statements(provider.tracer(TRACED)).with_filter(filter_fn(|about| about.target() == SQLX))
}

struct Statements(Tracer);

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let asking = Trace::current();
        if !asking.span().span_context().is_sampled() {
            return;
        }
        let mut told = Told::default();
        event.record(&mut told);
        let end = opentelemetry::time::now();
        let builder = self
            .0
            .span_builder(told.summary.clone())
            .with_kind(SpanKind::Client)
            .with_start_time(end.checked_sub(told.elapsed).unwrap_or(end))
            .with_attributes([
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("db.response.returned_rows", told.rows),
                // With its placeholders: values are bound apart, and not told.
                KeyValue::new("db.query.text", told.text()),
            ]);
        builder.start_with_context(&self.0, &asking).end_with_timestamp(end);
    }
}

/// What sqlx says of a statement.
#[derive(Default)]
struct Told {
    /// Its first words.
    summary: String,
    /// Empty where those are all of it.
    whole: String,
    elapsed: Duration,
    rows: i64,
}

impl Told {
    fn text(self) -> String {
        let whole = self.whole.trim();
        if whole.is_empty() { self.summary } else { whole.to_owned() }
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.trim_end_matches(" …").clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.elapsed = Duration::try_from_secs_f64(value).unwrap_or_default();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            self.rows = value.try_into().unwrap_or(i64::MAX);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
