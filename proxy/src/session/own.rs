//! The session's own broker, as handlers of rewritten APIs see it: a request goes out on the client's own upstream
//! connection (so it runs under the client's principal) and its answer comes back whole.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Kind, Result};
use crate::upstream::{OwnRequest, decode_response, encode_request};
use crate::words::{Side, UpstreamNode};

/// A request for the session's request loop to write upstream.
#[derive(Debug)]
pub struct OwnCall {
    /// Kafka's API key.
    pub api_key: i16,
    /// The body's version.
    pub version: i16,
    /// The body.
    pub body: Bytes,
    /// Where the answer's body goes.
    pub reply: oneshot::Sender<Result<Bytes>>,
}

/// The broker behind this connection.
#[derive(Debug, Clone)]
pub struct OwnBroker {
    /// Its cluster.
    pub side: Side,
    /// Its id.
    pub node: UpstreamNode,
    pub(crate) calls: mpsc::Sender<OwnCall>,
}

impl OwnBroker {
    /// Sends a request in the client's version and waits for its answer.
    pub async fn call<R: OwnRequest>(&self, request: &R, version: i16) -> Result<R::Response> {
        let lost = || {
            Error::new(
                self.side,
                Kind::Disconnected,
                format!("broker {} is gone", self.node),
            )
        };
        let (reply, answer) = oneshot::channel();
        let body = encode_request(request, version)?;
        let call = OwnCall {
            api_key: R::KEY,
            version,
            body,
            reply,
        };
        self.calls.send(call).await.map_err(|_| lost())?;
        let body = answer.await.map_err(|_| lost())??;
        decode_response(self.side, R::KEY, version, body)
    }
}
