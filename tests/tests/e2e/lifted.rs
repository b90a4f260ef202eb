//! A fence that cannot end in time is lifted: nothing moves, nobody notices, and the next try succeeds.

use lockgate_tests::faults::Relay;
use lockgate_tests::kafka::ClusterSpec;

use crate::fixture::{DEADLINE, Play, RELAYED_HOST, ROUTE};

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_destination_lifts_the_fence() {
    let destination = ClusterSpec {
        advertised_host: RELAYED_HOST.to_owned(),
        ..ClusterSpec::destination()
    };
    let mut play = Play::begin_with(ClusterSpec::source(), destination, |_| {}).await;
    play.usual_clients().await;
    play.flip("groups").await;
    let path = format!("/v1/routes/{ROUTE}/flip");
    let started = play.lockgate.api().post(&path, &serde_json::json!({"move": "producers"}));
    let freeze = async {
        let fenced = |route: &serde_json::Value| route["phase"] == "fenced";
        let route = format!("/v1/routes/{ROUTE}");
        // A fence may be over before it is seen; then there is nothing to lift, and the test says so below.
        let _ = play.lockgate.api().wait_until(&route, std::time::Duration::from_secs(1), fenced).await;
    };
    play.relays.iter().for_each(|relay: &Relay| relay.freeze(true));
    let (answer, ()) = tokio::join!(started, freeze);
    let answer = answer.unwrap();
    if answer.status.is_success() {
        let id = answer.body["id"].as_str().or(answer.body["operation"].as_str()).unwrap().to_owned();
        let operation = play.lockgate.api().wait_operation(&id, DEADLINE).await.unwrap();
        assert_eq!(operation["state"], "lifted", "{operation:#}");
        assert!(operation["reason"].is_string(), "{operation:#}");
    } else {
        assert!(answer.body["error"].is_string(), "{answer:?}");
    }
    let route = play.lockgate.api().fetch(&format!("/v1/routes/{ROUTE}")).await.unwrap();
    assert_eq!(route["home"], "source", "{route:#}");
    play.relays.iter().for_each(|relay| relay.freeze(false));
    play.go_on(500).await;
    play.wait_level().await;
    play.flip("producers").await;
    play.go_on(500).await;
    play.end().await;
}
