//! A Fetch that the session's own broker cannot serve as a whole: decoded, split by where each partition is served,
//! its answers merged.
//!
//! A partition whose home is the other side gets NOT_LEADER_OR_FOLLOWER, so that the client comes to the other node,
//! but only if Metadata names that node to it: to a client with the sticky view this node stays the leader, and the
//! partition is fetched from its home on its behalf. These answers are held whole, so their size is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use lockgate_wire::fetch_stream::FetchStream;
use lockgate_wire::frame::SIZE_BYTES;
use lockgate_wire::guard;
use tokio::sync::oneshot;

use super::ended::{BadFrame, Ended, Step};
use super::inbound::Head;
use super::produce::TOPIC_AUTHORIZATION_FAILED;
use super::requests::{ClientGone, Requests, within};
use super::slots::{Slot, response_frame};
use crate::error::Result;
use crate::route::{STATE_TOPIC, Snapshot};
use crate::upstream::{RawRequest, decode_response, encode_request};
use crate::words::{Side, UpstreamNode};

/// Bytes of one merged part.
const PART_BYTES_MAX: i32 = 8 << 20;
/// How long a part may wait for records where the client waits for several.
const MIXED_WAIT_MS: i32 = 100;
/// How long any part may wait for records.
const WAIT_MS_MAX: i32 = 5_000;
/// What a broker may take beyond that.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// Kafka's NOT_LEADER_OR_FOLLOWER.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// Where a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// From the session's own broker.
    Own,
    /// From a leader at its home.
    Home(Side, UpstreamNode),
    /// Nowhere: this error.
    Refused(i16),
}

impl Requests {
    pub(super) async fn split_fetch(&mut self, head: Head) -> Step<()> {
        self.flush().await?;
        let mut body = self.inbound.take(head).freeze().slice(head.body..);
        let version = head.version;
        guard::check_request(head.api_key, version, &body)
            .map_err(|cause| Ended::body("a Fetch", &cause))?;
        let request = FetchRequest::decode(&mut body, version)
            .map_err(|cause| Ended::Bad(BadFrame::Body, format!("a Fetch: {cause}")))?;
        let mut merged = FetchResponse::default();
        let parts = self.fetch_parts(&request);
        let places = parts
            .keys()
            .filter(|place| !matches!(place, Place::Refused(_)));
        let (served, all) = (places.count(), parts.len());
        // A refusal is answered at once; several parts would each hold the others up.
        let wait_ms = match served {
            1 if all == 1 => request.max_wait_ms.min(WAIT_MS_MAX),
            _ if all > served => 0,
            _ => request.max_wait_ms.min(MIXED_WAIT_MS),
        };
        let mut waiting = Vec::new();
        for (place, topics) in parts {
            let part = part_of(&request, topics.clone(), wait_ms);
            match place {
                Place::Refused(code) => add(&mut merged, refused(&topics, code)),
                Place::Own => {
                    let (reply, answer) = oneshot::channel();
                    if let Ok(body) = encode_request(&part, version) {
                        self.ask_own(head.api_key, version, body, reply).await?;
                    }
                    waiting.push((self.side, topics, answer));
                }
                Place::Home(side, node) => match self.ask_home(side, node, version, &part).await {
                    Ok(answer) => waiting.push((side, topics, answer)),
                    Err(_) => add(&mut merged, refused(&topics, NOT_LEADER_OR_FOLLOWER)),
                },
            }
        }
        for (side, topics, answer) in waiting {
            let bound = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)) + ANSWER_MARGIN;
            let answer = self
                .while_reading(ClientGone::Stop, within(bound, answer))
                .await?;
            let part = match answer {
                Some(Ok(Ok(body))) => {
                    decode_response::<FetchResponse>(side, head.api_key, version, body).ok()
                }
                _ => None,
            };
            match part {
                Some(part) if part.error_code == 0 => add(&mut merged, part.responses),
                _ => add(&mut merged, refused(&topics, NOT_LEADER_OR_FOLLOWER)),
            }
        }
        let frame = merged_frame(head, &merged).map_err(Ended::Unserved)?;
        self.push(Slot::Ready(frame)).await
    }

    /// The request's topics by place; a topic of several places is named in each.
    fn fetch_parts(&self, request: &FetchRequest) -> BTreeMap<Place, Vec<FetchTopic>> {
        let snapshot = self.path.routes.load();
        let mut parts: BTreeMap<Place, Vec<FetchTopic>> = BTreeMap::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let place = self.place(&snapshot, topic.topic.as_str(), partition.partition);
                let topics = parts.entry(place).or_default();
                let mut partition = partition.clone();
                partition.current_leader_epoch = -1;
                partition.last_fetched_epoch = -1;
                match topics.last_mut().filter(|last| last.topic == topic.topic) {
                    Some(last) => last.partitions.push(partition),
                    None => topics.push(
                        FetchTopic::default()
                            .with_topic(topic.topic.clone())
                            .with_partitions(vec![partition]),
                    ),
                }
            }
        }
        parts
    }

    fn place(&self, snapshot: &Snapshot, topic: &str, partition: i32) -> Place {
        if topic == STATE_TOPIC {
            return Place::Refused(TOPIC_AUTHORIZATION_FAILED);
        }
        let home = snapshot.topic_home(topic);
        if home == self.side && self.own.is_alive() {
            return Place::Own;
        }
        let sticky = self
            .client
            .as_ref()
            .is_some_and(|client| self.path.clients.is_sticky(client, topic, self.side));
        let leader = self.path.clusters.on(home).view().leader(topic, partition);
        match leader {
            Some(node) if home != self.side && sticky => Place::Home(home, node),
            _ => Place::Refused(NOT_LEADER_OR_FOLLOWER),
        }
    }

    async fn ask_home(
        &self,
        side: Side,
        node: UpstreamNode,
        version: i16,
        part: &FetchRequest,
    ) -> Result<oneshot::Receiver<Result<Bytes>>> {
        let connection = self.forwards.connection(side, node).await?;
        let request = RawRequest {
            api_key: lockgate_wire::fetch_request::API_KEY,
            version,
            client_id: self.client.as_ref().map(|client| client.client_id.clone()),
            body: vec![encode_request(part, version)?],
        };
        connection.send_raw(request).await
    }
}

/// The request for some of its topics: without session, rack and epochs, its answer bounded.
fn part_of(request: &FetchRequest, topics: Vec<FetchTopic>, wait_ms: i32) -> FetchRequest {
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(request.min_bytes.min(PART_BYTES_MAX))
        .with_max_bytes(request.max_bytes.min(PART_BYTES_MAX))
        .with_isolation_level(request.isolation_level)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics)
}

fn refused(topics: &[FetchTopic], code: i16) -> Vec<FetchableTopicResponse> {
    let partition = |index| {
        PartitionData::default()
            .with_partition_index(index)
            .with_error_code(code)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1)
            .with_records(Some(Bytes::new()))
    };
    let topic = |topic: &FetchTopic| {
        let partitions = topic.partitions.iter().map(|one| partition(one.partition));
        FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    };
    topics.iter().map(topic).collect()
}

fn add(merged: &mut FetchResponse, topics: Vec<FetchableTopicResponse>) {
    for topic in topics {
        let known = merged
            .responses
            .iter_mut()
            .find(|one| one.topic == topic.topic);
        match known {
            Some(known) => known.partitions.extend(topic.partitions),
            None => merged.responses.push(topic),
        }
    }
}

/// The answer, patched by the same walk as a streamed one.
fn merged_frame(head: Head, merged: &FetchResponse) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    let encoded = merged.encode(&mut body, head.version);
    encoded.map_err(|cause| cause.to_string())?;
    let frame = response_frame(head.api_key, head.version, head.correlation_id, |out| {
        out.extend_from_slice(&body);
        Ok(())
    });
    let mut frame = BytesMut::from(frame.map_err(|cause| cause.to_string())?);
    let size = frame.len() - SIZE_BYTES;
    let mut stream = FetchStream::new(head.version, size).map_err(|cause| cause.to_string())?;
    stream
        .feed(&mut frame[SIZE_BYTES..])
        .map_err(|cause| cause.to_string())?;
    Ok(frame.freeze())
}
