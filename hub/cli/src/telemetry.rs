//! Logs, traces and signals of long-running commands. Spans carry ids and codes, never subjects or values.

use crate::fail::Failure;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Keeps the exporter; call `finish` before the process ends.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Logs to standard error: for people on a terminal, JSON elsewhere; traces to a collector where one is named.
pub fn start(service: &'static str, otlp: Option<&str>) -> Result<Telemetry, Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sled=warn"));
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let format = if std::io::stderr().is_terminal() { format.boxed() } else { format.json().boxed() };
    let provider = otlp.map(|endpoint| exporter(service, endpoint)).transpose()?;
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)));
    tracing_subscriber::registry()
        .with(traces)
        .with(format.with_filter(filter))
        .try_init()
        .map_err(Failure::environment)?;
    Ok(Telemetry { provider })
}

fn exporter(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, Failure> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| Failure::usage(format!("otlp = `{endpoint}`: {error}")))?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends what is pending.
    pub fn finish(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
        {
            eprintln!("traces could not be sent: {error}");
        }
    }
}

/// Completes when the process is asked to stop.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                result = tokio::signal::ctrl_c() => drop(result),
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
