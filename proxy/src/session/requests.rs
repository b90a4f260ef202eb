//! The request loop: one frame after the other, each decided under the current snapshot. Sequential like a broker;
//! Pass, Produce and Fetch are written upstream without waiting for their answers.
//!
//! What a frame costs is told in `responses`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lockgate_wire::frame::SIZE_BYTES;
use lockgate_wire::header::RequestHeader;
use lockgate_wire::{fetch_request, produce};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::clients::ClientKey;
use super::connection::ConnectionState;
use super::ended::{BadFrame, Ended, Step};
use super::inbound::{Head, Inbound};
use super::link::OwnLink;
use super::produce::Decision;
use super::slots::{Answer, Slot, response_frame};
use super::topics::Topics;
use super::{DataPath, Forwards, OwnCall, responses};
use crate::api::{self, Treatment};
use crate::words::Side;

/// Calls of handlers to the session's own broker that may wait to be written; a handler waits for each.
const OWN_CALLS_MAX: usize = 8;
/// How long the last write to a broker may take.
const LAST_WRITE_MAX: Duration = Duration::from_secs(5);
/// Where the correlation ids of Lockgate's own requests begin; they only have to come back.
const OWN_CORRELATION_FIRST: i32 = 0x4c4b_0000;

/// What becomes of a wait when the client goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientGone {
    /// Nobody needs the outcome.
    Stop,
    /// It goes on to its end.
    GoOn,
}

/// Why an idle session looks up.
enum Woken {
    RoutesChanged,
    Closing,
    Retire,
}

/// One session's request loop.
pub(super) struct Requests {
    pub(super) path: Arc<DataPath>,
    pub(super) connection: Arc<ConnectionState>,
    pub(super) side: Side,
    pub(super) peer: IpAddr,
    /// None before the first frame.
    pub(super) client: Option<ClientKey>,
    pub(super) inbound: Inbound,
    pub(super) own: OwnLink,
    /// None once no request follows.
    slots: Option<mpsc::Sender<Slot>>,
    pub(super) calls_in: mpsc::Sender<OwnCall>,
    calls: mpsc::Receiver<OwnCall>,
    own_correlation_id: i32,
    pub(super) forwards: Arc<Forwards>,
    pub(super) topics: Topics,
    pub(super) walked: produce::Request,
    pub(super) decision: Decision,
    pub(super) fetched: fetch_request::FetchRequest,
    pub(super) queued: watch::Sender<bool>,
    pub(super) routes_changed: watch::Receiver<u64>,
    pub(super) closing: watch::Receiver<bool>,
    /// When to look whether nothing is outstanding and say goodbye.
    pub(super) retire_at: Option<Instant>,
}

impl Requests {
    pub(super) fn new(
        path: Arc<DataPath>,
        connection: Arc<ConnectionState>,
        peer: IpAddr,
        inbound: Inbound,
        own: OwnLink,
        slots: mpsc::Sender<Slot>,
    ) -> Self {
        let (calls_in, calls) = mpsc::channel(OWN_CALLS_MAX);
        Self {
            side: connection.side,
            peer,
            client: None,
            inbound,
            own,
            slots: Some(slots),
            calls_in,
            calls,
            own_correlation_id: OWN_CORRELATION_FIRST,
            forwards: Arc::new(Forwards::new(path.clusters.clone())),
            topics: Topics::default(),
            walked: produce::Request::default(),
            decision: Decision::default(),
            fetched: fetch_request::FetchRequest::default(),
            queued: watch::Sender::new(false),
            routes_changed: path.routes.subscribe(),
            closing: path.closing.subscribe(),
            retire_at: None,
            path,
            connection,
        }
    }

    /// Runs until the session ends.
    pub(super) async fn run(&mut self) -> Ended {
        self.check_leaving();
        if let Err(ended) = self.revive().await {
            return ended;
        }
        let ended = loop {
            if let Err(ended) = self.step().await {
                break ended;
            }
        };
        if !matches!(ended, Ended::Broker(_)) {
            // Frames before the last one may wait to be written, and their permits with them.
            let _ = within(LAST_WRITE_MAX, self.flush()).await;
        }
        ended
    }

    async fn step(&mut self) -> Step<()> {
        let head = self.next_head().await?;
        if self.client.is_none() {
            self.greet(head)?;
        }
        self.path.metrics.request(head.api_key);
        let api = (self.path.table)(head.api_key);
        match api.filter(|api| (api.min..=api.max).contains(&head.version)) {
            None => self.unsupported(head).await,
            Some(api) => match api.treatment {
                Treatment::Pass => self.pass(head).await,
                Treatment::Produce => self.produce(head).await,
                Treatment::Fetch => self.fetch(head).await,
                Treatment::Handle => self.handle(head).await,
            },
        }
    }

    /// The client is known from its first frame on.
    fn greet(&mut self, head: Head) -> Step<()> {
        if (self.path.table)(head.api_key).is_none() {
            let what = format!("the first frame names API {}", head.api_key);
            return Err(Ended::Bad(BadFrame::Header, what));
        }
        let client = ClientKey {
            host: self.peer,
            client_id: self.inbound.client_id().unwrap_or_default().into(),
        };
        self.path.clients.add(&client, self.connection.clone());
        self.client = Some(client);
        Ok(())
    }

    async fn next_head(&mut self) -> Step<Head> {
        loop {
            if let Some(head) = self.inbound.head()? {
                return Ok(head);
            }
            self.flush().await?;
            if self.inbound.closed() {
                return Err(self.client_left());
            }
            self.idle().await?;
        }
    }

    /// Between frames: waits for the client, and for the reasons to say goodbye.
    async fn idle(&mut self) -> Step<()> {
        let retire_at = self.retire_at;
        // Looked at first, or a client that never pauses would never be told.
        if *self.closing.borrow() && self.inbound.pending().is_empty() {
            return Err(Ended::Done("Lockgate shuts down"));
        }
        let retire = async {
            match retire_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            biased;
            () = self.inbound.fill(0) => return Ok(()),
            _ = self.routes_changed.changed() => Woken::RoutesChanged,
            _ = self.closing.changed() => Woken::Closing,
            () = retire => Woken::Retire,
        };
        match woken {
            Woken::RoutesChanged => self.check_leaving(),
            // Looked at when the session is idle again.
            Woken::Closing => {}
            Woken::Retire => self.retire_when_quiet()?,
        }
        Ok(())
    }

    /// Why the client's end is closed: a whole number of frames, or in the middle of one.
    pub(super) fn client_left(&self) -> Ended {
        if self.inbound.pending().is_empty() {
            Ended::Client
        } else {
            Ended::Bad(
                BadFrame::Truncated,
                "the connection ended inside a frame".into(),
            )
        }
    }

    async fn unsupported(&mut self, head: Head) -> Step<()> {
        let body = api::unsupported(head.api_key, head.version).ok_or_else(|| {
            let what = format!("API {} version {}", head.api_key, head.version);
            Ended::Bad(BadFrame::Version, what)
        })?;
        self.whole(head).await?;
        self.flush().await?;
        self.inbound.consume(head);
        if head.api_key == produce::API_KEY {
            // It was counted as seen; nobody waits for it.
            drop(self.connection.ticket());
        }
        self.answer(head, &body).await
    }

    /// Forwards a frame as it arrives.
    async fn pass(&mut self, head: Head) -> Step<()> {
        self.needs_own().await?;
        self.push(Slot::Upstream {
            correlation_id: head.correlation_id,
            answer: Answer::Pass,
        })
        .await?;
        let mut left = head.length;
        loop {
            let here = self.inbound.pending().len().min(left);
            self.inbound.pass(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.flush().await?;
            if self.inbound.closed() {
                // A broker never executes a partial frame, so the end of this session drops it.
                let what = "the connection ended inside a frame".into();
                return Err(Ended::Bad(BadFrame::Truncated, what));
            }
            self.inbound.fill(0).await;
        }
    }

    async fn needs_own(&mut self) -> Step<()> {
        self.revive().await?;
        if self.own.is_alive() {
            return Ok(());
        }
        let what = "the request needs the session's broker, which is gone";
        Err(Ended::Unserved(what.into()))
    }

    /// Waits until the frame is whole in the buffer.
    pub(super) async fn whole(&mut self, head: Head) -> Step<()> {
        while self.inbound.pending().len() < head.length {
            self.flush().await?;
            if self.inbound.closed() {
                return Err(self.client_left());
            }
            self.inbound.fill(head.length).await;
        }
        Ok(())
    }

    /// Takes the next place in the order of answers.
    pub(super) async fn push(&mut self, slot: Slot) -> Step<()> {
        self.connection.slot_added();
        let Some(slots) = &self.slots else {
            return Err(Ended::Client);
        };
        match slots.try_send(slot) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(slot)) => {
                let slots = slots.clone();
                // What the full slots wait for must be on its way, or they would wait for ever.
                self.flush().await?;
                slots.send(slot).await.map_err(|_| Ended::Client)
            }
            // The response loop has ended; it has the reason.
            Err(TrySendError::Closed(_)) => Err(Ended::Client),
        }
    }

    /// No request follows: the response loop ends when every slot is filled.
    pub(super) fn no_more(&mut self) {
        self.slots = None;
    }

    /// Answers the request of `head` with a body.
    pub(super) async fn answer(&mut self, head: Head, body: &[u8]) -> Step<()> {
        let frame = response_frame(head.api_key, head.version, head.correlation_id, |out| {
            out.extend_from_slice(body);
            Ok(())
        });
        let frame = frame.map_err(|cause| Ended::Unserved(cause.to_string()))?;
        self.push(Slot::Ready(frame)).await
    }

    /// Writes what is ready to the session's own broker, in one system call where the kernel takes it.
    pub(super) async fn flush(&mut self) -> Step<()> {
        let ready = self.inbound.ready();
        if ready.is_empty() {
            return Ok(());
        }
        let written = match self.own.writer() {
            Some(writer) => writer.write_all(ready).await.is_ok(),
            None => false,
        };
        if !written {
            return Err(self.own_lost());
        }
        self.inbound.written();
        Ok(())
    }

    fn own_lost(&self) -> Ended {
        // Everything that is ready has a slot, so answers are outstanding.
        match responses::lost(self.side) {
            Err(error) => Ended::Broker(error),
            Ok(_) => Ended::Client,
        }
    }

    /// Connects to the session's own broker if it was gone and may be back.
    pub(super) async fn revive(&mut self) -> Step<()> {
        if let Some(connected) = self.own.revive(&self.path).await {
            self.push(Slot::Connected {
                socket: connected.socket,
                lost: connected.lost,
            })
            .await?;
            self.connection.slot_filled();
        }
        Ok(())
    }

    /// Waits for `work`; meanwhile frames are read into the bounded queue and handlers' calls to the session's own
    /// broker are written.
    pub(super) async fn while_reading<T>(
        &mut self,
        when_gone: ClientGone,
        work: impl Future<Output = T>,
    ) -> Step<T> {
        self.flush().await?;
        let mut work = std::pin::pin!(work);
        loop {
            let room = self.inbound.has_room();
            tokio::select! {
                biased;
                result = &mut work => return Ok(result),
                Some(call) = self.calls.recv() => self.own_call(call).await?,
                () = self.inbound.fill(0), if room => {
                    if self.inbound.closed() && when_gone == ClientGone::Stop {
                        return Err(Ended::Client);
                    }
                    if !self.inbound.pending().is_empty() {
                        self.queued.send_if_modified(|queued| !std::mem::replace(queued, true));
                    }
                }
            }
        }
    }

    /// Writes a request of Lockgate's own to the session's broker.
    async fn own_call(&mut self, call: OwnCall) -> Step<()> {
        let answer = self.ask_own(call.api_key, call.version, call.body, call.reply);
        answer.await
    }

    pub(super) async fn ask_own(
        &mut self,
        api_key: i16,
        version: i16,
        body: Bytes,
        reply: oneshot::Sender<crate::error::Result<Bytes>>,
    ) -> Step<()> {
        if !self.own.is_alive() {
            // Whoever asked may be gone.
            let _ = reply.send(responses::lost(self.side));
            return Ok(());
        }
        self.flush().await?;
        self.own_correlation_id = self.own_correlation_id.wrapping_add(1);
        let correlation_id = self.own_correlation_id;
        let mut frame = BytesMut::with_capacity(SIZE_BYTES + 64 + body.len());
        frame.extend_from_slice(&[0; SIZE_BYTES]);
        let header = RequestHeader {
            api_key,
            api_version: version,
            correlation_id,
            client_id: self.client.as_ref().map(|client| &*client.client_id),
            body: 0,
        };
        let encoded = header.encode(&mut frame);
        frame.extend_from_slice(&body);
        let size = encoded.and_then(|()| lockgate_wire::frame::prefix(frame.len() - SIZE_BYTES));
        let size = size.map_err(|cause| Ended::Unserved(cause.to_string()))?;
        frame[..SIZE_BYTES].copy_from_slice(&size);
        let answer = Answer::Collect {
            api_key,
            version,
            reply,
        };
        self.push(Slot::Upstream {
            correlation_id,
            answer,
        })
        .await?;
        if let Some(writer) = self.own.writer()
            && writer.write_all(&frame).await.is_ok()
        {
            return Ok(());
        }
        Err(self.own_lost())
    }
}

/// As [`tokio::time::timeout`], with the outcome that a bound was reached as `None`.
pub(super) async fn within<T>(bound: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(bound, work).await.ok()
}
