//! Batches that brokers would not take from a producer as they lie in the source's log: thinned by compaction, or
//! stamped with the brokers' own time. The copy holds the same records at the same offsets with the same timestamps.

use std::time::{Duration, Instant};

use lockgate_tests::kafka::Cluster;
use lockgate_tests::logs::{compare_topic, read_records};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::estate::{CLEANED_SOON, Estate, batches, kill_and_restart, setting};
use crate::fixture::{DEADLINE, ROUTE};

const TABLE: &str = "table";
const STAMPED: &str = "stamped";
/// One partition each.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Keys of the first batch, and how many later batches share the rest of them.
const KEYS: usize = 40;
const SHARES: usize = 4;
/// What clients say their records' time is.
const CLIENTS_TIME: i64 = 1_000;
/// How often a log is looked at.
const LOOK: Duration = Duration::from_millis(200);

fn producer(bootstrap: &str, codec: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("compression.type", codec)
        .set("linger.ms", "50")
        .create()
        .unwrap()
}

/// Writes records of these keys, as a rule in one batch.
fn write(producer: &BaseProducer, topic: &str, partition: i32, keys: impl Iterator<Item = usize>) {
    for key in keys {
        let (key, payload) = (
            format!("key-{key}"),
            format!("payload of {key} ").repeat(20),
        );
        let mut record = BaseRecord::to(topic)
            .partition(partition)
            .key(&key)
            .payload(&payload);
        if topic == STAMPED {
            record = record.timestamp(CLIENTS_TIME + key.len() as i64);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

async fn with_each_codec(cluster: &Cluster, work: impl Fn(&BaseProducer, i32) + Send + 'static) {
    let bootstrap = cluster.bootstrap();
    let written = tokio::task::spawn_blocking(move || {
        for (partition, codec) in (0..).zip(CODECS) {
            work(&producer(&bootstrap, codec), partition);
        }
    });
    written.await.unwrap();
}

/// Waits until the cleaner has left the newest record of each key, and one in the active segment.
async fn wait_thinned(source: &Cluster) {
    let end = Instant::now() + DEADLINE;
    for partition in 0..CODECS.len() as i32 {
        loop {
            let range = source.admin().log_range(TABLE, partition).await.unwrap();
            let left = batches(source, TABLE, partition, range.start..range.end).await;
            let records: i32 = left.iter().map(|batch| batch.count).sum();
            let thinned = left.iter().any(|batch| {
                let offsets = batch.last_offset - batch.base_offset + 1;
                batch.count > 0 && i64::from(batch.count) < offsets
            });
            if records as usize == KEYS + 1 && thinned {
                break;
            }
            assert!(
                Instant::now() < end,
                "{partition}: {records} records are left"
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn make_table(source: &Cluster) {
    let admin = source.admin();
    let partitions = CODECS.len() as i32;
    admin
        .create_topic(TABLE, partitions, 2, &CLEANED_SOON)
        .await
        .unwrap();
    with_each_codec(source, |producer, partition| {
        write(producer, TABLE, partition, 0..KEYS);
        for share in 1..SHARES {
            let keys = (0..KEYS).filter(|key| key % SHARES == share);
            write(producer, TABLE, partition, keys);
        }
    })
    .await;
    // The next append begins a new segment; the cleaner leaves the newest one alone.
    tokio::time::sleep(Duration::from_millis(600)).await;
    with_each_codec(source, |producer, partition| {
        write(producer, TABLE, partition, KEYS..=KEYS);
    })
    .await;
    wait_thinned(source).await;
}

async fn assert_same(estate: &Estate, topic: &str) {
    estate.wait_equal_ranges(topic).await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    let differences = compare_topic(source, destination, topic).await.unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thinned_and_stamped_batches_are_copied_record_for_record() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    let by_the_brokers = [("message.timestamp.type", "LogAppendTime")];
    let partitions = CODECS.len() as i32;
    let admin = source.admin();
    admin
        .create_topic(STAMPED, partitions, 2, &by_the_brokers)
        .await
        .unwrap();
    let write_stamped = |producer: &BaseProducer, partition: i32| {
        for _ in 0..3 {
            write(producer, STAMPED, partition, 0..KEYS);
        }
    };
    with_each_codec(source, write_stamped).await;
    make_table(source).await;

    let lockgate = estate.lockgate(&[STAMPED]);
    lockgate.wait_ready().await.unwrap();
    assert_same(&estate, TABLE).await;
    assert_same(&estate, STAMPED).await;
    // The last batch on both sides is not the same bytes, and is known again all the same.
    kill_and_restart(&lockgate).await;
    with_each_codec(source, write_stamped).await;
    assert_same(&estate, TABLE).await;
    assert_same(&estate, STAMPED).await;
    let copies = batches(destination, STAMPED, 0, 0..1).await;
    assert_eq!(
        copies[0].attributes & 8,
        0,
        "the copy's records bear the time themselves"
    );

    let flipped = lockgate.api().flip(ROUTE, "all", DEADLINE).await.unwrap();
    assert_eq!(flipped["state"], "done", "{flipped:#}");
    let kind = setting(destination, STAMPED, "message.timestamp.type").await;
    assert_eq!(kind, "LogAppendTime", "the new home gives the time");
    let end = destination.admin().log_range(STAMPED, 0).await.unwrap().end;
    let through = lockgate.bootstrap();
    let written = tokio::task::spawn_blocking(move || {
        write(&producer(&through, "lz4"), STAMPED, 0, 0..1);
    });
    written.await.unwrap();
    let bootstrap = destination.bootstrap();
    let records = read_records(&bootstrap, STAMPED, 0, end - 1, end + 1)
        .await
        .unwrap();
    let (before, after) = (records[0].timestamp, records[1].timestamp);
    assert!(after >= before && before.is_some_and(|time| time > CLIENTS_TIME + 10));
}
