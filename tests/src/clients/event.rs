//! Pure: the JSON lines of `VerifiableProducer` and `VerifiableConsumer`.

use serde::Deserialize;

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A record was acknowledged.
    Acknowledged(Place),
    /// A record was not accepted.
    SendFailed(String),
    /// A record was read.
    Read(Place),
    /// Partitions were assigned; how many.
    Assigned(usize),
    /// Partitions were taken away in order; how many.
    Revoked(usize),
    /// Partitions were lost; how many.
    Lost(usize),
    /// Offsets were committed.
    Committed,
    /// A commit was refused.
    CommitFailed(String),
    /// The client ended on request.
    ShutDown,
    /// Something that needs no attention.
    Other,
}

/// A value with its place and the client's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's value.
    pub value: String,
    /// Milliseconds since 1970, by the client's clock.
    pub at_ms: i64,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    #[serde(default)]
    timestamp: serde_json::Value,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    offset: i64,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    partitions: serde_json::Value,
}

impl Event {
    /// Reads one line; `None` when it is no event.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        let count = line.partitions.as_array().map_or(0, Vec::len);
        Some(match line.name.as_str() {
            "producer_send_success" => Self::Acknowledged(line.into_place()),
            "record_data" => Self::Read(line.into_place()),
            "producer_send_error" => Self::SendFailed(line.message.unwrap_or_default()),
            "partitions_assigned" => Self::Assigned(count),
            "partitions_revoked" => Self::Revoked(count),
            "partitions_lost" => Self::Lost(count),
            "offsets_committed" if line.success == Some(false) => {
                Self::CommitFailed(line.error.unwrap_or_default())
            }
            "offsets_committed" => Self::Committed,
            "shutdown_complete" => Self::ShutDown,
            _ => Self::Other,
        })
    }
}

impl Line {
    fn into_place(self) -> Place {
        let at_ms = self.timestamp.as_i64().unwrap_or_default();
        let value = self.value.unwrap_or_default();
        Place {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            value,
            at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_java_tools_are_read() {
        let sent = r#"{"timestamp":17,"name":"producer_send_success","key":null,"value":"1.5","topic":"t","partition":3,"offset":9}"#;
        let place = Place {
            topic: "t".into(),
            partition: 3,
            offset: 9,
            value: "1.5".into(),
            at_ms: 17,
        };
        assert_eq!(Event::parse(sent), Some(Event::Acknowledged(place)));
        let refused = r#"{"timestamp":1,"name":"offsets_committed","offsets":[],"error":"no","success":false}"#;
        assert_eq!(
            Event::parse(refused),
            Some(Event::CommitFailed("no".into()))
        );
        let assigned = r#"{"timestamp":1,"name":"partitions_assigned","partitions":[{"topic":"t","partition":0}]}"#;
        assert_eq!(Event::parse(assigned), Some(Event::Assigned(1)));
        assert_eq!(Event::parse("Picked up JAVA_TOOL_OPTIONS"), None);
    }
}
