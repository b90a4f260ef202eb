//! Verification on real clusters: topics of every shape are proven equal while clients write and cleaners work, and a
//! difference that somebody planted is found and named.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::protocol::StrBytes;
use lockgate_tests::clients::{Clients, ProducerSpec, Software};
use lockgate_tests::kafka::Cluster;
use lockgate_tests::lockgate::Lockgate;
use lockgate_wire::records::{BatchSpec, Codec, NewRecord, RecordHeader, batch};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::estate::{Estate, Writer, batches, now_ms, wait_links};
use crate::fixture::{DEADLINE, ROUTE};
use crate::holes::{LEDGER, commit, transactions};

const MIXED: &str = "mixed";
const TABLE: &str = "table";
const FORGED: &str = "forged";
/// Records of the topic that somebody copied by hand, and the one that was changed there.
const FORGED_RECORDS: i64 = 200;
const CHANGED: usize = 57;
const KEYS: usize = 9;
const UPDATES: usize = 90;
const LOOK: Duration = Duration::from_millis(200);
/// Kafka's number for a topic, and for setting a value.
const TOPIC_RESOURCE: i8 = 2;
const SET: i8 = 0;

/// Begins a verification and waits for its end.
async fn verify(lockgate: &Lockgate, body: Value) -> Value {
    let id = begin(lockgate, &body).await;
    let view = lockgate.api().wait_operation(&id, DEADLINE).await.unwrap();
    assert_eq!(view["kind"], "verify");
    view
}

async fn begin(lockgate: &Lockgate, body: &Value) -> String {
    let answer = lockgate.api().post("/v1/verify", body).await.unwrap();
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

/// Every partition is done and has one digest.
fn assert_equal(view: &Value) {
    assert_eq!(view["outcome"], "equal", "{view:#}");
    assert_eq!(
        (&view["state"], &view["left"]),
        (&json!("done"), &json!([]))
    );
    for one in view["partitions"].as_array().unwrap() {
        assert_eq!(one["source_digest"], one["destination_digest"], "{one:#}");
        assert_eq!(one["source_digest"].as_str().unwrap().len(), 64);
        assert_eq!(one["equal_to"], one["to"], "{one:#}");
    }
}

/// Keys and values that are null or empty.
fn write_nothings(bootstrap: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    for (key, value) in [
        (None, None),
        (Some(""), Some("")),
        (None, Some("")),
        (Some("k"), None),
    ] {
        let mut record = BaseRecord::<str, str>::to(MIXED).partition(0);
        record.key = key;
        record.payload = value;
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

/// Updates of some keys, one batch each; the last of each round is a tombstone.
fn write_updates(bootstrap: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "0")
        .create()
        .unwrap();
    for number in 0..UPDATES {
        let (key, value) = (format!("key-{}", number % KEYS), number.to_string());
        let mut record = BaseRecord::to(TABLE).partition(0).key(&key);
        if number % KEYS != KEYS - 1 {
            record = record.payload(&value);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
    }
}

async fn blocking(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.unwrap();
}

/// Records of the table that a cluster still has.
async fn table_records(cluster: &Cluster) -> i64 {
    let range = cluster.admin().log_range(TABLE, 0).await.unwrap();
    let left = batches(cluster, TABLE, 0, range.start..range.end).await;
    let data = left.iter().filter(|batch| !batch.is_control());
    data.map(|batch| i64::from(batch.count)).sum()
}

/// Waits until the cleaner has taken what it can of a round of updates.
async fn wait_cleaned(cluster: &Cluster) {
    let end = Instant::now() + DEADLINE;
    loop {
        let left = table_records(cluster).await;
        if left < UPDATES as i64 {
            return;
        }
        assert!(Instant::now() < end, "{left} records are left");
        tokio::time::sleep(LOOK).await;
    }
}

async fn alter(cluster: &Cluster, topic: &str, name: &str, value: &str) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(SET)
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let mut broker = cluster.admin().connect().await.unwrap();
    let answer = broker.call(&request, 1).await.unwrap();
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

/// Updates that are copied whole, before the source's cleaner takes some of them; the destination's has to wait for
/// clients' retries.
async fn half_clean(estate: &Estate, lockgate: &Lockgate) {
    let source = &estate.pair.source;
    wait_links(lockgate, TABLE, |links| {
        links.len() == 1 && links[0]["state"] == "copying"
    })
    .await;
    alter(source, TABLE, "min.compaction.lag.ms", "3600000").await;
    let bootstrap = source.bootstrap();
    blocking(move || write_updates(&bootstrap)).await;
    estate.wait_equal_ranges(TABLE).await;
    alter(source, TABLE, "min.compaction.lag.ms", "0").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The next append begins a new segment; the cleaner leaves the newest one alone.
    Writer::new(&source.admin(), TABLE, 0)
        .await
        .write_small(1)
        .await;
    wait_cleaned(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_every_shape_are_equal_while_clients_write_and_cleaners_work() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    estate.topic(MIXED, 5, 5_000, &[]).await;
    estate.topic(LEDGER, 1, 100, &[]).await;
    estate.topic("orders", 2, 500, &[]).await;
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let admin = source.admin();
    admin.create_topic(TABLE, 1, 2, &compacted).await.unwrap();
    let bootstrap = source.bootstrap();
    blocking(move || write_nothings(&bootstrap)).await;
    Writer::new(&admin, MIXED, 1).await.write_small(30).await;
    let open = transactions(source, "open").await;
    let lockgate = estate.lockgate(&[MIXED, LEDGER, TABLE, "orders"]);
    lockgate.wait_ready().await.unwrap();
    half_clean(&estate, &lockgate).await;
    commit(open).await;

    let programs = Clients::new(&estate.history).unwrap();
    let spec = ProducerSpec::new("traffic", &lockgate.bootstrap(), "orders", 1);
    let traffic = programs.producer(&Software::Librdkafka, &spec).unwrap();
    traffic.wait_for_records(300, DEADLINE).await.unwrap();
    for topic in [MIXED, LEDGER, TABLE] {
        estate.wait_equal_ranges(topic).await;
    }
    let before = traffic.records();
    let view = verify(&lockgate, json!({ "route": ROUTE, "parallel": 3 })).await;
    assert_equal(&view);
    assert_eq!(view["partitions_total"], 9);
    let of = |topic: &str| {
        let partitions = view["partitions"].as_array().unwrap();
        let mut found = partitions.iter().filter(|one| one["topic"] == topic);
        found.next().unwrap().clone()
    };
    assert_eq!(of(LEDGER)["records"], 100 + 3 * 13 + 2 * 7 + 4);
    assert_eq!(of(TABLE)["compacted"], true);
    let superseded = of(TABLE)["superseded"].as_i64().unwrap();
    assert!(superseded > 0, "{view:#}");
    traffic
        .wait_for_records(before + 100, DEADLINE)
        .await
        .unwrap();

    // The other side's cleaner too, and the same without a look into equal batches.
    alter(destination, TABLE, "min.compaction.lag.ms", "0").await;
    wait_cleaned(destination).await;
    let view = verify(&lockgate, json!({ "topic": TABLE })).await;
    assert_equal(&view);
    let view = verify(&lockgate, json!({ "route": ROUTE, "fast": true })).await;
    assert_eq!(
        (&view["outcome"], &view["differences"]),
        (&json!("equal"), &json!(0))
    );
    assert!(view["records"].as_i64() > Some(5_000), "{view:#}");
    traffic.stop().await.unwrap();
    going_on(&lockgate).await;
}

/// A verification that is cancelled names what is left, and goes on from there.
async fn going_on(lockgate: &Lockgate) {
    let api = lockgate.api();
    let body = json!({ "topic": MIXED, "max_bytes_per_second": 60_000, "parallel": 1 });
    let id = begin(lockgate, &body).await;
    let path = format!("/v1/operations/{id}");
    let underway =
        |view: &Value| view["partitions_done"].as_i64() > Some(0) && view["state"] == "running";
    api.wait_until(&path, DEADLINE, underway).await.unwrap();
    let second = api
        .post("/v1/verify", &json!({ "topic": MIXED }))
        .await
        .unwrap();
    assert_eq!(second.status.as_u16(), 409, "{second:?}");
    let cancelled = lockgate.cli(&["verify", "--cancel", &id]).await.unwrap();
    assert!(cancelled.status.success(), "{cancelled:?}");
    let view = api.wait_operation(&id, DEADLINE).await.unwrap();
    assert_eq!(
        (&view["state"], &view["outcome"]),
        (&json!("failed"), &Value::Null)
    );
    let left = view["left"].as_array().unwrap();
    let done = view["partitions_done"].as_u64().unwrap() as usize;
    assert!(done > 0 && left.len() == 5 - done, "{view:#}");
    assert_equal(&verify(lockgate, json!({ "resume": id })).await);
    let rest = verify(lockgate, json!({ "partitions": left })).await;
    assert_equal(&rest);
    assert_eq!(rest["partitions_total"], 5 - done);
}

/// One batch of the forged topic; somebody changed a record of it, or nobody did.
fn forged(codec: Codec, changed: bool, written: i64) -> Bytes {
    let values: Vec<String> = (0..FORGED_RECORDS)
        .map(|number| format!("value {number}"))
        .collect();
    let headers = [Some(&b"1"[..]), None].map(|value| RecordHeader {
        key: "twice",
        value,
    });
    let mut records: Vec<NewRecord<'_>> = (0..)
        .zip(&values)
        .map(|(at, value)| NewRecord {
            timestamp: written + at,
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &headers,
        })
        .collect();
    if changed {
        records[CHANGED].value = Some(b"value 57 ");
    }
    let spec = BatchSpec {
        codec,
        ..BatchSpec::default()
    };
    batch(&records, spec).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_difference_is_found_and_named() {
    let estate = Estate::begin().await;
    let (source, destination) = (&estate.pair.source, &estate.pair.destination);
    estate.topic("orders", 2, 600, &[]).await;
    // Copied past Lockgate, which leaves such a topic alone: the same records in other batches, but for one.
    // Retention must leave them alone.
    let written = now_ms();
    for (topic, changed) in [("twin", false), (FORGED, true)] {
        for (cluster, codec) in [(source, Codec::Lz4), (destination, Codec::Zstd)] {
            let admin = cluster.admin();
            admin.create_topic(topic, 1, 2, &[]).await.unwrap();
            let changed = changed && codec == Codec::Zstd;
            let mut writer = Writer::new(&admin, topic, 0).await;
            writer.write(forged(codec, changed, written)).await;
        }
    }
    let lockgate = estate.lockgate(&["orders"]);
    lockgate.wait_ready().await.unwrap();
    estate.wait_equal_ranges("orders").await;

    let view = verify(&lockgate, json!({ "topic": "twin" })).await;
    assert_equal(&view);
    assert_eq!(view["records"], FORGED_RECORDS, "{view:#}");
    let view = verify(&lockgate, json!({ "topic": FORGED })).await;
    let first = &view["first_difference"];
    assert_eq!(
        (&view["outcome"], &view["differences"]),
        (&json!("differs"), &json!(1)),
        "{view:#}"
    );
    assert_eq!(
        (&first["offset"], &first["what"]),
        (&json!(CHANGED), &json!(["value"]))
    );
    assert_eq!(first["source"]["key"], first["destination"]["key"]);
    assert_ne!(first["source"]["value"], first["destination"]["value"]);
    let partition = &view["partitions"][0];
    assert_eq!(partition["equal_to"], CHANGED);
    assert_ne!(partition["source_digest"], partition["destination_digest"]);
    let around = json!({ "topic": FORGED, "partition": 0, "from": CHANGED + 1, "to": 150 });
    assert_equal(&verify(&lockgate, around).await);

    // A record that somebody wrote behind Lockgate's back, and a destination that has what its home has not.
    assert_equal(&verify(&lockgate, json!({ "route": ROUTE })).await);
    let end = destination
        .admin()
        .log_range("orders", 1)
        .await
        .unwrap()
        .end;
    let mut writer = Writer::new(&destination.admin(), "orders", 1).await;
    writer.write_small(1).await;
    let view = verify(&lockgate, json!({ "route": ROUTE })).await;
    let first = &view["first_difference"];
    assert_eq!(view["outcome"], "differs", "{view:#}");
    assert_eq!(
        (&first["partition"], &first["offset"]),
        (&json!(1), &json!(end))
    );
    assert_eq!(first["missing_at"], "source");
    by_command_line(&lockgate).await;
}

/// What an operator sees, and the exit codes.
async fn by_command_line(lockgate: &Lockgate) {
    let run = async |arguments: &[&str]| {
        let output = lockgate.cli(arguments).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        (output.status.code(), out, err)
    };
    let (code, out, err) = run(&["verify", "--topic", "twin", "--wait"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("equal: 200 records of 1 partition,"), "{out}");
    let (code, out, err) = run(&["verify", "--topic", FORGED, "--wait"]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("forged-0 offset 57 differs in value"), "{err}");
    let (code, out, _) = run(&["verify", "--topic", FORGED, "--wait", "--json"]).await;
    let view: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &view["outcome"]), (Some(1), &json!("differs")));
    let (code, _, err) = run(&["verify", "--topic", "nowhere"]).await;
    assert!(code == Some(2) && err.contains("nowhere"), "{err}");
    let (code, _, err) = run(&["verify", "--topic", "__consumer_offsets"]).await;
    assert!(code == Some(3) && err.contains("own"), "{err}");
}
