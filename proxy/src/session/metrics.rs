//! The data path's metrics. Handles are registered once; a frame costs one or two atomic additions.

use kafka_protocol::messages::ApiKey;
use metrics::{Counter, Gauge};

use super::ended::BadFrame;
use crate::api::{self, Treatment};

/// API keys that have a counter: all that Kafka 4.1 knows.
const API_KEYS: i16 = 93;

/// How a Produce that did not go to the session's own broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// Every partition was written.
    Written,
    /// At least one partition was refused for good.
    Refused,
    /// An answer was lost, or nobody could be reached in time.
    Lost,
}

pub(super) struct SessionMetrics {
    requests: Vec<Option<Counter>>,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) parked: Gauge,
    written: Counter,
    refused: Counter,
    lost: Counter,
}

impl std::fmt::Debug for SessionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionMetrics").finish_non_exhaustive()
    }
}

impl SessionMetrics {
    pub(super) fn register() -> Self {
        let request = |key| {
            let api = api::lookup(key)?;
            let name = ApiKey::try_from(key).map_or_else(
                |()| key.to_string(),
                |known| format!("{known:?}").trim_end_matches("Key").to_owned(),
            );
            let treatment = match api.treatment {
                Treatment::Pass => "pass",
                Treatment::Produce | Treatment::Fetch => "inspect",
                Treatment::Handle => "handle",
            };
            Some(
                metrics::counter!("lockgate_requests_total", "api" => name, "treatment" => treatment),
            )
        };
        let bytes = |direction| metrics::counter!("lockgate_bytes_total", "direction" => direction);
        let forwarded =
            |outcome| metrics::counter!("lockgate_forwarded_produce_total", "outcome" => outcome);
        Self {
            requests: (0..API_KEYS).map(request).collect(),
            bytes_in: bytes("from_clients"),
            bytes_out: bytes("to_clients"),
            parked: metrics::gauge!("lockgate_parked_requests"),
            written: forwarded("written"),
            refused: forwarded("refused"),
            lost: forwarded("lost"),
        }
    }

    pub(super) fn request(&self, api_key: i16) {
        let counter = usize::try_from(api_key)
            .ok()
            .and_then(|key| self.requests.get(key)?.as_ref());
        if let Some(counter) = counter {
            counter.increment(1);
        }
    }

    pub(super) fn forwarded(&self, outcome: Forwarded) {
        match outcome {
            Forwarded::Written => &self.written,
            Forwarded::Refused => &self.refused,
            Forwarded::Lost => &self.lost,
        }
        .increment(1);
    }
}

/// A connection ended because of its client's bytes: rare, so the counter is looked up.
pub(super) fn bad_frame(bad: BadFrame) {
    metrics::counter!("lockgate_bad_frames_total", "reason" => bad.as_str()).increment(1);
}

/// Counts one while it lives.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
