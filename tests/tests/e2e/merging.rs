//! Small batches are copied many at a time, whoever dies meanwhile; and no faster than Lockgate was told.

use std::time::{Duration, Instant};

use crate::estate::{Estate, Writer, kill_and_restart, links, wait_links};
use crate::fixture::DEADLINE;

/// Batches of a few records: one round trip each would take minutes.
const BATCHES: i64 = 6_000;
/// Under this limit the topic takes longer than any test.
const SLOW_BYTES_PER_S: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn small_batches_are_copied_many_at_a_time_while_lockgate_is_killed() {
    let estate = Estate::begin().await;
    estate.topic("crumbs", 1, 0, &[]).await;
    let admin = estate.pair.source.admin();
    let mut writer = Writer::new(&admin, "crumbs", 0).await;
    writer.write_plain(BATCHES).await;
    let lockgate = estate.lockgate(&["crumbs"]);
    lockgate.wait_ready().await.unwrap();
    wait_links(&lockgate, "crumbs", |links| {
        links
            .iter()
            .any(|link| link["next_offset"].as_i64() > Some(100))
    })
    .await;
    kill_and_restart(&lockgate).await;
    let written = estate.assert_crossed("crumbs").await;
    assert_eq!(written.by_its_clients, BATCHES as usize / 1_000);
    let (others, copies) = (written.by_others, written.copies_of_others);
    assert!(copies * 10 < others, "{others} batches became {copies}");

    // The last batch is a merged one now, and the next start compares it with what it was made of.
    kill_and_restart(&lockgate).await;
    writer.write_plain(10).await;
    estate.assert_crossed("crumbs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copying_is_no_faster_than_lockgate_was_told() {
    let estate = Estate::begin().await;
    estate.topic("heavy", 2, 60_000, &[]).await;
    let further = format!("\n[replication]\nbytes_per_s_max = {SLOW_BYTES_PER_S}\n");
    let lockgate = estate.lockgate_with(&["heavy"], &further);
    lockgate.wait_ready().await.unwrap();
    wait_links(&lockgate, "heavy", |links| {
        links
            .iter()
            .any(|link| link["next_offset"].as_i64() > Some(0))
    })
    .await;
    let began = Instant::now();
    let copied = || async {
        let links = links(&lockgate).await;
        let ours = links.iter().filter(|link| link["topic"] == "heavy");
        ours.filter_map(|link| link["next_offset"].as_i64())
            .sum::<i64>()
    };
    let first = copied().await;
    while copied().await == first {
        assert!(began.elapsed() < DEADLINE, "nothing more is copied");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(copied().await < 60_000, "the limit is not kept");
    let path = "/v1/replication";
    let wrong = serde_json::json!({ "bytes_per_s_max": 0 });
    let refused = lockgate.api().post(path, &wrong).await.unwrap();
    assert_eq!(refused.status.as_u16(), 400, "{refused:?}");
    let limits = lockgate.api().fetch(path).await.unwrap();
    assert_eq!(limits["bytes_per_s_max"], SLOW_BYTES_PER_S);
    let none = serde_json::json!({});
    let lifted = lockgate.api().post(path, &none).await.unwrap();
    assert!(lifted.status.is_success(), "{lifted:?}");
    estate.assert_crossed("heavy").await;
}
