//! Policies as real components: one that waits for ever and one that traps move nothing, and the operator is told.

use std::time::{Duration, Instant};

use lockgate_tests::folders;
use lockgate_tests::kafka::ClusterSpec;
use lockgate_tests::lockgate::Config;

use crate::fixture::{DEADLINE, Play, ROUTE};

const WAIT: Duration = Duration::from_secs(30);

fn with_policy(name: &'static str) -> impl FnOnce(&mut Config) {
    move |config| {
        let path = folders::workspace().join(format!("target/policies/{name}.wasm"));
        assert!(path.is_file(), "{} is missing: run `cargo xtask policies`", path.display());
        config.routes[0].cutover_policy = Some(path);
    }
}

async fn moves_nothing(play: &Play, lasting: Duration) {
    let end = Instant::now() + lasting;
    while Instant::now() < end {
        let route = play.lockgate.api().fetch(&format!("/v1/routes/{ROUTE}")).await.unwrap();
        assert_eq!(route["home"], "source");
        let groups = route["groups"].as_array().unwrap();
        assert!(groups.iter().all(|group| group["home"] == "source"), "{route:#}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_always_waits_moves_nothing() {
    let (source, destination) = (ClusterSpec::source(), ClusterSpec::destination());
    let mut play = Play::begin_with(source, destination, with_policy("always-wait")).await;
    let java = play.java();
    play.producer(&java, "java-idempotent", true);
    play.consumer(&java, "java-1", "java");
    play.all_at_work().await;
    moves_nothing(&play, WAIT).await;
    let route = play.lockgate.api().fetch(&format!("/v1/routes/{ROUTE}")).await.unwrap();
    assert_eq!(route["policy"]["cutover"]["faults"], 0, "{route:#}");
    assert!(route["policy"]["cutover"]["last"]["proposal"].is_string(), "{route:#}");
    play.stop_clients().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_traps_moves_nothing_and_is_reported() {
    let (source, destination) = (ClusterSpec::source(), ClusterSpec::destination());
    let play = Play::begin_with(source, destination, with_policy("always-trap")).await;
    let reported = |route: &serde_json::Value| {
        route["policy"]["cutover"]["faults"].as_u64().is_some_and(|faults| faults > 0)
    };
    let path = format!("/v1/routes/{ROUTE}");
    play.lockgate.api().wait_until(&path, DEADLINE, reported).await.unwrap();
    moves_nothing(&play, Duration::from_secs(5)).await;
    let metrics = play.lockgate.api().fetch("/metrics").await.unwrap();
    let metrics = metrics.as_str().unwrap_or_default();
    assert!(metrics.contains("lockgate_policy_faults_total"), "{metrics}");
}
