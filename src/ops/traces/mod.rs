//! Spans of attempts and of requests of ingest, for OpenTelemetry.
//!
//! Handing a span over never waits: what the exporter has no room for is dropped. A span says what the log's line of the
//! same attempt says, without what names a player or a conversion. Without the feature `otel` there is no exporter, and
//! the configuration cannot ask for one.

#[cfg(feature = "otel")]
mod otlp;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::TelemetrySettings;
use crate::dispatch::{AttemptNote, AttemptObserver};

/// How long what is waiting to be exported may take when the daemon stops.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// Why there can be no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The exporter does not come together.
    #[error("the exporter of traces cannot be set up: {0}")]
    Exporter(String),
    /// It is not built in.
    #[error("this program was built without the feature \"otel\"")]
    NotBuilt,
}

/// Takes spans; must not block.
trait Exporter: Send + Sync + std::fmt::Debug {
    fn attempted(&self, note: &AttemptNote);
    fn ingested(&self, request: &Ingest);
    /// Exports what waits, within a time; blocks.
    fn close(&self, within: Duration);
}

/// A request of ingest that was answered.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "nobody reads what nobody exports"))]
struct Ingest {
    route: &'static str,
    began: Timestamp,
    ended: Timestamp,
    status: u16,
}

/// Where spans go; nowhere unless it is configured. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<dyn Exporter>>);

impl Traces {
    /// Begins to export where that is configured. Has to be called on the runtime.
    ///
    /// # Errors
    /// When the exporter cannot be set up, or is not built in.
    pub fn start(settings: &TelemetrySettings) -> Result<Self, TracesError> {
        let Some(endpoint) = &settings.otlp else { return Ok(Self::default()) };
        exporter(endpoint).map(|exporter| Self(Some(exporter)))
    }

    /// A request of ingest was answered.
    pub fn ingested(&self, route: &'static str, began: Timestamp, ended: Timestamp, status: u16) {
        if let Some(exporter) = &self.0 {
            exporter.ingested(&Ingest { route, began, ended, status });
        }
    }

    /// Exports what waits, within a few seconds.
    pub async fn close(self) {
        let Some(exporter) = self.0 else { return };
        let closing = tokio::task::spawn_blocking(move || exporter.close(LAST_CHANCE));
        if tokio::time::timeout(LAST_CHANCE, closing).await.is_err() {
            tracing::warn!("spans are left that nobody took");
        }
    }
}

impl AttemptObserver for Traces {
    fn attempted(&self, note: &Arc<AttemptNote>) {
        if let Some(exporter) = &self.0 {
            exporter.attempted(note);
        }
    }
}

#[cfg(feature = "otel")]
fn exporter(endpoint: &url::Url) -> Result<Arc<dyn Exporter>, TracesError> {
    Ok(Arc::new(otlp::Otlp::start(endpoint)?))
}

#[cfg(not(feature = "otel"))]
fn exporter(_endpoint: &url::Url) -> Result<Arc<dyn Exporter>, TracesError> {
    Err(TracesError::NotBuilt)
}
