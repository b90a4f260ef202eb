//! The answer to an idempotent Produce is swallowed and its connection cut at the fence: after Open the client sends
//! the batch again, and the destination's own producer state answers with the offset of the first copy.

use lockgate_tests::clients::Software;
use lockgate_tests::kafka::ClusterSpec;

use crate::fixture::{DEADLINE, Play, RELAYED_HOST};

/// Kafka's API key of Produce.
const PRODUCE: i16 = 0;

async fn retry_gets_the_first_offset(software: impl FnOnce(&Play) -> Software) {
    let source = ClusterSpec {
        advertised_host: RELAYED_HOST.to_owned(),
        ..ClusterSpec::source()
    };
    let mut play = Play::begin_with(source, ClusterSpec::destination(), |_| {}).await;
    let (software, java) = (software(&play), play.java());
    play.producer(&software, "idempotent", true);
    play.consumer(&java, "java-1", "java");
    play.all_at_work().await;
    play.flip("groups").await;
    for relay in &play.relays {
        relay.swallow_next_answer(PRODUCE);
    }
    // The loss of a connection with a Produce unanswered makes the flip wait until the source's ends stand still.
    let flip = play.flip("producers").await;
    assert_eq!(flip["state"], "done", "{flip:#}");
    for relay in &play.relays {
        relay.wait_swallowed(1, DEADLINE).await.unwrap();
    }
    play.go_on(1_000).await;
    play.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn java() {
    retry_gets_the_first_offset(Play::java).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka() {
    retry_gets_the_first_offset(|_| Software::Librdkafka).await;
}
