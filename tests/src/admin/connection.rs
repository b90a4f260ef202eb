//! One connection to one broker; a request is answered before the next is sent.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer that is taken; brokers of the harness are asked for less.
const MAX_ANSWER_BYTES: usize = 128 << 20;

/// A connection that speaks Kafka's protocol.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    client_id: String,
    next_correlation_id: i32,
}

impl Connection {
    /// Connects under the client id `lockgate-harness`.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Self::open_as(address, "lockgate-harness").await
    }

    /// Connects under a client id.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open_as(address: SocketAddr, client_id: &str) -> Result<Self> {
        let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(address))
            .await
            .with_context(|| format!("connecting to {address} took too long"))?
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            client_id: client_id.to_owned(),
            next_correlation_id: 0,
        })
    }

    /// Sends a request and returns its answer.
    ///
    /// # Errors
    /// When the connection breaks, the answer is late, or it cannot be decoded.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let correlation_id = self.send(request, version).await?;
        let (answered, mut body) = timeout(
            ANSWER_DEADLINE,
            self.receive(R::Response::header_version(version)),
        )
        .await
        .with_context(|| format!("no answer to API key {} in {ANSWER_DEADLINE:?}", R::KEY))??;
        if answered != correlation_id {
            bail!("answer {answered} arrived where {correlation_id} was expected");
        }
        R::Response::decode(&mut body, version).with_context(|| {
            format!(
                "the answer to API key {} version {version} is malformed",
                R::KEY
            )
        })
    }

    /// Sends a request without waiting for the answer; returns its correlation id.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_string(self.client_id.clone())));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = i32::try_from(frame.len() - 4).context("the request is too large")?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream
            .write_all(&frame)
            .await
            .context("the connection broke while sending")?;
        Ok(correlation_id)
    }

    /// Reads one answer: its correlation id and its body behind the header of version `header_version`.
    ///
    /// # Errors
    /// When the connection breaks or the frame is malformed.
    pub async fn receive(&mut self, header_version: i16) -> Result<(i32, Bytes)> {
        let length = self
            .stream
            .read_i32()
            .await
            .context("the connection broke before the answer")?;
        let length = usize::try_from(length).context("an answer of negative length")?;
        if length > MAX_ANSWER_BYTES {
            bail!("an answer of {length} bytes");
        }
        let mut frame = vec![0; length];
        self.stream
            .read_exact(&mut frame)
            .await
            .context("the connection broke inside the answer")?;
        let mut body = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut body, header_version)?;
        Ok((header.correlation_id, body.copy_to_bytes(body.remaining())))
    }
}
