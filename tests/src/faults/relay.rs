//! The relay itself: accepts, connects on, and moves frames both ways.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::switches::{Frame, Switches, Verdict};

/// The largest frame that passes.
const MAX_FRAME_BYTES: usize = 128 << 20;
/// Requests sent and not yet answered, oldest first.
type Outstanding = Arc<Mutex<VecDeque<Asked>>>;

/// What is remembered of a request.
struct Asked {
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    client_id: String,
}

/// A relay on a loopback port; dropping it cuts all its connections.
pub struct Relay {
    address: SocketAddr,
    switches: Arc<Switches>,
    accept: JoinHandle<()>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "relay on {}", self.address)
    }
}

impl Relay {
    /// Listens on a free port and connects every client on to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), target).await
    }

    /// Listens on 127.0.0.2 at the port of `target`, for a server that advertises that host.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn before(target: SocketAddr) -> Result<Self> {
        Self::start_on((Ipv4Addr::new(127, 0, 0, 2), target.port()).into(), target).await
    }

    /// Listens on `listen` and connects every client on to `target`.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start_on(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let switches = Arc::new(Switches::new());
        let accept = tokio::spawn(accept(listener, target, Arc::clone(&switches)));
        Ok(Self {
            address,
            switches,
            accept,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections of this moment.
    pub fn cut_all(&self) {
        self.switches.cut_all();
    }

    /// Closes new connections at once, or takes them again.
    pub fn refuse_new(&self, refuse: bool) {
        self.switches.set_refuse(refuse);
    }

    /// Delays every frame, both ways.
    pub fn delay(&self, delay: Duration) {
        self.switches.set_delay(delay);
    }

    /// Stops moving frames, both ways, with connections left open; or goes on.
    pub fn freeze(&self, frozen: bool) {
        self.switches.set_frozen(frozen);
    }

    /// Keeps back every answer to a request of this API key from this client, until [`Relay::swallow_held`].
    pub fn hold_answers(&self, api_key: i16, client_id: &str) {
        self.switches.set_hold(api_key, client_id);
    }

    /// Waits until `count` answers were held.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn wait_held(&self, count: u64, deadline: Duration) -> Result<()> {
        let waited = tokio::time::timeout(deadline, self.switches.wait_held(count)).await;
        waited.with_context(|| format!("{self:?} holds no {count} answers after {deadline:?}"))
    }

    /// Drops the answers held, cuts their connections, and holds no more.
    pub fn swallow_held(&self) {
        self.switches.swallow_held();
    }

    /// Asks `predicate` about every frame from now on; it may pass, hold or cut.
    pub fn judge_with(&self, predicate: impl FnMut(&Frame<'_>) -> Verdict + Send + 'static) {
        self.switches.set_predicate(Some(Box::new(predicate)));
    }

    /// Asks nobody any more.
    pub fn judge_no_more(&self) {
        self.switches.set_predicate(None);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accept.abort();
        self.switches.cut_all();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, switches: Arc<Switches>) {
    while let Ok((client, _)) = listener.accept().await {
        if !switches.refuses() {
            let switches = Arc::clone(&switches);
            // A connection ends by a cut, a close or an error: all of them are what the test wanted or sees itself.
            tokio::spawn(async move { relay(client, target, switches).await.ok() });
        }
    }
}

async fn relay(client: TcpStream, target: SocketAddr, switches: Arc<Switches>) -> Result<()> {
    let mut cuts = switches.cuts();
    cuts.mark_unchanged();
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let outstanding = Outstanding::default();
    tokio::select! {
        ended = requests(from_client, to_server, &outstanding, &switches) => ended,
        ended = answers(from_server, to_client, &outstanding, &switches) => ended,
        _ = cuts.changed() => Ok(()),
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    outstanding: &Outstanding,
    switches: &Switches,
) -> Result<()> {
    loop {
        let bytes = read_frame(&mut from).await?;
        let Some(asked) = Asked::read(&bytes[4..]) else {
            bail!("a request without a header")
        };
        switches.wait_turn().await;
        let frame = asked.frame(false, &bytes);
        let swallows = switches.swallows();
        let verdict = switches.judge(&frame);
        if verdict == Verdict::Hold {
            switches.stay_held(swallows).await;
            return Ok(());
        }
        if verdict != Verdict::Cut {
            outstanding
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(asked);
            to.write_all(&bytes).await?;
        }
        if verdict != Verdict::Pass {
            return Ok(());
        }
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    outstanding: &Outstanding,
    switches: &Switches,
) -> Result<()> {
    loop {
        let bytes = read_frame(&mut from).await?;
        let [c0, c1, c2, c3, ..] = bytes[4..] else {
            bail!("an answer without a header")
        };
        let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
        let Some(asked) = take_request(outstanding, correlation_id) else {
            bail!("an answer to no request: {correlation_id}")
        };
        switches.wait_turn().await;
        let frame = asked.frame(true, &bytes);
        // Taken before the verdict: a swallow between the two is then not missed.
        let swallows = switches.swallows();
        let verdict = switches.judge(&frame);
        if verdict == Verdict::Hold {
            switches.stay_held(swallows).await;
            return Ok(());
        }
        if verdict != Verdict::Cut {
            to.write_all(&bytes).await?;
        }
        if verdict != Verdict::Pass {
            return Ok(());
        }
    }
}

/// The request an answer belongs to. Older ones that are skipped had no answer (acks=0).
fn take_request(outstanding: &Outstanding, correlation_id: i32) -> Option<Asked> {
    let mut outstanding = outstanding.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(asked) = outstanding.pop_front() {
        if asked.correlation_id == correlation_id {
            return Some(asked);
        }
    }
    None
}

impl Asked {
    /// Reads the header of a request; its client id stands at the same place in every version.
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some([*bytes.get(at)?, *bytes.get(at + 1)?]);
        let number = bytes.get(4..8)?.try_into().ok()?;
        // Null is -1.
        let length = word(8).map_or(-1, i16::from_be_bytes);
        let client_id = usize::try_from(length).ok();
        let client_id = client_id.and_then(|length| bytes.get(10..10 + length));
        Some(Self {
            api_key: i16::from_be_bytes(word(0)?),
            api_version: i16::from_be_bytes(word(2)?),
            correlation_id: i32::from_be_bytes(number),
            client_id: String::from_utf8_lossy(client_id.unwrap_or_default()).into_owned(),
        })
    }

    /// The request, or its answer, as predicates see it; `bytes` begin with the frame's length.
    fn frame<'a>(&'a self, is_answer: bool, bytes: &'a [u8]) -> Frame<'a> {
        Frame {
            is_answer,
            api_key: self.api_key,
            api_version: self.api_version,
            correlation_id: self.correlation_id,
            client_id: &self.client_id,
            bytes: &bytes[4..],
        }
    }
}

/// A whole frame, its length included.
async fn read_frame(from: &mut OwnedReadHalf) -> Result<Vec<u8>> {
    let length = from.read_i32().await?;
    let size = usize::try_from(length)
        .ok()
        .filter(|size| *size <= MAX_FRAME_BYTES);
    let size = size.with_context(|| format!("a frame of {length} bytes"))?;
    let mut bytes = vec![0; size + 4];
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut bytes[4..]).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(api_key: i16, correlation_id: i32) -> Vec<u8> {
        let mut bytes = 8_i32.to_be_bytes().to_vec();
        bytes.extend(api_key.to_be_bytes());
        bytes.extend(0_i16.to_be_bytes());
        bytes.extend(correlation_id.to_be_bytes());
        bytes
    }

    /// Answers every request with its correlation id alone.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    while let Ok(frame) = read_frame(&mut from).await {
                        let mut answer = 4_i32.to_be_bytes().to_vec();
                        answer.extend(&frame[8..12]);
                        to.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, api_key: i16, correlation_id: i32) -> Option<i32> {
        stream
            .write_all(&request(api_key, correlation_id))
            .await
            .ok()?;
        stream.read_i32().await.ok()?;
        stream.read_i32().await.ok()
    }

    #[tokio::test]
    async fn only_answers_to_the_chosen_key_are_held_and_swallowed() {
        let second = Duration::from_secs(1);
        let relay = Relay::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        relay.hold_answers(0, "");
        assert_eq!(ask(&mut stream, 3, 1).await, Some(1));
        let (answer, ()) = tokio::join!(ask(&mut stream, 0, 2), async {
            relay.wait_held(1, second).await.unwrap();
            relay.swallow_held();
        });
        assert_eq!(answer, None);
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(ask(&mut stream, 0, 2).await, Some(2));
    }

    #[tokio::test]
    async fn cut_refuse_freeze_and_judge() {
        let relay = Relay::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(ask(&mut stream, 3, 1).await, Some(1));
        relay.freeze(true);
        let frozen = tokio::time::timeout(Duration::from_millis(50), ask(&mut stream, 3, 2)).await;
        assert!(frozen.is_err());
        relay.freeze(false);
        relay.refuse_new(true);
        relay.cut_all();
        assert_eq!(ask(&mut stream, 3, 3).await, None);
        let mut refused = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(ask(&mut refused, 3, 1).await, None);
        relay.refuse_new(false);
        relay.judge_with(|frame| {
            if frame.correlation_id == 9 {
                Verdict::Cut
            } else {
                Verdict::Pass
            }
        });
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(ask(&mut stream, 3, 8).await, Some(8));
        assert_eq!(ask(&mut stream, 3, 9).await, None);
    }
}
