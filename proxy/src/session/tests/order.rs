//! Answers leave in the order of the requests, whoever gives them.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::broker::Say;
use super::client::frame;
use super::world::World;
use super::{ASKS_OWN, HANDLED, PASS, UNTIL_QUEUED};
use crate::words::Side;

#[tokio::test]
async fn mixed_answers_leave_in_order() {
    let world = World::start().await;
    let slow = |seen: &super::broker::Seen| {
        let pause = Duration::from_millis(50);
        (seen.api_key == PASS).then(|| Say::Late(pause, seen.body.clone()))
    };
    world.source.script(slow);
    let mut client = world.connect(Side::Source).await;
    let mut all = frame(PASS, 1, 1, b"one");
    all.extend_from_slice(&frame(HANDLED, 0, 2, b""));
    all.extend_from_slice(&frame(PASS, 2, 3, b"three"));
    all.extend_from_slice(&frame(ASKS_OWN, 0, 4, b""));
    all.extend_from_slice(&frame(PASS, 1, 5, b"five"));
    client.socket.write_all(&all).await.unwrap();
    for (key, id, body) in [
        (PASS, 1, "one"),
        (HANDLED, 2, "handled"),
        (PASS, 3, "three"),
        (ASKS_OWN, 4, "asked"),
        (PASS, 5, "five"),
    ] {
        let answer = client.answer(key, 0).await;
        assert_eq!(
            (answer.correlation_id, &answer.body[..]),
            (id, body.as_bytes())
        );
    }
}

#[tokio::test]
async fn a_handler_learns_that_a_request_waits_behind_it() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.send(UNTIL_QUEUED, 0, 1, b"").await;
    client.hears_nothing(Duration::from_millis(50)).await;
    client.send(PASS, 1, 2, b"x").await;
    assert_eq!(&client.answer(UNTIL_QUEUED, 0).await.body[..], b"queued");
    assert_eq!(client.answer(PASS, 1).await.correlation_id, 2);
    // The next one does not remember the nudge of the last.
    client.send(UNTIL_QUEUED, 0, 3, b"").await;
    client.hears_nothing(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn acks_0_is_sent_as_acks_1_and_its_answer_swallowed() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.produce(1, 0, "t").await;
    client.produce(2, 1, "t").await;
    assert_eq!(client.produced().await, (2, vec![0], 0));
    let mut request = lockgate_wire::produce::Request::default();
    request.walk(8, &world.source.seen(0)[0].body).unwrap();
    assert_eq!(request.acks, 1);
    // An error cannot be told otherwise than by closing, as a broker does.
    world
        .source
        .script(|seen| (seen.api_key == 0).then(|| Say::Body(super::broker::written(seen, 3))));
    client.produce(3, 0, "t").await;
    client.is_closed().await;
}

#[tokio::test]
async fn a_broker_that_goes_takes_the_connection_only_with_answers_outstanding() {
    let world = World::start().await;
    let mut idle = world.connect(Side::Source).await;
    let mut waiting = world.connect(Side::Source).await;
    for client in [&mut idle, &mut waiting] {
        client.send(PASS, 1, 1, b"x").await;
        client.answer(PASS, 1).await;
    }
    world
        .source
        .script(|seen| (seen.api_key == PASS).then_some(Say::Nothing));
    waiting.send(PASS, 1, 2, b"x").await;
    world.source.until_seen(PASS, 3).await;
    world.source.kill();
    waiting.is_closed().await;
    idle.send(HANDLED, 0, 2, b"").await;
    assert_eq!(&idle.answer(HANDLED, 0).await.body[..], b"handled");
    idle.send(ASKS_OWN, 0, 3, b"").await;
    assert_eq!(&idle.answer(ASKS_OWN, 0).await.body[..], b"no broker");
    idle.send(PASS, 1, 4, b"x").await;
    idle.is_closed().await;
}

#[tokio::test]
async fn a_broker_that_comes_back_serves_its_old_sessions() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.send(PASS, 1, 1, b"x").await;
    client.answer(PASS, 1).await;
    world.source.kill();
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    world.source.restart().await;
    client.send(PASS, 1, 2, b"y").await;
    let answer = client.answer(PASS, 1).await;
    assert_eq!((answer.correlation_id, &answer.body[..]), (2, &b"y"[..]));
}
