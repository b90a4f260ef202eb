//! Copies keep every offset: histories of every shape, what cannot be copied, and all of it while processes die.

use std::time::{Duration, Instant};

use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use lockgate_tests::clients::{Client, Clients, ProducerSpec, Software};
use lockgate_tests::kafka::Cluster;
use lockgate_tests::lockgate::Lockgate;
use lockgate_tests::logs::RawBatch;

use crate::estate::{
    Estate, Writer, batches, grow, kill_and_restart, links, setting, settings, wait_links,
};
use crate::fixture::{DEADLINE, ROUTE, check_history};

/// Records that are gone from the source before its log starts, so that as much filler is needed.
const DEEP: u32 = 300_000;
/// Batches of the topic whose copying takes long: one write is under way per partition.
const SMALL_BATCHES: i64 = 900;
/// Records that each client has to get through after every fault.
const GO_ON: u64 = 500;

/// Log starts inside a batch, at a batch's edge, at 0, at the end and behind much that is gone.
async fn shape_log_starts(source: &Cluster, topic: &str) {
    let admin = source.admin();
    let ranges = admin.log_ranges(topic).await.unwrap();
    for (partition, range) in (0..).zip(&ranges) {
        let batches = batches(source, topic, partition, range.start..range.end).await;
        let middle = &batches[batches.len() / 2];
        assert!(
            middle.count > 1,
            "{topic}-{partition} has batches of one record"
        );
        let start = match partition {
            0 | 4 => middle.base_offset + i64::from(middle.count / 2),
            1 => middle.base_offset,
            5 => range.end,
            _ => continue,
        };
        admin.delete_records(topic, partition, start).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_keep_their_offsets_while_lockgate_is_killed() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    estate.topic("shapes", 6, 12_000, &[]).await;
    shape_log_starts(source, "shapes").await;
    estate
        .topic("table", 2, 1_000, &[("cleanup.policy", "compact")])
        .await;
    estate.topic("small", 1, 0, &[]).await;
    let admin = source.admin();
    Writer::new(&admin, "small", 0)
        .await
        .write_small(SMALL_BATCHES)
        .await;
    estate.topic("deep", 1, 0, &[]).await;
    let mut deep = Writer::new(&admin, "deep", 0).await;
    deep.write_empty(DEEP).await;
    deep.write_small(30).await;
    admin
        .delete_records("deep", 0, i64::from(DEEP) + 4)
        .await
        .unwrap();

    let lockgate = estate.lockgate(&["shapes", "table", "small", "deep"]);
    lockgate.wait_ready().await.unwrap();
    wait_links(&lockgate, "deep", |links| {
        links.iter().any(|link| link["state"] == "aligning")
    })
    .await;
    let copy = destination.admin();
    let end = Instant::now() + DEADLINE;
    while !copy
        .log_range("deep", 0)
        .await
        .is_ok_and(|range| range.end > 0)
    {
        assert!(Instant::now() < end, "no filler is written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lockgate.kill().await.unwrap();
    let filled = copy.log_range("deep", 0).await.unwrap();
    assert!(filled.end <= i64::from(DEEP), "killed too late: {filled:?}");
    lockgate.restart().unwrap();
    wait_links(&lockgate, "small", |links| {
        links
            .iter()
            .any(|link| link["next_offset"].as_i64() > Some(100))
    })
    .await;
    lockgate.kill().await.unwrap();
    let copied = copy.log_range("small", 0).await.unwrap();
    let whole = admin.log_range("small", 0).await.unwrap();
    assert!(copied.end < whole.end, "killed too late: {copied:?}");
    lockgate.restart().unwrap();
    lockgate.wait_ready().await.unwrap();

    for topic in ["shapes", "table", "deep"] {
        let written = estate.assert_crossed(topic).await;
        assert!(written.by_others > 0, "{topic}: {written:?}");
    }
    let written = estate.assert_crossed("small").await;
    assert_eq!(written.by_its_clients, SMALL_BATCHES as usize / 3);
    assert_eq!(
        setting(destination, "table", "cleanup.policy").await,
        "compact"
    );
}

/// Somebody else's topic at the destination, with the name of one on the source.
struct Taken {
    log: Vec<RawBatch>,
    settings: Vec<DescribeConfigsResourceResult>,
}

impl Taken {
    async fn make(destination: &Cluster) -> Self {
        let admin = destination.admin();
        let retention = [("retention.ms", "700000000")];
        admin.create_topic("taken", 1, 2, &retention).await.unwrap();
        Writer::new(&admin, "taken", 0).await.write_small(5).await;
        Self {
            log: batches(destination, "taken", 0, 0..15).await,
            settings: settings(destination, "taken").await,
        }
    }

    async fn assert_untouched(&self, lockgate: &Lockgate, destination: &Cluster) {
        let mut refused = links(lockgate).await;
        refused.retain(|link| link["topic"] == "taken");
        assert_eq!(refused.len(), 3);
        for link in refused {
            let reason = link["reason"].as_str().unwrap_or_default();
            assert_eq!(link["state"], "stopped", "{link:#}");
            assert!(reason.contains("belongs to somebody"), "{link:#}");
        }
        let ranges = destination.admin().log_ranges("taken").await.unwrap();
        assert_eq!((ranges.len(), ranges[0].start, ranges[0].end), (1, 0, 15));
        assert_eq!(batches(destination, "taken", 0, 0..15).await, self.log);
        assert_eq!(settings(destination, "taken").await, self.settings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_named_and_left_alone() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    let retention = [("retention.ms", "600000000")];
    estate.topic("orders", 2, 600, &retention).await;
    estate.topic("taken", 3, 300, &[]).await;
    let taken = Taken::make(destination).await;
    estate.topic("ledger", 2, 600, &[]).await;

    let lockgate = estate.lockgate(&["orders"]);
    lockgate.wait_ready().await.unwrap();
    estate.assert_crossed("ledger").await;
    Writer::new(&source.admin(), "ledger", 1)
        .await
        .write_small(20)
        .await;
    estate.assert_crossed("ledger").await;

    grow(source, "orders", 3).await;
    Writer::new(&source.admin(), "orders", 2)
        .await
        .write_small(30)
        .await;
    wait_links(&lockgate, "orders", |links| {
        links.len() == 3 && links[2]["next_offset"] == 90
    })
    .await;
    let written = estate.assert_crossed("orders").await;
    assert_eq!(written.by_its_clients, 10);

    taken.assert_untouched(&lockgate, destination).await;
    let flipped = lockgate.api().flip(ROUTE, "all", DEADLINE).await.unwrap();
    assert_eq!(flipped["state"], "done", "{flipped:#}");
    let committed = lockgate.api().commit(ROUTE, DEADLINE).await.unwrap();
    assert_eq!(committed["state"], "done", "{committed:#}");
    assert_eq!(
        setting(destination, "orders", "retention.ms").await,
        "600000000"
    );
}

/// Every client gets more records acknowledged.
async fn go_on(clients: &[Client]) {
    let goals: Vec<u64> = clients
        .iter()
        .map(|client| client.records() + GO_ON)
        .collect();
    for (client, goal) in clients.iter().zip(goals) {
        client.wait_for_records(goal, DEADLINE).await.unwrap();
    }
}

/// SIGKILL to a broker while clients write, some writes without it, and its return.
async fn kill_broker(cluster: &Cluster, id: i32, clients: &[Client]) {
    cluster.kill(id).await.unwrap();
    go_on(clients).await;
    cluster.restart(id).await.unwrap();
    cluster.admin().wait_in_sync("orders").await.unwrap();
    go_on(clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_writes_keep_their_offsets_while_processes_die() {
    let estate = Estate::begin().await;
    estate.topic("orders", 4, 4_000, &[]).await;
    let lockgate = estate.lockgate(&["orders"]);
    lockgate.wait_ready().await.unwrap();
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    let programs = Clients::new(&estate.history).unwrap();
    let java = Software::Java(source.kafka().clone());
    let (through, past) = (lockgate.bootstrap(), source.bootstrap());
    let writers = [
        (&java, "java-through", &through),
        (&Software::Librdkafka, "rd-through", &through),
        (&Software::Librdkafka, "rd-past", &past),
    ];
    let mut clients = Vec::new();
    for (prefix, (software, name, bootstrap)) in (1..).zip(writers) {
        let spec = ProducerSpec::new(name, bootstrap, "orders", prefix);
        clients.push(programs.producer(software, &spec).unwrap());
    }
    go_on(&clients).await;
    kill_broker(source, 1, &clients).await;
    kill_broker(destination, 1, &clients).await;
    kill_and_restart(&lockgate).await;
    go_on(&clients).await;
    kill_broker(destination, 2, &clients).await;
    for client in &clients {
        client.stop().await.unwrap();
        // Complaints of a leader that is gone are due when brokers die; a record that was given up is not.
        let report = client.report();
        let failed = |line: &&String| line.contains("producer_send_error");
        let failed: Vec<_> = report.errors.iter().filter(failed).collect();
        assert!(failed.is_empty() && report.restarts == 0, "{report:#?}");
    }
    let written = estate.assert_crossed("orders").await;
    assert!(
        written.by_its_clients > 100 && written.by_others > 100,
        "{written:?}"
    );
    check_history(&estate.history, destination).await;
    wait_links(&lockgate, "orders", |links| {
        links
            .iter()
            .all(|link| link["state"] == "copying" && link["lag_records"] == 0)
    })
    .await;
}
