//! How clients that never follow Metadata are moved.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::PASS;
use super::world::{ROUTE, World, values};
use crate::words::Side;

#[tokio::test]
async fn a_writer_of_a_committed_route_is_throttled_then_sent_away() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.produce(1, -1, "t").await;
    client.produced().await;
    world.open(Side::Destination);
    world
        .routes
        .update(|next| next.routes[ROUTE.0].committed = true);
    client.produce(2, -1, "t").await;
    client.produce(3, -1, "t").await;
    for id in [2, 3] {
        let (answered, codes, throttle_ms) = client.produced().await;
        assert_eq!((answered, codes), (id, vec![0]));
        assert!(throttle_ms >= 1_000);
    }
    // FIN, and never RST: what is sent after it is read and dropped.
    let mut byte = [0];
    assert_eq!(client.socket.read(&mut byte).await.unwrap(), 0);
    client.produce(4, -1, "t").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.socket.read(&mut byte).await.unwrap(), 0);
    assert_eq!(values(&world.destination), [2, 3]);
}

#[tokio::test]
async fn shutdown_lets_what_is_outstanding_finish() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    let mut idle = world.connect(Side::Source).await;
    world.source.script(|seen| {
        let pause = Duration::from_millis(100);
        (seen.api_key == PASS).then(|| super::broker::Say::Late(pause, seen.body.clone()))
    });
    client.send(PASS, 1, 1, b"x").await;
    world.source.until_seen(PASS, 1).await;
    world.path.close_sessions();
    idle.is_closed().await;
    assert_eq!(client.answer(PASS, 1).await.correlation_id, 1);
    client.is_closed().await;
}
