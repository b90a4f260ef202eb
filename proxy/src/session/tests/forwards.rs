//! Produce that does not go to the session's own broker.

use lockgate_wire::produce::API_KEY;
use lockgate_wire::producer_id::ProducerId;

use super::broker::{Say, written};
use super::client::produce_body;
use super::world::{ROUTE, World, values};
use crate::words::Side;

#[tokio::test]
async fn one_request_of_two_homes_is_split_and_answered_as_one() {
    let world = World::start().await;
    world.open(Side::Destination);
    let mut client = world.connect(Side::Source).await;
    let parts = [("t", 0), ("t", 1), ("u", 1), ("__lockgate_state", 0)];
    let body = produce_body(8, -1, &parts, Some(ProducerId::client(5)), b"v");
    client.send(API_KEY, 8, 1, &body).await;
    assert_eq!(client.produced().await, (1, vec![0, 0, 0, 29], 0));
    assert_eq!(world.source.seen(0).len(), 1);
    assert_eq!(world.destination.seen(0).len(), 1);
}

#[tokio::test]
async fn refusals_that_pass_are_retried_in_order() {
    let world = World::start().await;
    world.open(Side::Destination);
    let mut refusals = 2;
    world.destination.script(move |seen| {
        refusals -= 1;
        (seen.api_key == 0 && refusals >= 0).then(|| Say::Body(written(seen, 6)))
    });
    let mut client = world.connect(Side::Source).await;
    client.produce(1, -1, "t").await;
    client.produce(2, -1, "t").await;
    assert_eq!(client.produced().await, (1, vec![0], 0));
    assert_eq!(client.produced().await, (2, vec![0], 0));
    let values = values(&world.destination);
    assert!(values.is_sorted() && values.len() > 2, "{values:?}");
}

#[tokio::test]
async fn a_lost_answer_is_sent_again_only_if_idempotent() {
    let world = World::start().await;
    world.open(Side::Destination);
    let lose_one = || {
        let mut lost = false;
        move |seen: &super::broker::Seen| {
            let lose = seen.api_key == 0 && !std::mem::replace(&mut lost, seen.api_key == 0);
            lose.then_some(Say::Close)
        }
    };
    world.destination.script(lose_one());
    let mut idempotent = world.connect(Side::Source).await;
    idempotent.produce(1, -1, "t").await;
    assert_eq!(idempotent.produced().await, (1, vec![0], 0));
    assert_eq!(values(&world.destination), [1, 1]);
    world.destination.script(lose_one());
    let mut plain = world.connect(Side::Source).await;
    let body = produce_body(8, -1, &[("t", 0)], None, &[0, 0, 0, 9]);
    plain.send(API_KEY, 8, 1, &body).await;
    plain.is_closed().await;
    assert_eq!(values(&world.destination), [1, 1, 9]);
}

#[tokio::test]
async fn without_its_broker_a_session_forwards() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.produce(1, -1, "t").await;
    client.produced().await;
    world.open(Side::Destination);
    world.source.kill();
    client.produce(2, -1, "t").await;
    assert_eq!(client.produced().await, (2, vec![0], 0));
    assert_eq!(values(&world.destination), [2]);
}

#[tokio::test]
async fn producer_ids_that_must_not_cross_are_refused_or_named() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    let own = produce_body(8, -1, &[("t", 0)], Some(ProducerId::own(1)), b"v");
    client.send(API_KEY, 8, 1, &own).await;
    assert_eq!(client.produced().await, (1, vec![49], 0));
    assert!(world.clients.foreign_producer_ids(ROUTE).is_empty());
    let foreign = produce_body(8, -1, &[("t", 0)], Some(ProducerId::new(4001)), b"v");
    client.send(API_KEY, 8, 2, &foreign).await;
    assert_eq!(client.produced().await, (2, vec![0], 0));
    assert_eq!(
        world.clients.foreign_producer_ids(ROUTE),
        ["127.0.0.1/app, id 4001"]
    );
    assert!(!world.clients.is_sticky(&world.client(), "t", Side::Source));
    let plain = produce_body(8, -1, &[("t", 0)], None, b"v");
    client.send(API_KEY, 8, 3, &plain).await;
    assert_eq!(client.produced().await, (3, vec![0], 0));
    assert!(world.clients.is_sticky(&world.client(), "t", Side::Source));
    assert_eq!(world.clients.writers(ROUTE, Side::Source).len(), 1);
    drop(client);
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if world.clients.writers(ROUTE, Side::Source).is_empty() {
            return;
        }
    }
    panic!("the client left and is still listed");
}

#[tokio::test]
async fn sessions_that_look_for_a_leader_at_once_share_a_refresh() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let world = World::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    world.destination.script({
        let asked = asked.clone();
        move |seen| {
            asked.fetch_add(usize::from(seen.api_key == 3), Ordering::SeqCst);
            None
        }
    });
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let cluster = world.path.clusters.destination.clone();
        waiting.spawn(async move { cluster.refresh().await.unwrap() });
    }
    waiting.join_all().await;
    // The first one's, and one that began after all the others had come.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
