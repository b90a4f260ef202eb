//! Offsets that hold nothing for consumers: transaction markers, aborted records, what compaction took. On the copy
//! markers take them, and every record keeps its offset.

use std::time::{Duration, Instant};

use lockgate_tests::kafka::Cluster;
use lockgate_tests::logs::compare_topic;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::estate::{CLEANED_SOON, Estate, Writer, batches, kill_and_restart, wait_links};
use crate::fixture::DEADLINE;

pub(crate) const LEDGER: &str = "ledger";
const TABLE: &str = "table";
/// Keys that are written again and again.
const KEYS: usize = 7;
/// Records, one a batch, of which compaction leaves few.
const UPDATES: usize = 120;
/// Batches that are left when the cleaner has been through all of it: the newest of each key, the two first ones, the
/// active segment's, and what stays empty for its producer. More would still be cleaned while the logs are compared.
const COMPACTED_MAX: usize = KEYS + 8;
/// How often a log is looked at.
const LOOK: Duration = Duration::from_millis(200);

fn writer(bootstrap: &str, transactional_id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", transactional_id)
        .create()
        .unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer
}

/// Records of the producer's open transaction, on the brokers when this returns.
fn write(producer: &BaseProducer, records: usize) {
    for number in 0..records {
        let payload = number.to_string();
        let record = BaseRecord::<(), str>::to(LEDGER)
            .partition(0)
            .payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

/// Transactions of two producers in one partition: interleaved, committed, aborted, and one that is left open.
fn write_transactions(bootstrap: &str, open_id: &str) -> BaseProducer {
    let (one, two) = (writer(bootstrap, "one"), writer(bootstrap, "two"));
    for round in 0..6 {
        one.begin_transaction().unwrap();
        two.begin_transaction().unwrap();
        write(&one, 10);
        write(&two, 5);
        write(&one, 3);
        if round % 2 == 0 {
            one.commit_transaction(DEADLINE).unwrap();
        } else {
            one.abort_transaction(DEADLINE).unwrap();
        }
        write(&two, 2);
        if round % 3 == 0 {
            two.commit_transaction(DEADLINE).unwrap();
        } else {
            two.abort_transaction(DEADLINE).unwrap();
        }
    }
    let open = writer(bootstrap, open_id);
    open.begin_transaction().unwrap();
    write(&open, 4);
    open
}

pub(crate) async fn transactions(source: &Cluster, open_id: &'static str) -> BaseProducer {
    let bootstrap = source.bootstrap();
    let written = tokio::task::spawn_blocking(move || write_transactions(&bootstrap, open_id));
    written.await.unwrap()
}

pub(crate) async fn commit(producer: BaseProducer) {
    let committed = tokio::task::spawn_blocking(move || producer.commit_transaction(DEADLINE));
    committed.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_keep_their_offsets_and_what_was_aborted_is_not_copied() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    estate.topic(LEDGER, 1, 300, &[]).await;
    let open = transactions(source, "open-at-the-start").await;
    let lockgate = estate.lockgate(&[LEDGER]);
    lockgate.wait_ready().await.unwrap();
    // Copying stands at the open transaction's first record: what comes of it is not decided.
    let end = source.admin().log_range(LEDGER, 0).await.unwrap().end;
    wait_links(&lockgate, LEDGER, |links| {
        links[0]["state"] == "copying" && links[0]["next_offset"] == end - 4
    })
    .await;
    commit(open).await;
    estate.wait_equal_ranges(LEDGER).await;
    // A batch of a client's between two markers, and a kill while more come.
    let open = transactions(source, "open-at-the-kill").await;
    Writer::new(&source.admin(), LEDGER, 0)
        .await
        .write_small(4)
        .await;
    kill_and_restart(&lockgate).await;
    commit(open).await;
    estate.wait_equal_ranges(LEDGER).await;

    let differences = compare_topic(source, destination, LEDGER).await.unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
    let range = source.admin().log_range(LEDGER, 0).await.unwrap();
    let originals = batches(source, LEDGER, 0, range.start..range.end).await;
    let copies = batches(destination, LEDGER, 0, range.start..range.end).await;
    let in_transactions = originals
        .iter()
        .filter(|batch| batch.attributes & 0x10 != 0);
    let visible: i64 = copies
        .iter()
        .filter(|batch| !batch.is_control())
        .map(|batch| i64::from(batch.count))
        .sum();
    // Of each round's 18 and 2: 13 committed in three rounds, 7 in two; twice 4 of the open ones.
    assert!(in_transactions.count() > 20);
    assert_eq!(visible, 300 + 12 + 2 * (3 * 13 + 2 * 7 + 4));
    assert!(
        copies
            .iter()
            .all(|batch| batch.is_control() || batch.attributes & 0x10 == 0)
    );
}

/// Records of one batch each, whose keys come again, and one at the beginning that stays.
fn write_updates(bootstrap: &str, first: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()
        .unwrap();
    let send = |key: &str, payload: &str| {
        let record = BaseRecord::to(TABLE).partition(0).key(key).payload(payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
    };
    send(first, "stays");
    for number in 0..UPDATES {
        send(&format!("key-{}", number % KEYS), &number.to_string());
    }
}

/// Waits until the cleaner has been there, which leaves at most so many batches.
async fn wait_compacted(source: &Cluster, at_most: usize) {
    let end = Instant::now() + DEADLINE;
    loop {
        let range = source.admin().log_range(TABLE, 0).await.unwrap();
        let left = batches(source, TABLE, 0, range.start..range.end).await;
        if left.len() <= at_most {
            return;
        }
        assert!(Instant::now() < end, "{} batches are left", left.len());
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_took_between_batches_is_filled() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    let admin = source.admin();
    admin
        .create_topic(TABLE, 1, 2, &CLEANED_SOON)
        .await
        .unwrap();
    for first in ["first", "second"] {
        let bootstrap = source.bootstrap();
        let written = tokio::task::spawn_blocking(move || write_updates(&bootstrap, first));
        written.await.unwrap();
        // The next append begins a new segment; the cleaner leaves the newest one alone.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    Writer::new(&admin, TABLE, 0).await.write_small(1).await;
    wait_compacted(source, COMPACTED_MAX).await;

    let lockgate = estate.lockgate(&[TABLE]);
    lockgate.wait_ready().await.unwrap();
    estate.wait_equal_ranges(TABLE).await;
    let differences = compare_topic(source, destination, TABLE).await.unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
    let range = source.admin().log_range(TABLE, 0).await.unwrap();
    assert!(range.end > 2 * UPDATES as i64, "{range:?}");
}
