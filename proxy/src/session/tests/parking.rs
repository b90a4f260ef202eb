//! The fence: Produce is parked, then goes to its home in order; nothing is lost and nothing sent twice.

use std::time::Duration;

use super::world::{PARKED_MAX, World, values};
use super::{HANDLED, PASS};
use crate::route::Drained;
use crate::words::Side;

const MOMENT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn parked_requests_go_to_the_new_home_in_order() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.produce(1, -1, "t").await;
    assert_eq!(client.produced().await, (1, vec![0], 0));
    let drain = world.fence();
    for id in 2..6 {
        client.produce(id, -1, "t").await;
    }
    client.send(HANDLED, 0, 6, b"").await;
    client.hears_nothing(MOMENT).await;
    assert_eq!(drain.drained(MOMENT).await, Some(Drained::Answered));
    // Another route goes on meanwhile.
    let mut other = world.connect(Side::Source).await;
    other.produce(1, -1, "u").await;
    assert_eq!(other.produced().await.0, 1);
    world.open(Side::Destination);
    for id in 2..6 {
        assert_eq!(client.produced().await, (id, vec![0], 0));
    }
    assert_eq!(client.answer(HANDLED, 0).await.correlation_id, 6);
    assert_eq!(values(&world.destination), [2, 3, 4, 5]);
    assert_eq!(values(&world.source), [1, 1]);
}

#[tokio::test]
async fn a_lifted_fence_sends_parked_requests_where_they_were_going() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    world.fence();
    client.produce(1, -1, "t").await;
    client.hears_nothing(MOMENT).await;
    world.open(Side::Source);
    assert_eq!(client.produced().await.0, 1);
    assert_eq!(values(&world.source), [1]);
}

#[tokio::test]
async fn nothing_is_parked_for_ever() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    world.fence();
    client.produce(1, -1, "t").await;
    client.produce(2, -1, "t").await;
    client.hears_nothing(PARKED_MAX / 2).await;
    client.is_closed().await;
    world.open(Side::Destination);
    tokio::time::sleep(MOMENT).await;
    assert!(values(&world.source).is_empty() && values(&world.destination).is_empty());
}

#[tokio::test]
async fn a_parked_request_whose_client_leaves_is_sent_only_with_acks_0() {
    let world = World::start().await;
    let (mut leaves, mut fires) = (
        world.connect(Side::Source).await,
        world.connect(Side::Source).await,
    );
    world.fence();
    leaves.produce(1, -1, "t").await;
    for id in 2..5 {
        fires.produce(id, 0, "t").await;
    }
    tokio::time::sleep(MOMENT).await;
    drop((leaves, fires));
    tokio::time::sleep(MOMENT).await;
    world.open(Side::Destination);
    world.destination.until_seen(0, 3).await;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(values(&world.destination), [2, 3, 4]);
    assert!(values(&world.source).is_empty());
}

#[tokio::test]
async fn a_fence_waits_for_what_a_broker_still_owes() {
    use super::broker::{Say, written};
    let world = World::start().await;
    world
        .source
        .script(|seen| (seen.api_key == 0).then(|| Say::Late(MOMENT * 4, written(seen, 0))));
    let mut client = world.connect(Side::Source).await;
    client.produce(1, -1, "t").await;
    world.source.until_seen(0, 1).await;
    let drain = world.fence();
    assert_eq!(drain.drained(MOMENT).await, None);
    // The client's leaving does not close the upstream before the answer is there.
    drop(client);
    assert_eq!(drain.drained(MOMENT * 20).await, Some(Drained::Answered));
}

#[tokio::test]
async fn a_lost_answer_is_told_to_the_drain() {
    use super::broker::Say;
    let world = World::start().await;
    world
        .source
        .script(|seen| (seen.api_key == 0).then_some(Say::Nothing));
    let mut client = world.connect(Side::Source).await;
    client.produce(1, -1, "t").await;
    world.source.until_seen(0, 1).await;
    let drain = world.fence();
    world.source.kill();
    client.is_closed().await;
    let drained = drain.drained(MOMENT * 20).await;
    assert!(matches!(drained, Some(Drained::WithLosses { .. })));
}

#[tokio::test]
async fn sessions_that_hold_up_a_fence_are_closed_and_no_others() {
    use super::broker::Say;
    const UNREAD: usize = 32 << 20;
    let world = World::start().await;
    world.source.script(|seen| match seen.api_key {
        PASS => Some(Say::Body(vec![0; UNREAD].into())),
        0 if seen.body.windows(3).any(|name| name == b"\0\x01u") => Some(Say::Nothing),
        _ => None,
    });
    let (mut stopped, mut other) = (
        world.connect(Side::Source).await,
        world.connect(Side::Source).await,
    );
    // Its Produce comes behind an answer that the client does not read.
    stopped.send(PASS, 1, 1, b"x").await;
    stopped.produce(2, -1, "t").await;
    tokio::time::sleep(MOMENT).await;
    let drain = world.fence();
    // Under the new snapshot: no part of what is waited for.
    other.produce(3, -1, "u").await;
    world.source.until_seen(0, 1).await;
    assert_eq!(drain.drained(MOMENT).await, None);
    let drained = world.clients.drained(&drain, MOMENT).await;
    assert!(matches!(drained, Some(Drained::WithLosses { .. })));
    other.hears_nothing(MOMENT).await;
    let drain = world.fence();
    let drained = world.clients.drained(&drain, MOMENT).await;
    assert!(matches!(drained, Some(Drained::WithLosses { .. })));
    other.is_closed().await;
}

#[tokio::test]
async fn a_new_connection_waits_for_the_requests_of_the_old_one() {
    use super::broker::{Say, written};
    let world = World::start().await;
    let mut old = world.connect(Side::Source).await;
    let mut new = world.connect(Side::Destination).await;
    new.send(PASS, 1, 1, b"x").await;
    new.answer(PASS, 1).await;
    world.fence();
    for id in 1..4 {
        old.produce(id, -1, "t").await;
    }
    old.hears_nothing(MOMENT).await;
    world
        .destination
        .script(|seen| (seen.api_key == 0).then(|| Say::Late(MOMENT, written(seen, 0))));
    world.open(Side::Destination);
    // Requests 2 and 3 are still queued behind the first when this one comes.
    new.produce(4, -1, "t").await;
    assert_eq!(new.produced().await.0, 4);
    assert_eq!(values(&world.destination), [1, 2, 3, 4]);
    for id in 1..4 {
        assert_eq!(old.produced().await.0, id);
    }
}

#[tokio::test]
async fn a_client_waits_for_its_own_order_only_within_a_route() {
    let world = World::start().await;
    world.open(Side::Destination);
    let mut here = world.connect(Side::Source).await;
    let mut there = world.connect(Side::Destination).await;
    world.fence();
    there.produce(1, -1, "t").await;
    there.hears_nothing(MOMENT).await;
    // Another route is not held up by it, and the two do not come to wait for each other.
    here.produce(2, -1, "u").await;
    let answered = tokio::time::timeout(PARKED_MAX / 2, here.produced()).await;
    assert_eq!(answered.map(|answer| answer.0), Ok(2));
    world.open(Side::Destination);
    assert_eq!(there.produced().await.0, 1);
}
