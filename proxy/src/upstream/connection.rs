//! One connection to one broker, for requests that Lockgate composes itself. Requests are written in call order
//! and answered in that order, so a caller that needs order keeps a connection of its own.
//!
//! Two tasks own the socket's halves; dropping the last handle ends both. A lost connection fails every waiting
//! caller with `Disconnected`, which says that the request may have been executed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lockgate_wire::header::{self, RequestHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::codec::{self, OwnRequest};
use super::versions::ApiRanges;
use super::view::BrokerAddress;
use crate::error::{Error, Kind, Result};
use crate::words::{Side, UpstreamNode};

/// How long a connection may take to come up, the version exchange included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an ordinary control request may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that may wait for the socket on one connection.
const QUEUE_MAX: usize = 256;
/// The largest answer that is believed: a Fetch of one partition returns at least one batch, however large.
const RESPONSE_BYTES_MAX: usize = 512 << 20;
/// The client id under which brokers see Lockgate.
pub(super) const CLIENT_ID: &str = "lockgate";

type Reply = oneshot::Sender<Result<Bytes>>;

/// A request whose body is already in the wire's form.
#[derive(Debug)]
pub struct RawRequest {
    /// Kafka's API key.
    pub api_key: i16,
    /// The body's version.
    pub version: i16,
    /// The client id for the broker's logs and quotas.
    pub client_id: Option<Arc<str>>,
    /// The body in pieces, so that records need not be copied.
    pub body: Vec<Bytes>,
}

struct Outgoing {
    request: RawRequest,
    reply: Reply,
}

#[derive(Debug, Clone, Copy)]
struct Expected {
    correlation_id: i32,
    api_key: i16,
    version: i16,
}

type Waiting = Arc<Mutex<VecDeque<(Expected, Reply)>>>;

/// A handle to one connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    side: Side,
    node: UpstreamNode,
    requests: mpsc::Sender<Outgoing>,
    closed: watch::Receiver<bool>,
    versions: Arc<ApiRanges>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.request.fmt(f)
    }
}

impl Connection {
    /// Connects to a broker and asks for its API versions.
    pub async fn open(side: Side, node: UpstreamNode, address: &BrokerAddress) -> Result<Self> {
        let opened =
            tokio::time::timeout(CONNECT_TIMEOUT, Self::open_unbounded(side, node, address));
        match opened.await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                side,
                Kind::TimedOut,
                format!("broker {address} did not accept a connection within {CONNECT_TIMEOUT:?}"),
            )),
        }
    }

    async fn open_unbounded(
        side: Side,
        node: UpstreamNode,
        address: &BrokerAddress,
    ) -> Result<Self> {
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|cause| {
                Error::new(
                    side,
                    Kind::Disconnected,
                    format!("cannot connect to broker {address}"),
                )
                .because(cause)
            })?;
        // Control requests are small and waited for; failing to switch Nagle off only costs latency.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let waiting = Waiting::default();
        let (requests, outgoing) = mpsc::channel(QUEUE_MAX);
        let (closing, closed) = watch::channel(false);
        let closing = Arc::new(closing);
        tokio::spawn(write_loop(
            side,
            write,
            outgoing,
            waiting.clone(),
            closing.clone(),
        ));
        tokio::spawn(read_loop(side, read, waiting, closing));
        let mut connection = Self {
            side,
            node,
            requests,
            closed,
            versions: Arc::new(ApiRanges::default()),
        };
        connection.versions = Arc::new(super::cluster::negotiate(&connection).await?);
        Ok(connection)
    }

    /// The broker's id in its cluster; -1 on a bootstrap connection.
    #[must_use]
    pub fn node(&self) -> UpstreamNode {
        self.node
    }

    /// The cluster that the broker belongs to.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the broker speaks.
    #[must_use]
    pub fn versions(&self) -> &ApiRanges {
        &self.versions
    }

    /// Whether the connection is known to be gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow() || self.requests.is_closed()
    }

    /// Sends a typed request in the highest usable version and waits for its answer.
    pub async fn call<R: OwnRequest>(&self, request: &R) -> Result<R::Response> {
        self.call_within(request, REQUEST_TIMEOUT).await
    }

    /// As [`Self::call`], with a deadline of the caller's.
    pub async fn call_within<R: OwnRequest>(
        &self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response> {
        let version = codec::choose_version::<R>(self.side, &self.versions)?;
        self.call_version(request, version, timeout).await
    }

    /// As [`Self::call_within`], in a version of the caller's choice.
    pub async fn call_version<R: OwnRequest>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<R::Response> {
        let body = codec::encode_request(request, version)?;
        let raw = RawRequest {
            api_key: R::KEY,
            version,
            client_id: Some(Arc::from(CLIENT_ID)),
            body: vec![body],
        };
        let answer = self.call_raw(raw, timeout).await?;
        codec::decode_response(self.side, R::KEY, version, answer)
    }

    /// Sends a request in the wire's form; the answer's body comes back without its header.
    pub async fn call_raw(&self, request: RawRequest, timeout: Duration) -> Result<Bytes> {
        let api = codec::api_name(request.api_key);
        // The queue too is waited for: behind a broker that does not read, it fills.
        let answer = async { Ok(self.send_raw(request).await?.await) };
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(Ok(result))) => result,
            Ok(Ok(Err(_))) => Err(self.lost()),
            Ok(Err(lost)) => Err(lost),
            Err(_) => Err(Error::new(
                self.side,
                Kind::TimedOut,
                format!(
                    "broker {} did not answer {api} within {timeout:?}",
                    self.node
                ),
            )),
        }
    }

    /// Queues a request; requests of one caller leave in the order of these calls. The receiver yields the answer's
    /// body.
    pub async fn send_raw(&self, request: RawRequest) -> Result<oneshot::Receiver<Result<Bytes>>> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Outgoing { request, reply })
            .await
            .map_err(|_| self.lost())?;
        Ok(answer)
    }

    fn lost(&self) -> Error {
        lost(
            self.side,
            format!("the connection to broker {} was lost", self.node),
        )
    }
}

fn lost(side: Side, what: impl Into<String>) -> Error {
    Error::new(side, Kind::Disconnected, what)
}

async fn write_loop(
    side: Side,
    mut socket: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<Outgoing>,
    waiting: Waiting,
    closing: Arc<watch::Sender<bool>>,
) {
    let mut correlation_id = 0_i32;
    let mut closed = closing.subscribe();
    loop {
        let next = tokio::select! {
            next = outgoing.recv() => next,
            _ = closed.wait_for(|closed| *closed) => None,
        };
        let Some(Outgoing { request, reply }) = next else {
            break;
        };
        correlation_id = correlation_id.wrapping_add(1);
        let expected = Expected {
            correlation_id,
            api_key: request.api_key,
            version: request.version,
        };
        // Registered before the first byte leaves, or the answer could overtake the registration.
        lock(&waiting).push_back((expected, reply));
        if write_request(&mut socket, &request, correlation_id)
            .await
            .is_err()
        {
            break;
        }
    }
    // Without anybody left to ask, what is still waiting is read to its end: the reader ends when the broker
    // closes, which it does on this half-close.
    let _ = socket.shutdown().await;
    if *closing.borrow() {
        fail_all(side, &waiting);
    }
}

async fn write_request(
    socket: &mut OwnedWriteHalf,
    request: &RawRequest,
    correlation_id: i32,
) -> std::io::Result<()> {
    let mut head = BytesMut::with_capacity(64);
    head.put_i32(0);
    let header = RequestHeader {
        api_key: request.api_key,
        api_version: request.version,
        correlation_id,
        client_id: request.client_id.as_deref(),
        body: 0,
    };
    header.encode(&mut head).map_err(std::io::Error::other)?;
    let length = head.len() - 4 + request.body.iter().map(Bytes::len).sum::<usize>();
    let length =
        i32::try_from(length).map_err(|_| std::io::Error::other("a request beyond 2 GiB"))?;
    head[..4].copy_from_slice(&length.to_be_bytes());
    let mut frame = head.freeze();
    if let [only] = request.body.as_slice()
        && only.len() < 4096
    {
        let mut whole = BytesMut::with_capacity(frame.len() + only.len());
        whole.extend_from_slice(&frame);
        whole.extend_from_slice(only);
        frame = whole.freeze();
        return socket.write_all(&frame).await;
    }
    let mut pieces: VecDeque<Bytes> = std::iter::once(frame)
        .chain(request.body.iter().cloned())
        .collect();
    write_all_vectored(socket, &mut pieces).await
}

/// Writes all pieces, as many in one system call as the kernel takes.
async fn write_all_vectored(
    socket: &mut OwnedWriteHalf,
    pieces: &mut VecDeque<Bytes>,
) -> std::io::Result<()> {
    const SLICES_MAX: usize = 64;
    while !pieces.is_empty() {
        let mut written = {
            let slices: Vec<std::io::IoSlice<'_>> = pieces
                .iter()
                .take(SLICES_MAX)
                .map(|piece| std::io::IoSlice::new(piece))
                .collect();
            socket.write_vectored(&slices).await?
        };
        if written == 0 && pieces.iter().any(|piece| !piece.is_empty()) {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = pieces.front_mut() {
            if front.len() <= written {
                written -= front.len();
                pieces.pop_front();
            } else {
                front.advance(written);
                break;
            }
        }
    }
    Ok(())
}

async fn read_loop(
    side: Side,
    mut socket: OwnedReadHalf,
    waiting: Waiting,
    closing: Arc<watch::Sender<bool>>,
) {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    let why = loop {
        match take_frame(&mut buffer) {
            Ok(Some(frame)) => {
                if let Err(why) = deliver(side, frame, &waiting) {
                    break why;
                }
            }
            Ok(None) => match socket.read_buf(&mut buffer).await {
                Ok(0) => break "the broker closed the connection".to_owned(),
                Ok(_) => {}
                Err(cause) => break format!("the connection broke: {cause}"),
            },
            Err(why) => break why,
        }
    };
    tracing::debug!(%side, why, "upstream connection ended");
    let _ = closing.send(true);
    fail_all(side, &waiting);
}

/// One whole frame without its size prefix, once it is there.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*prefix))
        .map_err(|_| "a negative frame size".to_owned())?;
    if length > RESPONSE_BYTES_MAX {
        return Err(format!(
            "a frame of {length} bytes is over the limit of {RESPONSE_BYTES_MAX}"
        ));
    }
    if buffer.len() < 4 + length {
        // Grown as bytes arrive, not by what the prefix claims.
        buffer.reserve((4 + length - buffer.len()).min(1 << 20));
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Hands a frame to the caller that waits longest.
fn deliver(side: Side, mut frame: Bytes, waiting: &Waiting) -> Result<(), String> {
    let Some((expected, reply)) = lock(waiting).pop_front() else {
        return Err("an answer that nobody asked for".to_owned());
    };
    let body = strip_header(&mut frame, expected);
    let result = match &body {
        Ok(()) => Ok(frame),
        Err(why) => Err(Error::new(side, Kind::Malformed, why.clone())),
    };
    // A caller that stopped waiting dropped its end; its answer is of no use to anybody else.
    let _ = reply.send(result);
    body
}

fn strip_header(frame: &mut Bytes, expected: Expected) -> Result<(), String> {
    let (correlation_id, length) = header::peek_response(expected.api_key, expected.version, frame)
        .map_err(|cause| format!("a response header cannot be read: {cause}"))?;
    if correlation_id != expected.correlation_id {
        return Err(format!(
            "answer {correlation_id} came where {} was due",
            expected.correlation_id
        ));
    }
    frame.advance(length);
    Ok(())
}

fn fail_all(side: Side, waiting: &Waiting) {
    for (_, reply) in lock(waiting).drain(..) {
        let _ = reply.send(Err(lost(
            side,
            "the connection was lost before the answer came",
        )));
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, VecDeque<(Expected, Reply)>> {
    // A panic while the queue is held cannot leave it half changed: every critical section is one call.
    waiting
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
