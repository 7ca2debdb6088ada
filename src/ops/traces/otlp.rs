//! OTLP, protobuf over HTTP: spans go through a bounded queue to a thread of their own, which sends them in batches.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use url::Url;

use super::{Exporter, Ingest, TracesError};
use crate::dispatch::AttemptNote;
use crate::domain::outcome::Outcome;
use crate::transport::api_client;

/// Spans that may wait; what comes beyond them is dropped.
const MAX_WAITING: usize = 4_096;
/// Spans in a batch.
const BATCH: usize = 512;
/// How long spans wait for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a batch may take to be sent.
const TOTAL: Duration = Duration::from_secs(5);
/// Where a receiver of OTLP takes traces, below its base URL.
const PATH: [&str; 2] = ["v1", "traces"];

/// Exports spans.
#[derive(Debug)]
pub(super) struct Otlp {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Otlp {
    pub(super) fn start(endpoint: &Url) -> Result<Self, TracesError> {
        let failed = |error: &dyn std::fmt::Display| TracesError::Exporter(error.to_string());
        let mut endpoint = endpoint.clone();
        if let Ok(mut segments) = endpoint.path_segments_mut() {
            segments.pop_if_empty().extend(PATH);
        }
        let http = api_client().map_err(|error| failed(&error))?.timeout(TOTAL);
        let http = http.redirect(reqwest::redirect::Policy::none()).build().map_err(|error| failed(&error))?;
        let sender = Sender { http, runtime: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(sender);
        let exporter = exporter.with_endpoint(endpoint.as_str()).with_timeout(TOTAL).build();
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(PAUSE)
            .build();
        let processor = BatchSpanProcessor::builder(exporter.map_err(|error| failed(&error))?);
        let resource = Resource::builder_empty()
            .with_service_name("postbackd")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor.with_batch_config(config).build())
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer_with_scope(InstrumentationScope::builder("postbackd").build());
        Ok(Self { provider, tracer })
    }

    fn span(
        &self,
        name: &'static str,
        kind: SpanKind,
        times: (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
        failure: Option<&'static str>,
    ) {
        let span = self.tracer.span_builder(name).with_kind(kind).with_start_time(times.0).with_attributes(attributes);
        // Each is a trace of its own: nothing on the way of an event is waited for by something else of it.
        let mut span = span.start_with_context(&self.tracer, &opentelemetry::Context::new());
        if let Some(failure) = failure {
            span.set_status(Status::error(failure));
        }
        span.end_with_timestamp(times.1);
    }
}

impl Exporter for Otlp {
    fn attempted(&self, note: &AttemptNote) {
        let ended = SystemTime::from(note.at);
        let began = ended.checked_sub(note.timings.total).unwrap_or(ended);
        let succeeded = matches!(note.outcome, Outcome::Delivered | Outcome::Duplicate);
        let failure = (!succeeded).then(|| note.outcome.name());
        self.span("postback.attempt", SpanKind::Client, (began, ended), attributes(note), failure);
    }

    fn ingested(&self, request: &Ingest) {
        let attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", request.route),
            KeyValue::new("http.response.status_code", i64::from(request.status)),
        ];
        let failure = (request.status >= 500).then_some("refused");
        let times = (request.began.into(), request.ended.into());
        self.span("postback.ingest", SpanKind::Server, times, attributes, failure);
    }

    fn close(&self, within: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(within) {
            tracing::warn!(%error, "telemetry.not_exported");
        }
    }
}

/// What the span of an attempt tells: neither the transaction nor the click, and nothing that a receiver wrote.
fn attributes(note: &AttemptNote) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("postback.delivery", note.id.to_string()),
        KeyValue::new("postback.affiliate", note.postback.affiliate.to_string()),
        KeyValue::new("postback.name", note.postback.postback.to_string()),
        KeyValue::new("postback.event_type", note.kind.to_string()),
        KeyValue::new("postback.attempt", i64::from(note.number)),
        KeyValue::new("postback.outcome", note.outcome.name()),
        KeyValue::new("postback.state", note.delivery.state.kind().name()),
    ];
    attributes.extend(note.delivery.state.reason().map(|reason| KeyValue::new("postback.reason", reason)));
    attributes.extend(note.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    let timings = [
        ("postback.dns_us", note.timings.dns),
        ("postback.connect_us", note.timings.connect),
        ("postback.tls_us", note.timings.tls),
        ("postback.first_byte_us", note.timings.first_byte),
    ];
    for (name, time) in timings {
        let micros = time.map(|time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
        attributes.extend(micros.map(|micros| KeyValue::new(name, micros)));
    }
    attributes
}

/// Sends batches by our own HTTP client, on the runtime: the thread that asks for it has none.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move { exchange(&http, request).await }).await;
        let answer = sent.map_err(HttpError::from).and_then(|answer| answer);
        match &answer {
            Err(error) => tracing::warn!(%error, "telemetry.not_exported"),
            Ok(answer) if !answer.status().is_success() => {
                tracing::warn!(status = answer.status().as_u16(), "telemetry.not_exported");
            }
            Ok(_) => {}
        }
        answer
    }
}

async fn exchange(http: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let answer = http.execute(request.try_into()?).await?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = answer.headers().clone();
    }
    // An answer says at most what was not taken: nobody reads it.
    drop(answer);
    Ok(response.body(Bytes::new())?)
}
