//! What can be seen from outside while it runs: structured logs, and metrics for Prometheus.

mod describe;

use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// What is logged where neither `--log` nor `RUST_LOG` says.
const FILTER: &str = "info";
/// Upper bounds of every `_seconds` histogram: a state write takes milliseconds, an alignment minutes.
const SECONDS: &[f64] = &[
    0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0,
];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(Arc<PrometheusHandle>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics in Prometheus' text form.
    #[must_use]
    pub fn render(&self) -> String {
        // Without a listener of its own the exporter is not tidied by anybody else.
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Starts logging, to stderr. `filter` comes before `RUST_LOG`.
pub fn log(format: LogFormat, filter: Option<&str>) -> Result<()> {
    let wrong = |cause: String| Error::refused("the log filter cannot be used").because(cause);
    let filter = match filter {
        Some(text) => EnvFilter::try_new(text).map_err(|cause| wrong(cause.to_string()))?,
        None => match std::env::var("RUST_LOG") {
            Ok(text) if !text.is_empty() => {
                EnvFilter::try_new(text).map_err(|cause| wrong(cause.to_string()))?
            }
            _ => EnvFilter::new(FILTER),
        },
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(terminal).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|cause| Error::internal("logging cannot start").because(cause))
}

/// Installs the recorder; whoever registers a metric does so after this.
pub fn metrics() -> Result<Metrics> {
    let failed = |cause: String| Error::internal("metrics cannot start").because(cause);
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .map_err(|cause| failed(cause.to_string()))?
        .install_recorder()
        .map_err(|cause| failed(cause.to_string()))?;
    describe::describe();
    Ok(Metrics(Arc::new(handle)))
}
