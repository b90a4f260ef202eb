//! Pure: which lines of a client's log count as client errors.
//!
//! Every WARN, ERROR and FATAL counts unless it only speaks of connections: those break whenever a broker ends,
//! clients mend them by themselves, and no record or partition is touched. A few INFO lines count
//! because Java reports lost partitions and jumps of its position there.

/// INFO lines of Java clients that a user would call an error.
const ALARMING_INFO: &[&str] = &[
    "as lost since",
    "Lost previously assigned partitions",
    "is out of range for partition",
    "was reset, as the generation",
    "ProducerId set to -1",
];

/// Parts of lines that speak of connections or settings only.
const HARMLESS: &[&str] = &[
    "could not be established",
    "Bootstrap broker",
    "disconnected",
    "Disconnected",
    "Connection refused",
    "Connect to ipv4#",
    "brokers are down",
    "Receive failed",
    "Connection reset",
    "timed out after",
    "is deprecated",
    "isn't a known config",
    "These configurations",
    "Error registering AppInfo mbean",
    "brokers are in sync",
    // A new cluster loads its coordinators when the first client asks for one.
    "Coordinator load in progress",
];

/// The lines of `log` that count as errors.
#[must_use]
pub fn complaints(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| is_complaint(line))
        .map(ToOwned::to_owned)
        .collect()
}

fn is_complaint(line: &str) -> bool {
    let speaks_of = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
    match level(line) {
        Some("WARN" | "ERROR" | "FATAL") => !speaks_of(HARMLESS),
        Some("INFO") => speaks_of(ALARMING_INFO),
        // Java prints what ends a thread without a level.
        _ => line.starts_with("Exception in thread"),
    }
}

/// The word behind `[<time>] `, which both kinds of clients log.
fn level(line: &str) -> Option<&str> {
    line.strip_prefix('[')?
        .split_once("] ")?
        .1
        .split_whitespace()
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_partitions_and_failed_sends_count_and_connections_do_not() {
        let log = "\
[2026-01-01 00:00:00,000] INFO [Consumer x] Subscribed to topic(s): t (org.apache)
[2026-01-01 00:00:00,000] WARN [Producer x] Connection to node 1 (/127.0.0.1:1) could not be established. (n)
[2026-01-01 00:00:00,000] WARN [Producer x] Got error produce response with correlation id 5, retrying (s)
[2026-01-01 00:00:00,000] INFO [Consumer x] Giving away all assigned partitions as lost since generation (c)
[2026-01-01 00:00:00,000] ERROR [Producer x] Aborting producer batches due to fatal error (s)
\tat org.apache.kafka.Some.method(Some.java:1)
Exception in thread \"main\" java.lang.IllegalStateException";
        let found = complaints(log);
        assert_eq!(found.len(), 4, "{found:#?}");
    }
}
