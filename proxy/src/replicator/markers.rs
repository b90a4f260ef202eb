//! Markers in the place of offsets at which consumers see nothing: WriteTxnMarkers appends one control batch per
//! marker, whether a transaction is open or not, and no consumer sees it (DESIGN section 5, step 2). Needs ALTER on the
//! cluster (CLUSTER_ACTION before Kafka 3.8).
//!
//! The broker merges the errors of all markers of one producer id, so its answer proves nothing: the true end
//! and the high watermark are read after every request and must be the planned ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    ProducerId as KafkaProducerId, TopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::StrBytes;
use lockgate_wire::producer_id::ProducerId;

use super::engine::{Outcome, Write};
use super::lane::{Lane, Led};
use super::link::{Link, Shared, wait};
use super::produce::{connected, failed, settle};
use crate::upstream::{Cluster, Connection, OffsetAt};
use crate::words::{Side, TopicPartition, UpstreamNode};

/// Markers in one request, all partitions together: so many take less than a second.
const MARKERS_MAX: i64 = 20_000;
/// How long a loop without work waits at most.
const IDLE: Duration = Duration::from_millis(100);
/// How long an answer may take before the end is read without it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Fills the holes of one lane's links on one broker until the replicator stops, on a connection that is
/// opened when there is one: brokers answer in order, and thousands of markers take their time.
pub(super) async fn run(shared: Arc<Shared>, side: Side, node: UpstreamNode, lane: Lane) {
    let cluster = shared.clusters.on(side).clone();
    let mut open: Option<Connection> = None;
    let mut led = Led::by(side.other(), side, node);
    let mut writable = shared.writable.subscribe();
    while !shared.is_stopping() {
        writable.borrow_and_update();
        let wanted = |link: &Arc<Link>| link.lane() == lane && link.engine().wants_markers();
        if !led.links(&shared).iter().any(wanted) {
            wait(&mut writable, IDLE).await;
            continue;
        }
        let Some(connection) = connected(&cluster, node, open.take()).await else {
            continue;
        };
        let writes = gather(&shared, &mut led, lane);
        if writes.is_empty() {
            // Refused a moment ago: not to be sent again yet.
            open = Some(connection);
            wait(&mut writable, IDLE).await;
            continue;
        }
        let outcomes = send(&shared, &cluster, &connection, &writes).await;
        if settle(&shared, &cluster, &writes, outcomes, None).await {
            open = Some(connection);
        }
    }
}

/// The markers that can be written now.
fn gather(shared: &Shared, led: &mut Led, lane: Lane) -> Vec<(Arc<Link>, Write)> {
    let (now, mut left) = (shared.now_ms(), MARKERS_MAX);
    led.take_writes(shared, lane, |link| {
        if left < 1 {
            return None;
        }
        let mut engine = link.engine();
        if !engine.wants_markers() {
            return None;
        }
        let write = engine.take_write(now, left)?;
        left -= write.records;
        Some(write)
    })
}

/// Sends the markers of one request; the outcome of each write, in their order.
async fn send(
    shared: &Shared,
    cluster: &Cluster,
    open: &Connection,
    writes: &[(Arc<Link>, Write)],
) -> Vec<Outcome> {
    let request = request(shared.marker_id, writes);
    let answer = match open.call_within(&request, ANSWER_TIMEOUT).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::info!(node = %open.node(), %error, "a request for markers has no answer");
            return writes.iter().map(|_| failed(&error)).collect();
        }
    };
    if is_denied(&answer) {
        let why = format!(
            "the {} does not let Lockgate write markers, which offsets without a record need: allow ALTER on the cluster (CLUSTER_ACTION before Kafka 3.8)",
            cluster.side()
        );
        return writes.iter().map(|_| Outcome::Fatal(why.clone())).collect();
    }
    let partitions: Vec<TopicPartition> = writes.iter().map(|(link, _)| link.at.clone()).collect();
    let read = tokio::try_join!(
        cluster.true_ends(&partitions),
        // Below it all replicas in sync have the markers, as with acks=all.
        cluster.list_offsets(&partitions, OffsetAt::HighWatermark),
    );
    let (ends, watermarks) = read.unwrap_or_else(|error| {
        tracing::info!(node = %open.node(), %error, "the ends behind markers cannot be read");
        Default::default()
    });
    let outcome = |(link, write): &(Arc<Link>, Write)| {
        let planned = write.base + write.records;
        let end = ends.get(&link.at).map(|end| end.offset);
        if end == Some(planned) && watermarks.get(&link.at) == Some(&planned) {
            Outcome::Written(write.base)
        } else {
            // An inspection finds out.
            Outcome::Unknown
        }
    };
    writes.iter().map(outcome).collect()
}

/// Markers of one epoch share their entries: the n-th entry names every partition that wants at least n.
fn request(id: ProducerId, writes: &[(Arc<Link>, Write)]) -> WriteTxnMarkersRequest {
    let mut by_epoch: BTreeMap<i16, Vec<(&TopicPartition, i64)>> = BTreeMap::new();
    for (link, write) in writes {
        let epoch = write.marker_epoch.unwrap_or_default();
        by_epoch
            .entry(epoch)
            .or_default()
            .push((&link.at, write.records));
    }
    let mut markers = Vec::new();
    for (epoch, mut wanted) in by_epoch {
        while !wanted.is_empty() {
            markers.push(marker(id, epoch, &wanted));
            wanted.iter_mut().for_each(|(_, left)| *left -= 1);
            wanted.retain(|(_, left)| *left > 0);
        }
    }
    WriteTxnMarkersRequest::default().with_markers(markers)
}

fn marker(id: ProducerId, epoch: i16, wanted: &[(&TopicPartition, i64)]) -> WritableTxnMarker {
    let mut topics: Vec<WritableTxnMarkerTopic> = Vec::new();
    // Writes are sorted by topic, so a topic's partitions stand together.
    for (at, _) in wanted {
        match topics.last_mut() {
            Some(last) if last.name.as_str() == &*at.topic => {
                last.partition_indexes.push(at.partition);
            }
            _ => topics.push(
                WritableTxnMarkerTopic::default()
                    .with_name(TopicName(StrBytes::from_string(at.topic.to_string())))
                    .with_partition_indexes(vec![at.partition]),
            ),
        }
    }
    // An abort, so that nothing could become visible by it; the coordinator's epoch is never raised.
    WritableTxnMarker::default()
        .with_producer_id(KafkaProducerId(id.get()))
        .with_producer_epoch(epoch)
        .with_transaction_result(false)
        .with_topics(topics)
        .with_coordinator_epoch(0)
}

fn is_denied(answer: &WriteTxnMarkersResponse) -> bool {
    let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
    let mut partitions = topics.flat_map(|topic| &topic.partitions);
    let denied = ResponseError::ClusterAuthorizationFailed.code();
    partitions.any(|partition| partition.error_code == denied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn wanted(topic: &str, partition: i32, records: i64, epoch: i16) -> (Arc<Link>, Write) {
        let write = Write {
            base: 7,
            records,
            bytes: Bytes::new(),
            max_timestamp: i64::MAX,
            marker_epoch: Some(epoch),
            merged: false,
        };
        (
            Link::new(TopicPartition::new(topic, partition), Side::Source, 0),
            write,
        )
    }

    #[test]
    fn every_partition_gets_as_many_markers_as_it_wants() {
        let writes = [
            wanted("a", 0, 3, 0),
            wanted("a", 1, 1, 0),
            wanted("b", 0, 2, 0),
            wanted("b", 1, 1, 4),
        ];
        let request = request(ProducerId::own(5), &writes);
        let mut counted: BTreeMap<(String, i32, i16), usize> = BTreeMap::new();
        for marker in &request.markers {
            for topic in &marker.topics {
                for partition in &topic.partition_indexes {
                    let key = (topic.name.to_string(), *partition, marker.producer_epoch);
                    *counted.entry(key).or_default() += 1;
                }
            }
        }
        let expected = [
            ("a", 0, 0, 3),
            ("a", 1, 0, 1),
            ("b", 0, 0, 2),
            ("b", 1, 4, 1),
        ]
        .map(|(topic, partition, epoch, count)| ((topic.to_owned(), partition, epoch), count));
        assert_eq!(counted, expected.into());
        assert_eq!(request.markers.len(), 4, "entries are shared");
    }
}
