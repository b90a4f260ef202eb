//! Topics of many shapes on a source, and the proof that they crossed: the same ranges, the same records with their
//! timestamps and headers, and the producer ids that a copy must bear.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreatePartitionsRequest, DescribeConfigsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use lockgate_tests::admin::{Admin, Connection};
use lockgate_tests::clients::{Backlog, write_backlog};
use lockgate_tests::history::History;
use lockgate_tests::kafka::{Cluster, Pair};
use lockgate_tests::lockgate::{Config, Lockgate, Route};
use lockgate_tests::logs::{RawBatch, compare_topic, read_batches};
use lockgate_wire::producer_id::{ProducerId, ProducerIdKind};
use lockgate_wire::records::{
    BatchSpec, Codec, FILLER_RECORDS_MAX, NewRecord, Producer, RecordHeader, batch, filler,
};
use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::fixture::{DEADLINE, QUICK, ROUTE, TURN};

/// How often a state that lasts for moments only is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// Kafka's number for a topic in DescribeConfigs.
const TOPIC_RESOURCE: i8 = 2;
/// Records of a small batch.
const RECORDS: i32 = 3;
/// On all replicas in sync.
const ACKS_ALL: i16 = -1;
/// Milliseconds that a broker may take.
const BROKER_TIMEOUT_MS: i32 = 20_000;

/// Settings of a compacted topic whose cleaner comes within seconds.
pub(crate) const CLEANED_SOON: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "500"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "0"),
];

/// Two clusters without a Lockgate.
pub(crate) struct Estate {
    pub(crate) pair: Pair,
    pub(crate) history: History,
    _turn: MutexGuard<'static, ()>,
}

/// How many batches of a topic were written by whom, as their ids at the source tell.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Written {
    /// With an id that Lockgate gave to a client: kept by the copy.
    pub(crate) by_its_clients: usize,
    /// With a cluster's id or none: the copy bears one of Lockgate's own.
    pub(crate) by_others: usize,
    /// What became of those: batches that waited together are merged.
    pub(crate) copies_of_others: usize,
}

impl Estate {
    pub(crate) async fn begin() -> Self {
        let turn = TURN.lock().await;
        Self {
            pair: Box::pin(Pair::start()).await.unwrap(),
            history: History::default(),
            _turn: turn,
        }
    }

    /// A Lockgate that is not ready yet. Its route holds `topics`; everything else is the default route's.
    pub(crate) fn lockgate(&self, topics: &[&str]) -> Lockgate {
        self.lockgate_with(topics, "")
    }

    /// The same with more configuration.
    pub(crate) fn lockgate_with(&self, topics: &[&str], further: &str) -> Lockgate {
        let (source, destination) = (
            self.pair.source.bootstrap(),
            self.pair.destination.bootstrap(),
        );
        let route = Route {
            name: ROUTE.to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Route::default()
        };
        let mut config = Config::new(&source, &destination, vec![route]).unwrap();
        config.further = format!("{QUICK}{further}");
        Lockgate::start(config).unwrap()
    }

    /// A topic on the source with records of every codec that librdkafka writes; partitions take turns.
    pub(crate) async fn topic(
        &self,
        name: &str,
        partitions: i32,
        records: u64,
        configs: &[(&str, &str)],
    ) {
        let admin = self.pair.source.admin();
        admin
            .create_topic(name, partitions, 2, configs)
            .await
            .unwrap();
        let backlog = Backlog {
            topic: name.to_owned(),
            partitions,
            records,
            deleted_percent: 0,
        };
        write_backlog(&self.pair.source, &backlog, &self.history)
            .await
            .unwrap();
    }

    /// Waits until the destination's log starts and ends where the source's does in every partition.
    pub(crate) async fn wait_equal_ranges(&self, topic: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            let source = self.pair.source.admin().log_ranges(topic).await;
            let copy = self.pair.destination.admin().log_ranges(topic).await;
            match (source, copy) {
                (Ok(source), Ok(copy)) if source == copy => return,
                last => assert!(
                    Instant::now() < end,
                    "{topic} does not become equal: {last:?}"
                ),
            }
            tokio::time::sleep(10 * LOOK).await;
        }
    }

    /// Both logs hold the same, offset by offset; returns who wrote it.
    pub(crate) async fn assert_crossed(&self, topic: &str) -> Written {
        self.wait_equal_ranges(topic).await;
        let (source, destination) = (&self.pair.source, &self.pair.destination);
        let differences = compare_topic(source, destination, topic).await.unwrap();
        assert!(differences.is_empty(), "{differences:#?}");
        let mut written = Written::default();
        let ranges = source.admin().log_ranges(topic).await.unwrap();
        for (partition, range) in (0..).zip(&ranges) {
            let range = range.start..range.end;
            let originals = batches(source, topic, partition, range.clone()).await;
            let copies = batches(destination, topic, partition, range).await;
            let mut originals = originals.iter().peekable();
            for copy in &copies {
                let mut parts = Vec::new();
                while let Some(part) =
                    originals.next_if(|part| part.base_offset <= copy.last_offset)
                {
                    parts.push(part);
                }
                written.count(&parts, copy);
            }
            assert!(originals.next().is_none(), "{topic}-{partition}");
        }
        written
    }
}

impl Written {
    /// A batch that stands alone is copied as it is; records of merged ones are compared elsewhere.
    fn count(&mut self, parts: &[&RawBatch], copy: &RawBatch) {
        let became = format!("{parts:?} became {copy:?}");
        let producer =
            |batch: &RawBatch| (batch.producer_id, batch.producer_epoch, batch.base_sequence);
        let by_client =
            |batch: &&RawBatch| ProducerId::new(batch.producer_id).kind() == ProducerIdKind::Client;
        if let [original] = parts {
            assert!(original.reads_like(copy), "{became}");
            if by_client(original) {
                assert_eq!(producer(original), producer(copy), "{became}");
                self.by_its_clients += 1;
                return;
            }
        }
        let kind = ProducerId::new(copy.producer_id).kind();
        assert_eq!(kind, ProducerIdKind::Own, "{became}");
        assert!(
            !parts.is_empty() && !parts.iter().any(by_client),
            "{became}"
        );
        self.by_others += parts.len();
        self.copies_of_others += 1;
    }
}

/// The batches of a partition as its leader stores them.
pub(crate) async fn batches(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    range: std::ops::Range<i64>,
) -> Vec<RawBatch> {
    read_batches(&cluster.admin(), topic, partition, range.start, range.end)
        .await
        .unwrap()
}

/// The links, by the admin API.
pub(crate) async fn links(lockgate: &Lockgate) -> Vec<Value> {
    let links = lockgate.api().fetch("/v1/links").await;
    links
        .ok()
        .and_then(|links| links.as_array().cloned())
        .unwrap_or_default()
}

/// Waits until the links of `topic` show something, which may be there for moments only.
pub(crate) async fn wait_links(lockgate: &Lockgate, topic: &str, shown: impl Fn(&[Value]) -> bool) {
    let end = Instant::now() + DEADLINE;
    loop {
        let mut links = links(lockgate).await;
        links.retain(|link| link["topic"] == topic);
        if shown(&links) {
            return;
        }
        let log = || lockgate.log_text();
        assert!(
            Instant::now() < end,
            "links of {topic}: {links:#?}\n{}",
            log()
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// SIGKILL, a new start, and readiness.
pub(crate) async fn kill_and_restart(lockgate: &Lockgate) {
    lockgate.kill().await.unwrap();
    lockgate.restart().unwrap();
    lockgate.wait_ready().await.unwrap();
}

/// Batches as no client library makes them, written straight to one partition.
pub(crate) struct Writer {
    topic: String,
    partition: i32,
    leader: Connection,
    client: ProducerId,
    sequence: i32,
}

impl Writer {
    pub(crate) async fn new(admin: &Admin, topic: &str, partition: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            leader: admin.connect_leader(topic, partition).await.unwrap(),
            client: ProducerId::client(rand::random()),
            sequence: 0,
        }
    }

    /// Records without keys or values.
    pub(crate) async fn write_empty(&mut self, records: u32) {
        let mut left = records;
        while left > 0 {
            let count = left.min(FILLER_RECORDS_MAX);
            let records = filler(count, now_ms(), None).unwrap();
            self.produce(records, ACKS_ALL).await;
            left -= count;
        }
    }

    /// Small batches without a codec. One in a thousand is by a client of Lockgate's, the others by one of the
    /// cluster's or without any id.
    pub(crate) async fn write_plain(&mut self, batches: i64) {
        for number in 0..batches {
            let producer = match number % 1_000 {
                500 => {
                    self.sequence += RECORDS;
                    Some((self.client, self.sequence - RECORDS))
                }
                even if even % 2 == 0 => None,
                _ => Some((ProducerId::new(7_000_000 + number), 0)),
            };
            let producer = producer.map(|(id, base_sequence)| Producer {
                id,
                epoch: 0,
                base_sequence,
            });
            let spec = BatchSpec {
                producer,
                ..BatchSpec::default()
            };
            let value = number.to_string();
            let record = |age: i64| NewRecord {
                timestamp: now_ms() - age,
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            };
            let records = batch(&[record(9), record(0), record(5)], spec).unwrap();
            let acks = if number + 1 == batches { ACKS_ALL } else { 1 };
            self.produce(records, acks).await;
        }
    }

    /// Small batches; a client of Lockgate's, a client of the cluster's and one without any id take turns, and so do
    /// codecs.
    pub(crate) async fn write_small(&mut self, batches: i64) {
        for number in 0..batches {
            let producer = match number % 3 {
                0 => None,
                1 => {
                    self.sequence += RECORDS;
                    Some((self.client, self.sequence - RECORDS))
                }
                _ => Some((ProducerId::new(7_000_000 + number), 0)),
            };
            let producer = producer.map(|(id, base_sequence)| Producer {
                id,
                epoch: 0,
                base_sequence,
            });
            let codec = if number % 2 == 0 {
                Codec::Zstd
            } else {
                Codec::None
            };
            let spec = BatchSpec {
                producer,
                transactional: false,
                codec,
            };
            let value = number.to_string();
            let headers = [Some(value.as_bytes()), None].map(|value| RecordHeader {
                key: "twice",
                value,
            });
            let record = |age: i64| NewRecord {
                timestamp: now_ms() - age,
                key: Some(b"key"),
                value: Some(value.as_bytes()),
                headers: &headers,
            };
            let records = batch(&[record(9), record(0), record(5)], spec).unwrap();
            // Once the last one is on all replicas, so are those before it.
            let acks = if number + 1 == batches { ACKS_ALL } else { 1 };
            self.produce(records, acks).await;
        }
    }

    /// These batches as they are.
    pub(crate) async fn write(&mut self, records: Bytes) {
        self.produce(records, ACKS_ALL).await;
    }

    async fn produce(&mut self, records: Bytes, acks: i16) {
        let partition = PartitionProduceData::default()
            .with_index(self.partition)
            .with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(BROKER_TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let answer = self.leader.call(&request, 9).await.unwrap();
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// Gives a topic more partitions.
pub(crate) async fn grow(cluster: &Cluster, topic: &str, partitions: i32) {
    let admin = cluster.admin();
    let grown = CreatePartitionsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![grown])
        .with_timeout_ms(BROKER_TIMEOUT_MS);
    let answer = admin
        .connect()
        .await
        .unwrap()
        .call(&request, 2)
        .await
        .unwrap();
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    let end = Instant::now() + DEADLINE;
    for broker in cluster.brokers() {
        let broker = Admin::new(vec![broker]);
        let grown = |seen: usize| seen == partitions.unsigned_abs() as usize;
        while !broker
            .partitions(topic)
            .await
            .is_ok_and(|seen| grown(seen.len()))
        {
            assert!(Instant::now() < end, "{topic} does not grow");
            tokio::time::sleep(LOOK).await;
        }
    }
    admin.wait_in_sync(topic).await.unwrap();
}

/// All settings of a topic.
pub(crate) async fn settings(cluster: &Cluster, topic: &str) -> Vec<DescribeConfigsResourceResult> {
    let asked = DescribeConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
    let mut broker = cluster.admin().connect().await.unwrap();
    let mut answer = broker.call(&request, 4).await.unwrap();
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    answer.results.remove(0).configs
}

/// One setting of a topic.
pub(crate) async fn setting(cluster: &Cluster, topic: &str, name: &str) -> String {
    let settings = settings(cluster, topic).await;
    let found = settings.iter().find(|setting| &*setting.name == name);
    found
        .and_then(|found| found.value.clone())
        .unwrap_or_default()
        .to_string()
}
