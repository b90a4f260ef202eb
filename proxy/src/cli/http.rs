//! A small client for the admin API: one connection per call.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Exit, Failure};

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where an admin API listens: `host:port`.
#[derive(Debug, Clone)]
pub(super) struct Endpoint(pub(super) String);

impl Endpoint {
    /// An endpoint out of what an operator writes: a URL, or host and port.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.trim_end_matches('/');
        if bare.contains("://") || bare.contains('/') || !bare.contains(':') {
            return Err(Failure::new(
                Exit::Usage,
                format!("--admin: {text:?} is not of the form http://host:port"),
            ));
        }
        Ok(Self(bare.to_owned()))
    }

    /// Calls the API; an answer of another status than 2xx is a failure with the API's own sentence.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let unreachable = |cause: String| {
            Failure::new(
                Exit::Unreachable,
                format!("no answer from the admin API at http://{}: {cause}", self.0),
            )
        };
        let exchange = self.exchange(method, path, body);
        let (status, bytes) = match tokio::time::timeout(CALL_MAX, exchange).await {
            Ok(answer) => answer.map_err(|cause| unreachable(cause.to_string()))?,
            Err(_) => return Err(unreachable(format!("nothing within {CALL_MAX:?}"))),
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|cause| {
            Failure::new(
                Exit::Failed,
                format!("{path} was not answered with JSON: {cause}"),
            )
        })?;
        if status.is_success() {
            return Ok(value);
        }
        let exit = match status.as_u16() {
            400 | 404 => Exit::Usage,
            409 | 501 => Exit::Refused,
            503 => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let sentence = value["error"].as_str().unwrap_or("no reason was given");
        Err(Failure::new(exit, sentence))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(hyper::StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.0).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.0)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(
                body.map(Value::to_string).unwrap_or_default(),
            )))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?
            .to_bytes();
        driver.abort();
        Ok((status, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_addresses_are_taken() {
        for text in ["http://127.0.0.1:8080", "127.0.0.1:8080", "http://h:1/"] {
            assert!(Endpoint::parse(text).is_ok(), "{text}");
        }
        for text in ["https://h:1", "h", "http://h:1/v1"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
