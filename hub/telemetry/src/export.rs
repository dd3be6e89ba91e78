//! Logs to standard error, traces to a collector where one is named.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Why logs or traces cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The collector's address.
    #[error("otlp = `{endpoint}`: {why}; write it like \"http://127.0.0.1:4317\"")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// Somebody else takes this process's logs.
    #[error("logs are set up already")]
    Twice,
}

/// Keeps the exporter; call [`Telemetry::finish`] before the process ends.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// What is logged unless `RUST_LOG` says otherwise.
const LOGGED: &str = "info,sled=warn";

/// What is sent to a collector: spans of our own crates. No events, whose words are for the log only, and no
/// spans of libraries, whose fields nobody here has looked at.
fn is_ours(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("yiwang_")
}

/// Logs for people on a terminal, as JSON lines elsewhere; spans to `otlp` over gRPC, in batches off the way
/// of requests. Needs a running tokio runtime if `otlp` is given.
///
/// # Errors
/// [`ExportError`].
pub fn start(service: &'static str, otlp: Option<&str>) -> Result<Telemetry, ExportError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let format = if std::io::stderr().is_terminal() { format.boxed() } else { format.json().boxed() };
    let provider = otlp.map(|endpoint| exporter(service, endpoint)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            // Files, lines and threads of the program are noise in a trace over departments.
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(FilterFn::new(is_ours))
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(format.with_filter(filter))
        .try_init()
        .map_err(|_| ExportError::Twice)?;
    Ok(Telemetry { provider })
}

fn exporter(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, ExportError> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().map_err(
            |error| ExportError::Endpoint { endpoint: endpoint.to_owned(), why: error.to_string() },
        )?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends what is pending.
    pub fn finish(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "traces could not be sent");
        }
    }
}
