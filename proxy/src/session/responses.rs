//! The response loop: fills the slots one after the other, from the session's own broker or with what Lockgate
//! answers, and writes them to the client.
//!
//! # What a frame costs
//!
//! The hot path of both directions is here and in `requests`. Each byte is copied twice by the kernel and never by
//! Lockgate: it is read into a pooled buffer of 128 KiB, patched there where the API table says so, and written from
//! there. Per read of the socket: one system call, one more to write everything of it that is ready (several frames
//! together), and a wait in between. Allocations: none for Pass and Fetch; for Produce none once the session's storage
//! has grown, except at its first write of a topic. Slots are values in a bounded channel. Shared state touched per
//! Produce: the permit pool (two atomic additions), this connection's counters, and a load of the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use lockgate_wire::fetch_stream::FetchStream;
use lockgate_wire::frame::{FrameSize, RESPONSE_BYTES_MIN, SIZE_BYTES};
use lockgate_wire::{WireError, header, produce};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::DataPath;
use super::connection::{ConnectionState, Ticket};
use super::ended::{Ended, Step};
use super::intake::Intake;
use super::slots::{Answer, Slot};
use crate::error::{Error, Kind, Result};
use crate::words::Side;

/// The largest answer that is taken whole; streamed ones are bounded by the frame format alone.
const WHOLE_BYTES_MAX: usize = 100 << 20;

#[derive(Debug)]
struct Upstream {
    intake: Intake,
    lost: Arc<AtomicBool>,
}

/// One session's response loop.
#[derive(Debug)]
pub(super) struct Responses {
    path: Arc<DataPath>,
    connection: Arc<ConnectionState>,
    side: Side,
    slots: mpsc::Receiver<Slot>,
    client: OwnedWriteHalf,
    /// The client cannot be written to any more; what brokers still owe is read and dropped.
    client_gone: bool,
    upstream: Option<Upstream>,
}

impl Responses {
    pub(super) fn new(
        path: Arc<DataPath>,
        connection: Arc<ConnectionState>,
        slots: mpsc::Receiver<Slot>,
        client: OwnedWriteHalf,
    ) -> Self {
        Self {
            path,
            side: connection.side,
            connection,
            slots,
            client,
            client_gone: false,
            upstream: None,
        }
    }

    /// Runs until the request loop has ended and every slot is filled.
    pub(super) async fn run(&mut self) -> Step<()> {
        loop {
            let slot = match self.slots.try_recv() {
                Ok(slot) => Some(slot),
                Err(TryRecvError::Disconnected) => None,
                Err(TryRecvError::Empty) => {
                    self.flush().await;
                    self.next_slot().await?
                }
            };
            let Some(slot) = slot else {
                self.flush().await;
                return Ok(());
            };
            match slot {
                Slot::Connected { socket, lost } => {
                    self.flush().await;
                    self.upstream = Some(Upstream {
                        intake: Intake::new(socket, self.path.pool.clone()),
                        lost,
                    });
                    continue;
                }
                Slot::Ready(frame) => {
                    self.flush().await;
                    self.write(&frame).await;
                }
                Slot::Upstream {
                    correlation_id,
                    answer,
                } => self.from_upstream(correlation_id, answer).await?,
            }
            self.connection.slot_filled();
        }
    }

    /// Says FIN to the client, never RST.
    pub(super) async fn half_close(&mut self) {
        let _ = self.client.shutdown().await;
    }

    /// Waits for the next slot, and sees the broker go meanwhile: nothing is outstanding then, so the session stays.
    async fn next_slot(&mut self) -> Step<Option<Slot>> {
        loop {
            let Some(upstream) = &mut self.upstream else {
                return Ok(self.slots.recv().await);
            };
            tokio::select! {
                biased;
                slot = self.slots.recv() => return Ok(slot),
                () = upstream.intake.fill(0) => {}
            }
            // A slot is taken before its request is written, so no answer can be due here.
            if !upstream.intake.pending().is_empty() {
                return Err(self.broken("an answer that nobody asked for"));
            }
            if upstream.intake.closed {
                upstream.lost.store(true, Ordering::SeqCst);
                self.upstream = None;
            }
        }
    }

    async fn from_upstream(&mut self, correlation_id: i32, answer: Answer) -> Step<()> {
        let size = self.head(correlation_id).await?;
        match answer {
            Answer::Pass => self.pass(size).await,
            Answer::Produce(ticket) => {
                ticket.answered();
                self.pass(size).await
            }
            Answer::Swallow { ticket, version } => self.swallow(size, version, ticket).await,
            Answer::Fetch { version } => self.fetch(size, version).await,
            Answer::Collect {
                api_key,
                version,
                reply,
            } => {
                let frame = self.whole(size).await?;
                let body = header::peek_response(api_key, version, &frame)
                    .map(|(_, length)| frame.slice(length..))
                    .map_err(|cause| self.error(&format!("a header cannot be read: {cause}")));
                // Whoever asked may have stopped waiting; the answer is of no use to anybody else.
                let _ = reply.send(body);
                Ok(())
            }
        }
    }

    /// Waits for the front of the next answer: its size, prefix excluded.
    async fn head(&mut self, correlation_id: i32) -> Step<FrameSize> {
        let front = SIZE_BYTES + RESPONSE_BYTES_MIN;
        while self.upstream()?.intake.pending().len() < front {
            self.more(front).await?;
        }
        let pending = self.upstream()?.intake.pending();
        let (size, found) = (
            FrameSize::read(pending, i32::MAX as usize),
            pending[SIZE_BYTES..].first_chunk::<4>(),
        );
        let found = found.map(|bytes| i32::from_be_bytes(*bytes));
        match size {
            Ok(size) if size.get() >= RESPONSE_BYTES_MIN && found == Some(correlation_id) => {
                Ok(size)
            }
            _ => Err(self.broken("an answer out of order")),
        }
    }

    async fn pass(&mut self, size: FrameSize) -> Step<()> {
        let mut left = size.with_prefix();
        loop {
            let intake = &mut self.upstream()?.intake;
            let here = intake.pending().len().min(left);
            intake.pass(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.more(0).await?;
        }
    }

    async fn fetch(&mut self, size: FrameSize, version: i16) -> Step<()> {
        let mut stream = FetchStream::new(version, size.get()).map_err(|e| self.malformed(&e))?;
        self.upstream()?.intake.pass(SIZE_BYTES);
        loop {
            let intake = &mut self.upstream()?.intake;
            match stream.feed(intake.pending_mut()) {
                Ok(done) => intake.pass(done),
                Err(cause) => return Err(self.malformed(&cause)),
            }
            if stream.is_done() {
                return Ok(());
            }
            self.more(0).await?;
        }
    }

    async fn swallow(&mut self, size: FrameSize, version: i16, ticket: Ticket) -> Step<()> {
        let frame = self.whole(size).await?;
        ticket.answered();
        let mut response = produce::Response::default();
        let body = header::peek_response(produce::API_KEY, version, &frame)
            .and_then(|(_, length)| response.walk(version, &frame[length..]));
        body.map_err(|cause| self.malformed(&cause))?;
        match response.partitions.iter().find(|one| one.error_code != 0) {
            None => Ok(()),
            Some(refused) => Err(Ended::Unserved(format!(
                "a Produce with acks=0 was refused with error {}",
                refused.error_code
            ))),
        }
    }

    /// The next frame without its size prefix, out of the buffer.
    async fn whole(&mut self, size: FrameSize) -> Step<Bytes> {
        if size.get() > WHOLE_BYTES_MAX {
            return Err(self.broken("an answer beyond all bounds"));
        }
        while self.upstream()?.intake.pending().len() < size.with_prefix() {
            self.more(size.with_prefix()).await?;
        }
        self.flush().await;
        let intake = &mut self.upstream()?.intake;
        let frame = Bytes::copy_from_slice(&intake.pending()[SIZE_BYTES..size.with_prefix()]);
        intake.consume(size.with_prefix());
        Ok(frame)
    }

    /// Writes what is ready and reads more. The broker owes an answer: its loss ends the session, as it would have
    /// ended the client's connection to it.
    async fn more(&mut self, wanted: usize) -> Step<()> {
        self.flush().await;
        let upstream = self.upstream()?;
        upstream.intake.fill(wanted).await;
        if upstream.intake.closed {
            return Err(self.gone());
        }
        Ok(())
    }

    async fn flush(&mut self) {
        let Some(upstream) = &mut self.upstream else {
            return;
        };
        let ready = upstream.intake.ready();
        if !ready.is_empty() {
            if !self.client_gone && self.client.write_all(ready).await.is_err() {
                self.client_gone = true;
            }
            self.path.metrics.bytes_out.increment(ready.len() as u64);
        }
        upstream.intake.written();
    }

    async fn write(&mut self, frame: &[u8]) {
        if !self.client_gone && self.client.write_all(frame).await.is_err() {
            self.client_gone = true;
        }
        self.path.metrics.bytes_out.increment(frame.len() as u64);
    }

    fn upstream(&mut self) -> Step<&mut Upstream> {
        let side = self.side;
        self.upstream.as_mut().ok_or_else(|| gone(side))
    }

    fn error(&self, what: &str) -> Error {
        Error::new(
            self.side,
            Kind::Malformed,
            format!("the broker sent {what}"),
        )
    }

    fn broken(&self, what: &str) -> Ended {
        Ended::Broker(self.error(what))
    }

    fn malformed(&self, cause: &WireError) -> Ended {
        self.broken(&format!("an answer that cannot be read: {cause}"))
    }

    fn gone(&self) -> Ended {
        gone(self.side)
    }
}

fn gone(side: Side) -> Ended {
    let what = "the session's broker is gone with answers outstanding";
    Ended::Broker(Error::new(side, Kind::Disconnected, what))
}

/// For those who wait for a collected answer.
pub(super) fn lost(side: Side) -> Result<Bytes> {
    let what = "the session's broker is gone";
    Err(Error::new(side, Kind::Disconnected, what))
}
