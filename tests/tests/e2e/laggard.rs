//! A member that does not answer within the bound undoes its group's move: the others go on at once, nobody loses
//! partitions, and the next try succeeds.

use lockgate_tests::process::Signal;

use crate::fixture::{DEADLINE, Play, ROUTE};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_sleeps_undoes_the_move_of_its_group() {
    let mut play = Play::begin().await;
    let java = play.java();
    play.producer(&java, "java-idempotent", true);
    play.consumer(&java, "java-1", "java");
    play.consumer(&java, "java-2", "java");
    play.all_at_work().await;

    let asleep = play.consumers[1].process();
    asleep.signal(Signal::Stop);
    let operation = play
        .lockgate
        .api()
        .flip(ROUTE, "groups", DEADLINE)
        .await
        .unwrap();
    assert_ne!(operation["state"], "done", "{operation:#}");
    assert!(operation["reason"].is_string(), "{operation:#}");
    let before = play.consumers[0].records();
    play.consumers[0]
        .wait_for_records(before + 200, DEADLINE)
        .await
        .unwrap();
    asleep.signal(Signal::Continue);

    let before = play.consumers[1].records();
    play.consumers[1]
        .wait_for_records(before + 200, DEADLINE)
        .await
        .unwrap();
    play.flip("groups").await;
    play.flip("producers").await;
    play.go_on(500).await;
    play.end().await;
}
