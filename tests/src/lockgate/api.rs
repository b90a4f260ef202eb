//! A client for the admin API: JSON over HTTP/1.1, a connection per call.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// How often a state is asked for while waiting.
const POLL: Duration = Duration::from_millis(100);

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; a string where it is no JSON (`/metrics`).
    pub body: Value,
}

/// The API of one instance.
#[derive(Debug, Clone, Copy)]
pub struct AdminApi {
    address: SocketAddr,
}

impl AdminApi {
    /// The API at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// `GET path`, whatever its status.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body, whatever the answer's status.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `GET path`, which must be answered with a 2xx status.
    ///
    /// # Errors
    /// When nobody answers or with another status.
    pub async fn fetch(&self, path: &str) -> Result<Value> {
        self.get(path).await?.ok(path)
    }

    /// Starts a flip (`move` is `groups`, `producers` or `all`) and waits for its operation to end.
    ///
    /// # Errors
    /// When it cannot start or does not end in time.
    pub async fn flip(&self, route: &str, what: &str, deadline: Duration) -> Result<Value> {
        self.flip_to(route, what, "destination", deadline).await
    }

    /// The same to the `destination` or back to the `source`.
    ///
    /// # Errors
    /// When it cannot start or does not end in time.
    pub async fn flip_to(
        &self,
        route: &str,
        what: &str,
        to: &str,
        deadline: Duration,
    ) -> Result<Value> {
        let path = format!("/v1/routes/{route}/flip");
        let started = self
            .post(&path, &serde_json::json!({ "move": what, "to": to }))
            .await?
            .ok(&path)?;
        self.wait_operation(&operation_id(&started)?, deadline)
            .await
    }

    /// Commits a route and waits for its operation. Asks again while it is refused: after a flip some clients read
    /// at the source until they have refreshed their metadata.
    ///
    /// # Errors
    /// When it is refused or runs until the deadline; the error carries the last refusal.
    pub async fn commit(&self, route: &str, deadline: Duration) -> Result<Value> {
        let path = format!("/v1/routes/{route}/commit");
        let end = Instant::now() + deadline;
        loop {
            let answer = self.post(&path, &serde_json::json!({})).await?;
            if answer.status != StatusCode::CONFLICT || Instant::now() >= end {
                let id = operation_id(&answer.ok(&path)?)?;
                return self.wait_operation(&id, deadline).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until an operation is no longer running and returns it.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub async fn wait_operation(&self, id: &str, deadline: Duration) -> Result<Value> {
        let path = format!("/v1/operations/{id}");
        self.wait_until(&path, deadline, |operation| operation["state"] != "running")
            .await
    }

    /// Polls `path` until `reached` holds for its body, and returns that body.
    ///
    /// # Errors
    /// When it does not hold at the deadline; the error carries the last answer.
    pub async fn wait_until(
        &self,
        path: &str,
        deadline: Duration,
        reached: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            let last = self.get(path).await;
            match last {
                Ok(answer) if answer.status.is_success() && reached(&answer.body) => {
                    return Ok(answer.body);
                }
                last if Instant::now() >= end => {
                    bail!("{path} is not there after {deadline:?}; last: {last:?}")
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let exchange = self.exchange(method, path, body);
        let answered = tokio::time::timeout(CALL_DEADLINE, exchange).await;
        answered.with_context(|| format!("{path} was not answered in {CALL_DEADLINE:?}"))?
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("no API at {}", self.address))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        driver.abort();
        let text = String::from_utf8_lossy(&bytes);
        let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()));
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The body of a 2xx answer.
    ///
    /// # Errors
    /// With the body's text for any other status.
    pub fn ok(self, path: &str) -> Result<Value> {
        if !self.status.is_success() {
            bail!("{path} was answered with {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// The operation an answer names; ids may be numbers.
fn operation_id(started: &Value) -> Result<String> {
    let id = started.get("id").or_else(|| started.get("operation"));
    match id {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        _ => bail!("{started} names no operation"),
    }
}
