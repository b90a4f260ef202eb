//! Nothing is held whole that need not be, and nobody can make Lockgate hold more.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::PASS;
use super::broker::Say;
use super::client::frame;
use super::world::World;
use crate::words::Side;

#[tokio::test]
async fn a_body_of_20_mib_passes_both_ways() {
    let world = World::start().await;
    let client = world.connect(Side::Source).await;
    let body: Vec<u8> = (0..20u32 << 20).map(|at| (at % 251) as u8).collect();
    let sent = frame(PASS, 1, 9, &body);
    let (read, mut write) = client.socket.into_split();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write
    });
    let mut read = tokio::io::BufReader::new(read);
    let size = tokio::io::AsyncReadExt::read_i32(&mut read).await.unwrap();
    let mut echo = vec![0; size.try_into().unwrap()];
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut echo)
        .await
        .unwrap();
    assert!(echo[4..] == body);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_broker_and_itself() {
    const EACH: usize = 1 << 20;
    let world = World::start().await;
    let answer = bytes::Bytes::from(vec![7; EACH]);
    world
        .source
        .script(move |seen| (seen.api_key == PASS).then(|| Say::Body(answer.clone())));
    let mut client = world.connect(Side::Source).await;
    // More requests than slots, and more answers than all sockets' buffers take.
    let flood = async {
        for id in 0..2_000 {
            client.send(PASS, 1, id, &[0; 20_000]).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(2), flood)
            .await
            .is_err()
    );
    let asked = world.source.seen(PASS).len();
    assert!(
        asked < 300,
        "the broker was asked {asked} times for what nobody reads"
    );
}
