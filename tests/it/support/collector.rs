//! Where traces are collected: a receiver of OTLP over HTTP, as an OpenTelemetry collector is one.

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A span as it was handed over. Ids are in hexadecimals, as headers have them.
#[derive(Clone, Debug)]
pub struct Traced {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: i32,
    pub service: String,
    pub attributes: HashMap<String, String>,
}

pub struct Collector {
    pub url: String,
    spans: Arc<Mutex<Vec<Traced>>>,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Traced>>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        let serving = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { url, spans, serving }
    }

    pub fn spans(&self) -> Vec<Traced> {
        self.spans.lock().unwrap().clone()
    }

    /// The spans of a trace with this name.
    pub fn named(&self, trace: &str, name: &str) -> Vec<Traced> {
        self.spans().into_iter().filter(|span| span.trace == trace && span.name == name).collect()
    }

    /// What a span has asked for itself.
    pub fn children(&self, of: &Traced) -> Vec<Traced> {
        let child = |span: &Traced| span.trace == of.trace && span.parent == of.id;
        self.spans().into_iter().filter(child).collect()
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<Traced>>>>, body: Bytes) -> StatusCode {
    let Ok(batch) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    for of in batch.resource_spans {
        let about = of.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = texts(about).remove("service.name").unwrap_or_default();
        let told = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.lock().unwrap().extend(told.map(|span| traced(span, &service)));
    }
    StatusCode::OK
}

fn traced(span: Span, service: &str) -> Traced {
    Traced {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        kind: span.kind,
        service: service.to_owned(),
        attributes: texts(span.attributes),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn texts(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> HashMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}
