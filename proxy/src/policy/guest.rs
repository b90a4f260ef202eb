//! The host side of one instance: its capabilities, and the bounds on what it uses of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

use super::bindings::cutover::lockgate::policy::{facts, log, metrics as counters};
use super::fault::printable;
use super::limits::{
    CORE_ITEMS_MAX, LOG_FIELD_CHARS_MAX, LOG_FIELDS_MAX, LOG_LINES_PER_CALL_MAX,
    LOG_LINES_PER_SECOND_MAX, LOG_MESSAGE_CHARS_MAX, METRIC_NAME_CHARS_MAX, METRIC_NAMES_MAX,
    TABLE_ELEMENTS_MAX,
};

/// How far one partition is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// Records that the other cluster does not have yet.
    pub records: u64,
    /// Age of the oldest of them, in milliseconds.
    pub ms: u64,
}

/// An offset that a group has committed at its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPosition {
    /// Topic of the partition.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// The next offset to read.
    pub offset: i64,
}

/// Read-only facts for policies. Answered from what the control side already holds: a call must not block, since
/// the epoch does not stop a host function.
pub trait Facts: Send + Sync {
    /// How far the link of a partition is behind; `None` when there is no such link.
    fn lag(&self, topic: &str, partition: u32) -> Option<PartitionLag>;
    /// What a group has committed, as last seen; empty when it is unknown.
    fn committed(&self, group: &str) -> Vec<CommittedPosition>;
}

/// What all instances of one policy share: they are rebuilt after faults, and must not win a new budget by it.
pub(super) struct Budget {
    policy: String,
    lines: Mutex<LineWindow>,
    counters: Mutex<BTreeSet<String>>,
}

struct LineWindow {
    began: Instant,
    lines: u32,
}

impl Budget {
    pub(super) fn new(policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            lines: Mutex::new(LineWindow {
                began: Instant::now(),
                lines: 0,
            }),
            counters: Mutex::new(BTreeSet::new()),
        }
    }

    /// Whether one more line may be written in this second.
    fn take_line(&self) -> bool {
        let mut window = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.elapsed() >= Duration::from_secs(1) {
            *window = LineWindow {
                began: Instant::now(),
                lines: 0,
            };
        }
        window.lines += 1;
        window.lines <= LOG_LINES_PER_SECOND_MAX
    }

    /// Whether the policy may use a counter of this name: a bound on the cardinality.
    fn admits_counter(&self, name: &str) -> bool {
        let mut names = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return true;
        }
        if names.len() >= METRIC_NAMES_MAX || !is_counter_name(name) {
            return false;
        }
        names.insert(name.to_owned())
    }
}

fn is_counter_name(name: &str) -> bool {
    name.len() <= METRIC_NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The data of one store.
pub(super) struct Guest {
    budget: Arc<Budget>,
    facts: Option<Arc<dyn Facts>>,
    memory: MemoryBound,
    lines_this_call: u32,
    /// The newest line at level error, which for a Rust guest is its panic.
    last_error: Option<String>,
    /// Ticks of the epoch that are left for the current call.
    pub(super) ticks_left: u64,
}

impl Guest {
    pub(super) fn new(
        budget: Arc<Budget>,
        facts: Option<Arc<dyn Facts>>,
        memory_bytes: usize,
    ) -> Self {
        let memory = MemoryBound {
            bytes_left: memory_bytes,
            elements_left: TABLE_ELEMENTS_MAX,
            refused: false,
        };
        Self {
            budget,
            facts,
            memory,
            lines_this_call: 0,
            last_error: None,
            ticks_left: 0,
        }
    }

    /// A new call begins.
    pub(super) fn begin(&mut self, ticks: u64) {
        self.ticks_left = ticks;
        self.lines_this_call = 0;
        self.last_error = None;
    }

    /// What the policy logged last at level error in this call.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Whether this instance was refused memory or table space.
    pub(super) fn memory_refused(&self) -> bool {
        self.memory.refused
    }

    pub(super) fn memory_bound(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }
}

/// Bounds memory over all memories of an instance together; the limiter that comes with wasmtime bounds each.
struct MemoryBound {
    bytes_left: usize,
    elements_left: usize,
    refused: bool,
}

impl MemoryBound {
    /// Takes the growth from what is left. To refuse is an error, not `false`: guests rarely survive a failed
    /// growth, and as a trap it has a name.
    fn take(left: &mut usize, current: usize, desired: usize) -> wasmtime::Result<bool> {
        match left.checked_sub(desired.saturating_sub(current)) {
            Some(rest) => {
                *left = rest;
                Ok(true)
            }
            None => Err(wasmtime::Error::msg(
                "the memory bound of the policy is reached",
            )),
        }
    }
}

impl ResourceLimiter for MemoryBound {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Self::take(&mut self.bytes_left, current, desired).inspect_err(|_| self.refused = true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Self::take(&mut self.elements_left, current, desired).inspect_err(|_| self.refused = true)
    }

    fn instances(&self) -> usize {
        CORE_ITEMS_MAX
    }

    fn tables(&self) -> usize {
        CORE_ITEMS_MAX
    }

    fn memories(&self) -> usize {
        CORE_ITEMS_MAX
    }
}

impl log::Host for Guest {
    fn enabled(&mut self, level: log::Level) -> bool {
        match level {
            log::Level::Trace => tracing::enabled!(tracing::Level::TRACE),
            log::Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
            log::Level::Info => tracing::enabled!(tracing::Level::INFO),
            log::Level::Warn => tracing::enabled!(tracing::Level::WARN),
            log::Level::Error => tracing::enabled!(tracing::Level::ERROR),
        }
    }

    fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        let message = printable(&message, LOG_MESSAGE_CHARS_MAX);
        if level == log::Level::Error {
            self.last_error = Some(message.clone());
        }
        self.lines_this_call = self.lines_this_call.saturating_add(1);
        if self.lines_this_call > LOG_LINES_PER_CALL_MAX || !self.budget.take_line() {
            metrics::counter!("lockgate_policy_log_lines_dropped_total", "policy" => self.budget.policy.clone())
                .increment(1);
            return;
        }
        let policy = self.budget.policy.as_str();
        let fields: Vec<String> = fields
            .iter()
            .take(LOG_FIELDS_MAX)
            .map(|(key, value)| shown(key, value))
            .collect();
        let fields = fields.join(" ");
        match level {
            log::Level::Trace => tracing::trace!(policy, fields, "{message}"),
            log::Level::Debug => tracing::debug!(policy, fields, "{message}"),
            log::Level::Info => tracing::info!(policy, fields, "{message}"),
            log::Level::Warn => tracing::warn!(policy, fields, "{message}"),
            log::Level::Error => tracing::error!(policy, fields, "{message}"),
        }
    }
}

fn shown(key: &str, value: &str) -> String {
    format!(
        "{}={:?}",
        printable(key, LOG_FIELD_CHARS_MAX),
        printable(value, LOG_FIELD_CHARS_MAX)
    )
}

impl counters::Host for Guest {
    fn add(&mut self, name: String, value: u64) {
        if self.budget.admits_counter(&name) {
            let policy = self.budget.policy.clone();
            metrics::counter!("lockgate_policy_guest_total", "policy" => policy, "name" => name)
                .increment(value);
        }
    }
}

impl facts::Host for Guest {
    fn lag(&mut self, topic: String, partition: u32) -> Option<facts::PartitionLag> {
        let lag = self.facts.as_ref()?.lag(&topic, partition)?;
        Some(facts::PartitionLag {
            records: lag.records,
            ms: lag.ms,
        })
    }

    fn committed(&mut self, group: String) -> Vec<facts::CommittedPosition> {
        let Some(facts) = &self.facts else {
            return Vec::new();
        };
        let committed = facts.committed(&group).into_iter();
        committed
            .map(
                |CommittedPosition {
                     topic,
                     partition,
                     offset,
                 }| facts::CommittedPosition {
                    topic,
                    partition,
                    offset,
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, LOG_LINES_PER_SECOND_MAX, METRIC_NAMES_MAX, MemoryBound};
    use wasmtime::ResourceLimiter;

    #[test]
    fn memory_is_bounded_over_all_memories_together() {
        let mut bound = MemoryBound {
            bytes_left: 100,
            elements_left: 10,
            refused: false,
        };
        assert!(bound.memory_growing(0, 60, None).is_ok());
        assert!(bound.memory_growing(0, 40, None).is_ok());
        assert!(!bound.refused);
        assert!(bound.memory_growing(60, 61, None).is_err());
        assert!(bound.refused);
    }

    #[test]
    fn a_flood_of_lines_and_of_counter_names_is_cut() {
        let budget = Budget::new("p");
        let written = (0..LOG_LINES_PER_SECOND_MAX * 2)
            .filter(|_| budget.take_line())
            .count();
        assert!(written < LOG_LINES_PER_SECOND_MAX as usize * 2);
        let admitted = (0..100)
            .filter(|n| budget.admits_counter(&format!("n{n}")))
            .count();
        assert_eq!(admitted, METRIC_NAMES_MAX);
        assert!(budget.admits_counter("n0"));
        assert!(!Budget::new("p").admits_counter("Bad name"));
    }
}
