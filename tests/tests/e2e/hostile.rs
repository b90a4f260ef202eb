//! Hostile bytes: that connection ends, a counter rises, nobody else notices.

use std::time::Duration;

use lockgate_tests::clients::Software;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{DEADLINE, Play};

/// Each with what it is: written to a fresh connection, which must then end.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let framed = |body: &[u8]| [&(body.len() as i32).to_be_bytes()[..], body].concat();
    let header = |key: i16, version: i16| {
        let mut header = Vec::new();
        header.extend_from_slice(&key.to_be_bytes());
        header.extend_from_slice(&version.to_be_bytes());
        header.extend_from_slice(&7_i32.to_be_bytes());
        header.extend_from_slice(&(-1_i16).to_be_bytes());
        header
    };
    let metadata = [&header(3, 1)[..], &i32::MAX.to_be_bytes()].concat();
    let fetch = [&header(1, 4)[..], &[0; 17], &i32::MAX.to_be_bytes()].concat();
    vec![
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a negative size", (-5_i32).to_be_bytes().to_vec()),
        ("a size of two gigabytes", i32::MAX.to_be_bytes().to_vec()),
        ("an unknown API", framed(&header(999, 0))),
        ("an array of two billion topics", framed(&metadata)),
        ("a Fetch of two billion topics", framed(&fetch)),
        ("a header that ends early", framed(&[0, 3])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_end_their_own_connection_alone() {
    let mut play = Play::begin().await;
    let java = play.java();
    play.producer(&Software::Librdkafka, "rd-idempotent", true);
    play.consumer(&java, "java-1", "java");
    play.all_at_work().await;
    for (name, bytes) in attacks() {
        let mut socket = TcpStream::connect(play.lockgate.bootstrap()).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{name}: the connection stays open");
    }
    let truncated = TcpStream::connect(play.lockgate.bootstrap()).await.unwrap();
    drop(truncated);
    play.go_on(500).await;
    let metrics = play.lockgate.api().fetch("/metrics").await.unwrap();
    let metrics = metrics.as_str().unwrap_or_default();
    let bad: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("lockgate_bad_frames_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!(bad >= 5.0, "{bad} bad frames were counted:\n{metrics}");
    play.lockgate.api().wait_until("/readyz", DEADLINE, |_| true).await.unwrap();
    play.stop_clients().await;
}
