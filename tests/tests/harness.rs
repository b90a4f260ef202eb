//! The harness tested on a real pair of clusters: clients of both libraries, the checker, planted faults, the
//! log comparison, and what happens when brokers die.

#![expect(
    clippy::print_stderr,
    reason = "timings, for whoever runs this with `--nocapture`"
)]

use std::time::{Duration, Instant};

use lockgate_tests::clients::{
    Backlog, Client, Clients, ConsumerSpec, ProducerSpec, Software, write_backlog,
};
use lockgate_tests::faults::Relay;
use lockgate_tests::history::History;
use lockgate_tests::kafka::{Cluster, ClusterSpec, Pair};
use lockgate_tests::logs::{compare_topic, read_records};

const DEADLINE: Duration = Duration::from_secs(60);
/// Kafka's API key of Produce.
const PRODUCE: i16 = 0;
/// A little more than the `metadata.max.age.ms` of test clients.
const METADATA_AGE: Duration = Duration::from_secs(11);

async fn read_everything(history: &History, group: &str, topic: &str) {
    let end = Instant::now() + DEADLINE;
    while history.unread(group, topic) > 0 {
        assert!(
            Instant::now() < end,
            "{group} still has {} records of {topic} to read",
            history.unread(group, topic)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stop_clean(clients: &[Client]) {
    for client in clients {
        client.stop().await.unwrap();
        let report = client.report();
        assert_eq!(
            (report.restarts, report.errors.as_slice()),
            (0, &[][..]),
            "{}",
            report.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn java_and_librdkafka_clients_leave_a_clean_history() {
    let began = Instant::now();
    let pair = Pair::shared().await.unwrap();
    eprintln!("the pair took {:?}", began.elapsed());
    for cluster in [&pair.source, &pair.destination] {
        leave_a_clean_history(cluster).await;
    }
}

async fn leave_a_clean_history(cluster: &Cluster) {
    let history = History::default();
    let clients = Clients::new(&history).unwrap();
    let bootstrap = cluster.bootstrap();
    cluster
        .admin()
        .create_topic("clean", 4, 2, &[])
        .await
        .unwrap();
    let (java, rd) = (
        Software::Java(cluster.kafka().clone()),
        Software::Librdkafka,
    );
    let producer = |name, prefix| ProducerSpec::new(name, &bootstrap, "clean", prefix);
    let consumer = |name, group| ConsumerSpec::new(name, &bootstrap, "clean", group);
    let began = Instant::now();
    let producers = [
        clients
            .producer(&java, &producer("java-idempotent", 1))
            .unwrap(),
        clients
            .producer(&java, &producer("java-plain", 2).not_idempotent())
            .unwrap(),
        clients
            .producer(&rd, &producer("rd-idempotent", 3))
            .unwrap(),
        clients
            .producer(&rd, &producer("rd-plain", 4).not_idempotent())
            .unwrap(),
    ];
    let consumers = [
        clients
            .consumer(&java, &consumer("java-1", "java"))
            .unwrap(),
        clients
            .consumer(&java, &consumer("java-2", "java"))
            .unwrap(),
        clients.consumer(&rd, &consumer("rd-1", "rd")).unwrap(),
        clients.consumer(&rd, &consumer("rd-2", "rd")).unwrap(),
    ];
    for producer in &producers {
        producer.wait_for_records(1_000, DEADLINE).await.unwrap();
    }
    eprintln!(
        "{}: 1000 records of each producer after {:?}",
        cluster.name(),
        began.elapsed()
    );
    stop_clean(&producers).await;
    read_everything(&history, "java", "clean").await;
    read_everything(&history, "rd", "clean").await;
    stop_clean(&consumers).await;
    let findings = history.check();
    assert!(findings.is_clean(), "{:#?}", findings.examples);
    assert!(findings.producers["3"].acknowledged >= 1_000);
    assert_eq!(findings.groups["java"].read, findings.total.acknowledged);
    assert_eq!(
        cluster
            .admin()
            .committed_offsets("java")
            .await
            .unwrap()
            .len(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_has_log_starts_inside_batches_and_equals_only_itself() {
    let pair = Pair::shared().await.unwrap();
    let history = History::default();
    let backlog = Backlog {
        topic: "old".to_owned(),
        partitions: 5,
        records: 20_000,
        deleted_percent: 30,
    };
    for cluster in [&pair.source, &pair.destination] {
        cluster
            .admin()
            .create_topic("old", 5, 2, &[])
            .await
            .unwrap();
    }
    let began = Instant::now();
    write_backlog(&pair.source, &backlog, &history)
        .await
        .unwrap();
    eprintln!("a backlog of 20000 took {:?}", began.elapsed());
    for range in pair.source.admin().log_ranges("old").await.unwrap() {
        assert!(range.start > 1_000 && range.end == 4_000, "{range:?}");
    }
    let same = compare_topic(&pair.source, &pair.source, "old")
        .await
        .unwrap();
    assert!(same.is_empty(), "{same:?}");
    let different = compare_topic(&pair.source, &pair.destination, "old")
        .await
        .unwrap();
    assert_eq!(
        different.len(),
        5,
        "an empty destination differs in every partition"
    );

    let records = read_records(&pair.source.bootstrap(), "old", 1, 2_000, 2_100)
        .await
        .unwrap();
    assert_eq!(records.len(), 100);
    let with_headers = records
        .iter()
        .find(|record| !record.headers.is_empty())
        .unwrap();
    assert_eq!(with_headers.headers.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_in_a_real_log_are_found() {
    let pair = Pair::shared().await.unwrap();
    let history = History::default();
    let clients = Clients::new(&history).unwrap();
    let bootstrap = pair.source.bootstrap();
    pair.source
        .admin()
        .create_topic("planted", 1, 2, &[])
        .await
        .unwrap();
    let rd = Software::Librdkafka;
    let first = ProducerSpec::new("first", &bootstrap, "planted", 7).ending_after(100);
    clients
        .producer(&rd, &first)
        .unwrap()
        .wait_for_end(DEADLINE)
        .await
        .unwrap();
    // The same values again: written twice, and out of order against the first hundred.
    let again = ProducerSpec::new("again", &bootstrap, "planted", 7).ending_after(10);
    clients
        .producer(&rd, &again)
        .unwrap()
        .wait_for_end(DEADLINE)
        .await
        .unwrap();
    history.acknowledged("planted", 0, 110, "7.100", 0);
    let reader = clients
        .consumer(
            &rd,
            &ConsumerSpec::new("reader", &bootstrap, "planted", "planted"),
        )
        .unwrap();
    reader.wait_for_records(110, DEADLINE).await.unwrap();
    reader.stop().await.unwrap();
    let total = history.check().total;
    assert_eq!(
        (total.duplicated, total.lost, total.reordered),
        (10, 1, 0),
        "{total:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_survive_the_loss_of_either_broker() {
    let cluster = Cluster::start(ClusterSpec::source()).await.unwrap();
    let history = History::default();
    let clients = Clients::new(&history).unwrap();
    cluster
        .admin()
        .create_topic("brokers", 4, 2, &[])
        .await
        .unwrap();
    let java = Software::Java(cluster.kafka().clone());
    let producer = clients
        .producer(
            &java,
            &ProducerSpec::new("p", &cluster.bootstrap(), "brokers", 1),
        )
        .unwrap();
    let reader = ConsumerSpec::new("c", &cluster.bootstrap(), "brokers", "brokers");
    let consumer = clients.consumer(&Software::Librdkafka, &reader).unwrap();
    producer.wait_for_records(500, DEADLINE).await.unwrap();
    for id in [1, 2] {
        // A client must hear of a broker that is back before the other goes: with only dead nodes in its
        // metadata it would stay cut off for good (they bootstrap once).
        tokio::time::sleep(METADATA_AGE).await;
        cluster.kill(id).await.unwrap();
        cluster.wait_for_brokers(1).await.unwrap();
        let now = producer.records();
        producer
            .wait_for_records(now + 500, DEADLINE)
            .await
            .unwrap();
        let began = Instant::now();
        cluster.restart(id).await.unwrap();
        cluster.wait_for_brokers(2).await.unwrap();
        cluster.admin().wait_in_sync("brokers").await.unwrap();
        eprintln!("broker {id} was back in sync after {:?}", began.elapsed());
    }
    producer.stop().await.unwrap();
    read_everything(&history, "brokers", "brokers").await;
    consumer.stop().await.unwrap();
    let total = history.check().total;
    assert_eq!(
        (total.lost, total.duplicated, total.reordered),
        (0, 0, 0),
        "{total:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_produce_answer_makes_an_idempotent_client_retry_without_a_double() {
    let mut spec = ClusterSpec::source();
    (spec.brokers, spec.advertised_host) = (1, "127.0.0.2".to_owned());
    let cluster = Cluster::start(spec).await.unwrap();
    let relay = Relay::before(cluster.brokers()[0]).await.unwrap();
    cluster
        .admin()
        .create_topic("swallow", 1, 1, &[])
        .await
        .unwrap();
    let history = History::default();
    let clients = Clients::new(&history).unwrap();
    let bootstrap = relay.address().to_string();
    let spec = ProducerSpec::new("p", &bootstrap, "swallow", 1).ending_after(2_000);
    relay.hold_answers(PRODUCE, "rdkafka");
    let producer = clients.producer(&Software::Librdkafka, &spec).unwrap();
    relay.wait_held(1, DEADLINE).await.unwrap();
    relay.swallow_held();
    producer.wait_for_end(DEADLINE).await.unwrap();
    let reader = ConsumerSpec::new("c", &bootstrap, "swallow", "swallow");
    let reader = clients.consumer(&Software::Librdkafka, &reader).unwrap();
    read_everything(&history, "swallow", "swallow").await;
    reader.stop().await.unwrap();
    assert!(history.check().is_clean());
}
