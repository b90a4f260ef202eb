//! Answers to an idempotent producer are swallowed and their connections cut at the fence: after Open the client
//! sends its batches again, and the destination's own producer state answers with the offset of the first copy.

use lockgate_tests::clients::Software;
use lockgate_tests::faults::Relay;
use lockgate_tests::kafka::ClusterSpec;
use serde_json::Value;

use crate::fixture::{DEADLINE, Play, RELAYED_HOST, ROUTE};

/// Kafka's API key of Produce.
const PRODUCE: i16 = 0;
/// The producer; of a Java one it is the client id too.
const NAME: &str = "idempotent";

/// `client_id` is the producer's: Lockgate's own writes to the source are let through.
async fn retry_gets_the_first_offset(software: impl FnOnce(&Play) -> Software, client_id: &str) {
    let source = ClusterSpec {
        advertised_host: RELAYED_HOST.to_owned(),
        ..ClusterSpec::source()
    };
    let mut play = Play::begin_with(source, ClusterSpec::destination(), |_| {}).await;
    let (software, java) = (software(&play), play.java());
    play.producer(&software, NAME, true);
    play.consumer(&java, "java-1", "java");
    play.all_at_work().await;
    play.flip("groups").await;
    for relay in &play.relays {
        relay.hold_answers(PRODUCE, client_id);
    }
    // One broker is enough: a client that waits for one may send nothing to the other.
    tokio::select! {
        held = play.relays[0].wait_held(1, DEADLINE) => held.unwrap(),
        held = play.relays[1].wait_held(1, DEADLINE) => held.unwrap(),
    }
    // The fence cannot drain while the answers are held; the loss of their connections then makes the flip wait until
    // the source's ends stand still.
    let swallow = async {
        let fenced = |route: &Value| route["phase"] == "fenced";
        let path = format!("/v1/routes/{ROUTE}");
        let api = play.lockgate.api();
        api.wait_until(&path, DEADLINE, fenced).await.unwrap();
        play.relays.iter().for_each(Relay::swallow_held);
    };
    tokio::join!(play.flip("producers"), swallow);
    play.go_on(1_000).await;
    play.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java() {
    retry_gets_the_first_offset(Play::java, NAME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka() {
    retry_gets_the_first_offset(|_| Software::Librdkafka, "rdkafka").await;
}
