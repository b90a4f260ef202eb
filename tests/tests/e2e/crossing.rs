//! The main job: a live workload moves, is committed, and goes on without its source.

use std::time::Duration;

use crate::fixture::{DEADLINE, Play, ROUTE};

/// Clients believe their metadata for ten seconds.
const METADATA_AGE: Duration = Duration::from_secs(11);

#[tokio::test(flavor = "multi_thread")]
async fn live_clients_cross_and_go_on_without_the_source() {
    let mut play = Play::begin().await;
    play.usual_clients().await;
    let moved = play.flip("groups").await;
    assert_eq!(moved["reason"], serde_json::Value::Null);
    play.go_on(500).await;
    play.flip("producers").await;
    play.go_on(500).await;
    for route in [ROUTE, "default"] {
        if route != ROUTE {
            let operation = play
                .lockgate
                .api()
                .flip(route, "all", DEADLINE)
                .await
                .unwrap();
            assert_eq!(operation["state"], "done", "{operation:#}");
        }
        let committed = play.lockgate.api().commit(route, DEADLINE).await.unwrap();
        assert_eq!(committed["state"], "done", "{committed:#}");
    }
    let end = std::time::Instant::now() + METADATA_AGE;
    while std::time::Instant::now() < end {
        play.go_on(100).await;
    }
    // Before the kill: a broker that dies forgets log starts that are younger than a minute (trap 13).
    play.compare_logs().await;
    play.pair.source.kill_brokers().await.unwrap();
    play.go_on(2_000).await;
    play.stop_clients().await;
    play.check_history().await;
}
