//! Transactions are served at the source: committed records are read, aborted ones are not, and the route's producers
//! stay where they are, with the reason.

use std::time::{Duration, Instant};

use lockgate_tests::lockgate::AdminApi;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::fixture::{DEADLINE, Play};

const TOPIC: &str = "ledger";
const CALL: Duration = Duration::from_secs(30);

/// Writes one committed and one aborted transaction, and a committed one behind them.
fn write(bootstrap: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", "bookkeeper")
        .create()
        .unwrap();
    producer.init_transactions(CALL).unwrap();
    for (value, commit) in [("first", true), ("undone", false), ("last", true)] {
        producer.begin_transaction().unwrap();
        let record = BaseRecord::<(), str>::to(TOPIC).payload(value);
        producer.send(record).unwrap();
        producer.flush(CALL).unwrap();
        if commit {
            producer.commit_transaction(CALL).unwrap();
        } else {
            producer.abort_transaction(CALL).unwrap();
        }
    }
}

/// Everything that a read_committed consumer gets until "last".
fn read(bootstrap: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "readers")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let end = Instant::now() + DEADLINE;
    let mut values = Vec::new();
    while values.last().is_none_or(|value| value != "last") {
        assert!(Instant::now() < end, "only {values:?} could be read");
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.unwrap();
            values
                .push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_served_at_the_source_and_keep_their_route_there() {
    let play = Play::begin().await;
    play.pair
        .source
        .admin()
        .create_topic(TOPIC, 1, 2, &[])
        .await
        .unwrap();
    let bootstrap = play.lockgate.bootstrap();
    let values = tokio::task::spawn_blocking(move || {
        write(&bootstrap);
        read(&bootstrap)
    });
    assert_eq!(values.await.unwrap(), ["first", "last"]);
    let refusal = flip(&play.lockgate.api(), "producers").await;
    assert!(refusal.contains("bookkeeper"), "{refusal}");
}

/// The reason why `default` does not flip.
async fn flip(api: &AdminApi, what: &str) -> String {
    let path = "/v1/routes/default/flip";
    let answer = api
        .post(path, &serde_json::json!({ "move": what }))
        .await
        .unwrap();
    assert_eq!(answer.status.as_u16(), 409, "{answer:?}");
    answer.body["error"].as_str().unwrap_or_default().to_owned()
}
