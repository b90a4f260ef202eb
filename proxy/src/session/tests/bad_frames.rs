//! Hostile bytes end their own connection and nothing else.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::client::frame;
use super::world::World;
use super::{HANDLED, PASS};
use crate::words::Side;

#[tokio::test]
async fn bad_frames_close_their_connection_and_nobody_else_notices() {
    let world = World::start().await;
    let mut good = world.connect(Side::Source).await;
    let garbage: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 64],
        // 2 GiB.
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        // Too small for a header.
        &[0, 0, 0, 3, 0, 0, 0],
        // API 500.
        &[0, 0, 0, 10, 1, 0xf4, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        // A client id longer than its frame.
        &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff],
        // Half a TLS handshake.
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01],
    ];
    for bytes in garbage {
        let mut bad = world.connect(Side::Source).await;
        bad.socket.write_all(bytes).await.unwrap();
        bad.is_closed().await;
    }
    // A hostile body: more partitions than there are bytes.
    let mut bad = world.connect(Side::Source).await;
    bad.send(
        0,
        8,
        1,
        &[0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff],
    )
    .await;
    bad.is_closed().await;
    good.send(PASS, 1, 1, b"x").await;
    assert_eq!(good.answer(PASS, 1).await.correlation_id, 1);
    assert!(world.source.seen(0).is_empty());
}

#[tokio::test]
async fn a_slow_frame_is_waited_for_byte_by_byte() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.socket.set_nodelay(true).unwrap();
    for byte in frame(HANDLED, 0, 7, b"slow") {
        client.socket.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.answer(HANDLED, 0).await.correlation_id, 7);
}

#[tokio::test]
async fn what_came_before_a_bad_frame_is_still_written() {
    use super::client::produce_body;
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    let mut bytes = frame(
        0,
        8,
        1,
        &produce_body(8, 0, &[("t", 0)], None, &[0, 0, 0, 1]),
    );
    bytes.extend_from_slice(&[0xff; 64]);
    client.socket.write_all(&bytes).await.unwrap();
    client.is_closed().await;
    assert_eq!(super::world::values(&world.source), [1]);
    let drained = world.fence().drained(Duration::from_secs(1)).await;
    assert_eq!(drained, Some(crate::route::Drained::Answered));
}

#[tokio::test]
async fn a_version_that_nobody_speaks_is_refused() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.send(PASS, 99, 1, b"x").await;
    client.is_closed().await;
    let mut client = world.connect(Side::Source).await;
    client.send(HANDLED, 99, 1, b"x").await;
    let answer = client.answer(HANDLED, 99).await;
    assert_eq!(
        (answer.correlation_id, &answer.body[..2]),
        (1, &[0, 35][..])
    );
}
