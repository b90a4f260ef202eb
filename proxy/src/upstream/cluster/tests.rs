//! A cluster's view against a broker that takes its time.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataResponse, TopicName};
use kafka_protocol::protocol::Encodable;
use lockgate_wire::header::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// How long an answer to Metadata takes.
const SLOW: Duration = Duration::from_millis(200);

/// Every Metadata is answered as things stood when it came: the n-th finds n topics.
async fn serve(mut socket: TcpStream, asked: Arc<AtomicUsize>) -> std::io::Result<()> {
    loop {
        let size = socket.read_i32().await?;
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        socket.read_exact(&mut frame).await?;
        let header = RequestHeader::peek(&frame).unwrap();
        let mut answer = BytesMut::new();
        answer.put_i32(header.correlation_id);
        if header.api_key == 18 {
            let keys = [(3, 0, 7), (18, 0, 3)].map(|(key, min, max)| {
                ApiVersion::default()
                    .with_api_key(key)
                    .with_min_version(min)
                    .with_max_version(max)
            });
            let body = ApiVersionsResponse::default().with_api_keys(keys.to_vec());
            body.encode(&mut answer, header.api_version).unwrap();
        } else {
            let topics = asked.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(SLOW).await;
            let topic = |n| {
                let name = StrBytes::from_string(format!("t{n}"));
                MetadataResponseTopic::default().with_name(Some(TopicName(name)))
            };
            let body =
                MetadataResponse::default().with_topics((0..topics).map(topic).collect::<Vec<_>>());
            body.encode(&mut answer, header.api_version).unwrap();
        }
        socket
            .write_i32(i32::try_from(answer.len()).unwrap())
            .await?;
        socket.write_all(&answer).await?;
    }
}

#[tokio::test]
async fn a_refresh_shows_what_was_there_when_it_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, counted.clone()));
        }
    });
    let bootstrap = BrokerAddress {
        host: address.ip().to_string(),
        port: address.port(),
    };
    let cluster = Cluster::new(Side::Source, vec![bootstrap]);
    let early = cluster.clone();
    let early = tokio::spawn(async move { early.refresh().await.unwrap().topics.len() });
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The broker has looked already. Whoever asks now must not be given that; but the two share one request.
    let (one, other) = tokio::join!(cluster.refresh(), cluster.refresh());
    let late = [one, other].map(|view| view.unwrap().topics.len());
    assert_eq!((early.await.unwrap(), late), (1, [2, 2]));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
