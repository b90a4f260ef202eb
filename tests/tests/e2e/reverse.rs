//! The way back: after a flip the source is the copy, at the same offsets, with the settings of a copy; groups that
//! have not moved go on there; and the producers can return.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::estate::setting;
use crate::fixture::{DEADLINE, PARTITIONS, Play, ROUTE, TOPIC};

/// How soon a log start is to follow.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
/// Records of a partition that are deleted.
const DELETED: i64 = 40;

/// Moves the producers in one direction and insists on success.
async fn move_producers(play: &Play, to: &str) {
    let api = play.lockgate.api();
    let operation = api.flip_to(ROUTE, "producers", to, DEADLINE).await.unwrap();
    assert_eq!(operation["state"], "done", "{operation:#}");
}

/// Waits until every link of the topic copies from this home.
async fn wait_copied_from(play: &Play, home: &str) {
    let copying = |links: &Value| {
        let links = links.as_array().into_iter().flatten();
        let ours = links.filter(|link| {
            link["topic"] == TOPIC && link["home"] == home && link["state"] == "copying"
        });
        ours.count() == PARTITIONS as usize
    };
    play.lockgate
        .api()
        .wait_until("/v1/links", DEADLINE, copying)
        .await
        .unwrap();
}

async fn route(play: &Play) -> Value {
    play.lockgate
        .api()
        .fetch(&format!("/v1/routes/{ROUTE}"))
        .await
        .unwrap()
}

/// Deletes records at the home, and waits until the copy starts there too.
async fn delete_and_follow(play: &Play) {
    let admin = play.pair.destination.admin();
    let start = admin.log_range(TOPIC, 0).await.unwrap().start;
    admin
        .delete_records(TOPIC, 0, start + DELETED)
        .await
        .unwrap();
    let end = Instant::now() + FOLLOWS_WITHIN;
    loop {
        let copy = play.pair.source.admin().log_range(TOPIC, 0).await.unwrap();
        if copy.start == start + DELETED {
            return;
        }
        assert!(Instant::now() < end, "{copy:?}");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_cross_before_their_groups_and_come_back() {
    let mut play = Play::begin().await;
    play.usual_clients().await;
    move_producers(&play, "destination").await;
    wait_copied_from(&play, "destination").await;
    play.go_on(500).await;
    let now = route(&play).await;
    assert_eq!(now["home"], "destination");
    assert_eq!(now["rollback"]["possible"], true, "{now:#}");
    let homes = now["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["home"]);
    assert!(homes.eq(["source", "source"]), "{now:#}");
    let (source, destination) = (&play.pair.source, &play.pair.destination);
    assert_eq!(setting(source, TOPIC, "retention.ms").await, "-1");
    assert_ne!(setting(destination, TOPIC, "retention.ms").await, "-1");
    for group in play.groups() {
        play.read_down_to(&group, 1_000).await;
    }
    delete_and_follow(&play).await;

    // Groups follow whenever they like.
    play.flip("groups").await;
    play.go_on(500).await;
    move_producers(&play, "source").await;
    wait_copied_from(&play, "source").await;
    play.go_on(500).await;
    let (source, destination) = (&play.pair.source, &play.pair.destination);
    assert_ne!(setting(source, TOPIC, "retention.ms").await, "-1");
    assert_eq!(setting(destination, TOPIC, "retention.ms").await, "-1");
    assert_eq!(route(&play).await["home"], "source");
    play.stop_clients().await;
    play.wait_level().await;
    play.compare_logs().await;
    // What was deleted is missing in the log, and nothing else is.
    let mut found = play.findings().await.total;
    assert_eq!(found.lost, DELETED as u64, "{found:?}");
    found.lost = 0;
    assert!(found.is_clean(), "{found:?}");
}
