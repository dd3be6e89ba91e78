//! Logs, traces and signals of long-running commands.

use crate::fail::Failure;
pub use yiwang_telemetry::Telemetry;

/// Logs to standard error; traces to a collector where one is named.
pub fn start(service: &'static str, otlp: Option<&str>) -> Result<Telemetry, Failure> {
    yiwang_telemetry::start(service, otlp).map_err(Failure::usage)
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
