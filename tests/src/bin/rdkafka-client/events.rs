//! What goes out: events on standard output, librdkafka's log on standard error.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use serde_json::{Value, json};

/// Prints one event; a reader that is gone ends the program.
pub(crate) fn print(name: &str, mut fields: Value) {
    fields["timestamp"] = json!(now_ms());
    fields["name"] = json!(name);
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{fields}")
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(1);
    }
}

/// A line in the form of Java clients: `[time] LEVEL text`.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    let level = match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => "ERROR",
        RDKafkaLogLevel::Warning => "WARN",
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => "INFO",
        RDKafkaLogLevel::Debug => "DEBUG",
    };
    let _ = writeln!(
        std::io::stderr(),
        "[{}] {level} {facility} {message}",
        now_ms()
    );
}

/// librdkafka's error callback.
pub(crate) fn error(error: &KafkaError, reason: &str) {
    log(
        RDKafkaLogLevel::Error,
        "error",
        &format!("{error}: {reason}"),
    );
}

/// Set once SIGTERM or SIGINT arrives.
pub(crate) fn stop_on_sigterm() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        });
        stopped.store(true, Ordering::Release);
    });
    Ok(stop)
}

fn now_ms() -> u64 {
    // A clock before 1970 only spoils timestamps in a test's output.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
