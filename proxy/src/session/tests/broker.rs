//! A broker that says what a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiVersionsResponse, BrokerId, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use lockgate_wire::header::{self, RequestHeader};
use lockgate_wire::produce::{self, PartitionResponse, ResponseWriter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A request as a broker saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) api_key: i16,
    pub(super) version: i16,
    pub(super) body: Bytes,
}

/// What a broker does with a request.
pub(super) enum Say {
    Body(Bytes),
    /// Answers after a while.
    Late(Duration, Bytes),
    /// Never answers.
    Nothing,
    Close,
}

type Script = Box<dyn FnMut(&Seen) -> Option<Say> + Send>;

#[derive(Clone)]
pub(super) struct Broker {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Script>>,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Broker {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(|_| None))),
            tasks: Arc::default(),
        };
        broker.accept(listener);
        broker
    }

    /// Listens again after [`Self::kill`].
    pub(super) async fn restart(&self) {
        self.accept(TcpListener::bind(("127.0.0.1", self.port)).await.unwrap());
    }

    fn accept(&self, listener: TcpListener) {
        let accepting = self.clone();
        let accept = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let task = tokio::spawn(accepting.clone().serve(socket));
                accepting.tasks.lock().unwrap().push(task.abort_handle());
            }
        });
        self.tasks.lock().unwrap().push(accept.abort_handle());
    }

    /// From now on asked first; `None` is the ordinary answer.
    pub(super) fn script(&self, script: impl FnMut(&Seen) -> Option<Say> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Closes every connection and the listener.
    pub(super) fn kill(&self) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }

    pub(super) fn seen(&self, api_key: i16) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|one| one.api_key == api_key)
            .cloned()
            .collect()
    }

    /// Waits until that many requests of an API have come.
    pub(super) async fn until_seen(&self, api_key: i16, count: usize) {
        for _ in 0..1000 {
            if self.seen(api_key).len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "broker saw {} of {count} requests",
            self.seen(api_key).len()
        );
    }

    async fn serve(self, mut socket: TcpStream) {
        while let Ok(size) = socket.read_i32().await {
            let mut frame = vec![0; size.try_into().unwrap()];
            if socket.read_exact(&mut frame).await.is_err() {
                return;
            }
            let frame = Bytes::from(frame);
            let head = RequestHeader::peek(&frame).unwrap();
            let seen = Seen {
                api_key: head.api_key,
                version: head.api_version,
                body: frame.slice(head.body..),
            };
            let said = (self.script.lock().unwrap())(&seen);
            if !(seen.api_key == 3 || seen.api_key == 18) {
                self.seen.lock().unwrap().push(seen.clone());
            }
            let body = match said {
                None => self.ordinary(&seen),
                Some(Say::Body(body)) => body,
                Some(Say::Late(pause, body)) => {
                    tokio::time::sleep(pause).await;
                    body
                }
                Some(Say::Nothing) => continue,
                Some(Say::Close) => return,
            };
            let mut out = BytesMut::new();
            out.put_i32(0);
            header::encode_response(seen.api_key, seen.version, head.correlation_id, &mut out)
                .unwrap();
            out.extend_from_slice(&body);
            let size = i32::try_from(out.len() - 4).unwrap();
            out[..4].copy_from_slice(&size.to_be_bytes());
            if socket.write_all(&out).await.is_err() {
                return;
            }
        }
    }

    fn ordinary(&self, seen: &Seen) -> Bytes {
        let mut out = BytesMut::new();
        match seen.api_key {
            18 => ApiVersionsResponse::default()
                .with_api_keys(
                    [(0, 3, 9), (1, 4, 12), (3, 1, 9), (18, 0, 3)]
                        .map(|(key, min, max)| {
                            ApiVersion::default()
                                .with_api_key(key)
                                .with_min_version(min)
                                .with_max_version(max)
                        })
                        .to_vec(),
                )
                .encode(&mut out, seen.version)
                .unwrap(),
            3 => self.metadata().encode(&mut out, seen.version).unwrap(),
            0 => return written(seen, 0),
            _ => out.extend_from_slice(&seen.body),
        }
        out.freeze()
    }

    /// Broker 1 is here and leads two partitions of every topic.
    fn metadata(&self) -> MetadataResponse {
        let partitions = [0, 1].map(|index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(1))
        });
        let topic = |name| {
            MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_static_str(name))))
                .with_partitions(partitions.to_vec())
        };
        MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(1))
                    .with_host(StrBytes::from_static_str("127.0.0.1"))
                    .with_port(self.port.into()),
            ])
            .with_topics(["t", "u"].map(topic).to_vec())
    }
}

/// The answer to a Produce: one error code for all partitions, offset 7.
pub(super) fn written(seen: &Seen, error_code: i16) -> Bytes {
    let mut request = produce::Request::default();
    request.walk(seen.version, &seen.body).unwrap();
    let mut out = BytesMut::new();
    let mut writer = ResponseWriter::new(&mut out, seen.version, request.partitions.len()).unwrap();
    for partition in &request.partitions {
        let answer = PartitionResponse {
            topic: 0..0,
            index: partition.index,
            error_code,
            base_offset: if error_code == 0 { 7 } else { -1 },
            log_append_time_ms: -1,
            log_start_offset: 0,
        };
        writer
            .topic(partition.topic(&seen.body), std::iter::once(&answer))
            .unwrap();
    }
    writer.finish(0);
    out.freeze()
}
