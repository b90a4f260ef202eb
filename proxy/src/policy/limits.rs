//! Every bound a policy lives under, by name.

use std::time::Duration;

/// The largest component file that is read: the Python runtime alone is 18 MB.
pub(super) const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// The distance between two ticks of the epoch, which is the grain of every deadline.
pub(super) const EPOCH_TICK: Duration = Duration::from_millis(10);
/// Table elements of one policy, over all its tables.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances, tables and memories of one policy; the Python runtime alone has over 20.
pub(super) const CORE_ITEMS_MAX: usize = 100;
/// Stack of a policy's WASM code.
pub(super) const WASM_STACK_BYTES: usize = 512 << 10;
/// Stack of the fiber that a policy runs on; host functions run on it too.
pub(super) const FIBER_STACK_BYTES: usize = 2 << 20;

/// Log lines of one call.
pub(super) const LOG_LINES_PER_CALL_MAX: u32 = 32;
/// Log lines of one policy in one second, over all calls.
pub(super) const LOG_LINES_PER_SECOND_MAX: u32 = 64;
/// Characters of one log message.
pub(super) const LOG_MESSAGE_CHARS_MAX: usize = 1_000;
/// Fields of one log line, and characters of each key and value.
pub(super) const LOG_FIELDS_MAX: usize = 16;
/// See [`LOG_FIELDS_MAX`].
pub(super) const LOG_FIELD_CHARS_MAX: usize = 200;
/// Names of a policy's own counters.
pub(super) const METRIC_NAMES_MAX: usize = 16;
/// Characters of such a name.
pub(super) const METRIC_NAME_CHARS_MAX: usize = 64;

/// Problems of a configuration that are shown.
pub(super) const PROBLEMS_SHOWN_MAX: usize = 8;
/// Characters of a fault's message.
pub(super) const FAULT_MESSAGE_CHARS_MAX: usize = 1_000;
/// Characters of a reason in an answer.
pub(super) const REASON_CHARS_MAX: usize = 500;

/// Setting up an instance may take this many times the deadline of a call: language runtimes start up in it.
pub(super) const SET_UP_DEADLINE_FACTOR: u32 = 20;

/// The bounds that an operator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a policy may compute for one answer.
    pub deadline: Duration,
    /// Linear memory of a policy, over all its memories.
    pub memory_bytes: usize,
    /// What one answer, or one call of a host function, may carry.
    pub answer_bytes: usize,
    /// This many faults in a row, and the policy rests.
    pub faults_in_a_row: u32,
    /// For so long; then it is asked once more.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(100),
            memory_bytes: 64 << 20,
            answer_bytes: 1 << 20,
            faults_in_a_row: 5,
            rest: Duration::from_secs(30),
        }
    }
}

/// Ticks of the epoch in `time`, rounded up, and one more because the current tick has already begun.
pub(super) fn ticks(time: Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(EPOCH_TICK.as_nanos());
    u64::try_from(ticks)
        .unwrap_or(u64::MAX - 1)
        .saturating_add(1)
}
