//! The replicator against two real clusters: `LOCKGATE_TEST_SOURCE` and `LOCKGATE_TEST_DESTINATION` are bootstrap
//! addresses. Without them these tests have nothing to talk to, so they run only when asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::status::LinkState;
use super::{Replicator, topic_calls};
use crate::words::{Side, TopicPartition};

mod pair;

use pair::{
    LiveWrites, Pair, WITHIN, Writer, assert_equal, begin_deep, partitions, show_log, wait_for,
};

/// A topic with history that begins inside a batch, at its edge, at 0, and at its end.
async fn with_history(pair: &Pair) -> (Arc<str>, Vec<Writer>) {
    let settings = [("retention.ms", "600000000")];
    let topic = pair.topic(Side::Source, "orders", 4, &settings).await;
    let mut writers = Vec::new();
    for (at, below) in partitions(&topic, 4).iter().zip([10_123, 7_000, 0, 42_000]) {
        let mut writer = pair.writer(at).await;
        for _ in 0..60 {
            writer.write(700).await;
        }
        if below > 0 {
            let source = &pair.clusters.source;
            topic_calls::delete_below(source, at, below).await.unwrap();
        }
        writers.push(writer);
    }
    (topic, writers)
}

/// Starts the replicator and cuts it off while filler is written, then while history is copied.
async fn cut_off_twice(pair: &Pair) {
    let early = pair.start();
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    early.abort();
    let second = pair.start();
    wait_for("something is copied", || {
        second.links().iter().any(|link| link.next_offset > 11_000)
    })
    .await;
    second.abort();
}

async fn assert_settings(pair: &Pair, running: &Replicator, topics: &[Arc<str>; 2]) {
    let destination = &pair.clusters.destination;
    let described = topic_calls::describe(destination, &topics[1])
        .await
        .unwrap();
    assert_eq!(described.own["cleanup.policy"], "compact");
    running.apply_final_settings(topics).await.unwrap();
    let described = topic_calls::describe(destination, &topics[0])
        .await
        .unwrap();
    assert_eq!(described.own["retention.ms"], "600000000");
    assert!(!described.own.contains_key("max.message.bytes"));
}

/// History with log starts inside batches, an emptied partition, a compacted topic, a topic of somebody else's; live
/// writes while the replicator is killed and started again; then the level proof, and both sides batch by batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs two real clusters"]
async fn a_topic_crosses_with_its_offsets() {
    show_log();
    let pair = Pair::connect().await;
    let compacted = [("cleanup.policy", "compact")];
    let compacted = pair.topic(Side::Source, "table", 1, &compacted).await;
    let taken = pair.topic(Side::Source, "taken", 1, &[]).await;
    pair.topic(Side::Destination, "taken", 1, &[]).await;
    let (topic, mut writers) = with_history(&pair).await;
    let mut ats = partitions(&topic, 4);
    ats.push(TopicPartition::new(compacted.clone(), 0));
    writers.push(pair.writer(&ats[4]).await);
    writers[4].write(50).await;
    cut_off_twice(&pair).await;

    let live = LiveWrites::start(writers, 20, Duration::from_millis(20));
    let mut running = pair.start();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        running.abort();
        running = pair.start();
    }
    wait_for("the lag falls", || {
        let lag = running.lag(&|name| name != &*taken);
        lag.not_copying.is_empty() && lag.partitions == 5 && lag.records < 500
    })
    .await;
    live.stop().await;
    let topics = [topic, compacted];
    let began = Instant::now();
    let level = running.level(&topics, Duration::ZERO, Duration::from_secs(20));
    let ends = level.await.unwrap();
    tracing::info!(took = ?began.elapsed(), ?ends, "level");
    for at in &ats {
        assert_equal(&pair, at).await;
    }
    for link in running.links() {
        match link.state {
            LinkState::Stopped(why) if *link.topic == *taken => {
                assert!(why.contains("belongs to somebody"), "{why}");
            }
            state => assert_eq!(state, LinkState::Sealed),
        }
    }
    assert_settings(&pair, &running, &topics).await;
    running.stop().await;
}

/// Live writes for `LOCKGATE_TEST_SECONDS` while the replicator is cut off and started again, and whoever runs this
/// kills and restarts brokers of both clusters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs two real clusters and somebody who kills their brokers"]
async fn a_topic_crosses_while_brokers_die() {
    show_log();
    let seconds = std::env::var("LOCKGATE_TEST_SECONDS").map_or(40, |text| text.parse().unwrap());
    let pair = Pair::connect().await;
    let topic = pair.topic(Side::Source, "storm", 6, &[]).await;
    let deep = pair.topic(Side::Source, "deep", 2, &[]).await;
    let mut ats = partitions(&topic, 6);
    let mut writers = Vec::new();
    for at in &ats {
        writers.push(pair.writer(at).await);
    }
    for at in partitions(&deep, 2) {
        begin_deep(&pair, &at).await;
        ats.push(at);
    }
    let mut running = pair.start();
    let live = LiveWrites::start(writers, 50, Duration::from_millis(5));
    for tick in 1..=seconds / 2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let lag = running.lag(&|_| true);
        tracing::info!(records = lag.records, ms = lag.ms_max, not_copying = ?lag.not_copying, "lag");
        if tick % 6 == 0 {
            tracing::info!("the replicator is cut off and started again");
            running.abort();
            running = pair.start();
        }
    }
    live.stop().await;
    wait_for("all links copy", || {
        let lag = running.lag(&|_| true);
        lag.partitions == 8 && lag.not_copying.is_empty()
    })
    .await;
    let topics = [topic, deep];
    let level = running.level(&topics, Duration::from_secs(2), WITHIN);
    tracing::info!(ends = ?level.await.unwrap(), "level");
    for at in &ats {
        assert_equal(&pair, at).await;
    }
    running.stop().await;
}
