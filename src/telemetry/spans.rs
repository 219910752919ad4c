//! The spans that are traced, with the names and attributes of OpenTelemetry's semantic conventions (1.38), and how a
//! trace goes from one process to the next: W3C Trace Context, level 1.

use super::TRACED;
use crate::ids::{JobId, OrgId, RequestId};
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use std::fmt::Display;
use tracing::{Span, debug_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A request that is answered, which goes on with the trace that its client sent, if any.
pub fn http(
    method: &str,
    route: Option<&str>,
    path: &str,
    request: Option<RequestId>,
    traceparent: Option<&str>,
) -> Span {
    let route = route.unwrap_or("none");
    let span = debug_span!(
        target: TRACED,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        url.path = path,
        insula.request_id = request.map(tracing::field::display),
    );
    go_on(&span, traceparent);
    span
}

/// What it was answered with.
pub fn answered(span: &Span, status: u16) {
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_status(Status::error(""));
    }
}

/// Whose request the current one is.
pub fn caller(org: OrgId, principal: impl Display) {
    let current = Context::current();
    let span = current.span();
    if span.is_recording() {
        span.set_attribute(KeyValue::new("insula.org", org.to_string()));
        span.set_attribute(KeyValue::new("insula.principal", principal.to_string()));
    }
}

/// What a task of its own does for what is traced here.
pub fn apart(what: &'static str) -> Span {
    if is_traced() { debug_span!(target: TRACED, "apart", otel.name = what) } else { Span::none() }
}

/// A call of Redis for what is traced here; what nobody asked for is no trace.
pub fn redis(command: &'static str) -> Span {
    if !is_traced() {
        return Span::none();
    }
    debug_span!(
        target: TRACED,
        "redis",
        otel.name = command,
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = command,
    )
}

/// An attempt at a job, as part of the trace of what asked for it.
pub fn job(kind: &str, id: JobId, org: OrgId, attempt: i32, traceparent: Option<&str>) -> Span {
    let span = debug_span!(
        target: TRACED,
        "job",
        otel.name = format_args!("job {kind}"),
        otel.kind = "consumer",
        insula.job = %id,
        insula.org = %org,
        insula.attempt = attempt,
    );
    go_on(&span, traceparent);
    span
}

/// The id of the trace that a span is part of.
pub fn trace_id(span: &Span) -> Option<TraceId> {
    let context = span.context();
    let trace = context.span().span_context().trace_id();
    (trace != TraceId::INVALID).then_some(trace)
}

/// Where the trace of what is under way is to be gone on with, for another process or a later time.
pub fn traceparent() -> Option<String> {
    let current = Context::current();
    let span = current.span();
    let context = span.span_context();
    context.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            (context.trace_flags() & TraceFlags::SAMPLED).to_u8()
        )
    })
}

fn is_traced() -> bool {
    Context::current().span().span_context().is_sampled()
}

/// A header that is none begins a trace of its own, as the standard wants it; a span that nobody collects has no parent.
fn go_on(span: &Span, traceparent: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = traceparent.and_then(read) {
        span.set_parent(Context::new().with_remote_span_context(parent)).ok();
    }
}

/// Later versions may have more after the flags, the first has not.
fn read(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sized = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if sized.iter().any(|(part, size)| part.len() != *size || !hex(part))
        || version == "ff"
        || (version == "00" && parts.next().is_some())
    {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = read(&format!("00-{trace}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(good.trace_id().to_string(), trace);
        assert_eq!(good.span_id().to_string(), "00f067aa0ba902b7");
        assert!(good.is_sampled() && good.is_remote());
        assert!(read(&format!("cc-{trace}-00f067aa0ba902b7-01-of-later")).is_some(), "a later version");
        for none in [
            "",
            "00",
            &format!("00-{trace}-00f067aa0ba902b7"),
            &format!("00-{trace}-00f067aa0ba902b7-01-more"),
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{trace}-00f067aa0ba902b-001"),
        ] {
            assert!(read(none).is_none(), "{none}");
        }
    }
}
