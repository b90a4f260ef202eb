//! What the client sends, frame by frame.
//!
//! The read buffer is also the bounded queue behind a request that waits: frames that arrive meanwhile stay in it in
//! order, and are looked at (size and API key only) so that Produces count as seen from the moment they are read.

use std::sync::Arc;

use bytes::BytesMut;
use lockgate_wire::WireError;
use lockgate_wire::frame::{FrameSize, REQUEST_BYTES_MIN, SIZE_BYTES};
use lockgate_wire::header::RequestHeader;
use tokio::net::tcp::OwnedReadHalf;

use super::buffers::BufferPool;
use super::connection::ConnectionState;
use super::ended::{BadFrame, Ended, Step};
use super::intake::Intake;

/// The largest request, as Kafka's `socket.request.max.bytes`.
pub(super) const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Bytes read ahead while a request waits (parked, forwarded, handled). Then the socket is left unread.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// A header that is longer is no header: client ids and tags are short.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// A request header, its client id apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) api_key: i16,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    /// From the start of the frame, size prefix included, to its body.
    pub(super) body: usize,
    /// Bytes of the frame, size prefix included.
    pub(super) length: usize,
}

/// The client's half of the session that is read.
#[derive(Debug)]
pub(super) struct Inbound {
    intake: Intake,
    connection: Arc<ConnectionState>,
    /// Where the first frame begins whose head has not been counted, from the buffer's start; may lie behind its end.
    scanned: usize,
}

impl Inbound {
    pub(super) fn new(
        socket: OwnedReadHalf,
        pool: Arc<BufferPool>,
        connection: Arc<ConnectionState>,
    ) -> Self {
        Self {
            intake: Intake::new(socket, pool),
            connection,
            scanned: 0,
        }
    }

    pub(super) fn closed(&self) -> bool {
        self.intake.closed
    }

    pub(super) fn pending(&self) -> &[u8] {
        self.intake.pending()
    }

    /// The pending frame whose head was read; it must have arrived whole.
    pub(super) fn frame_mut(&mut self, head: Head) -> &mut [u8] {
        let pending = self.intake.pending_mut();
        let length = head.length.min(pending.len());
        &mut pending[..length]
    }

    /// The body of the pending frame; it must have arrived whole.
    pub(super) fn body(&self, head: Head) -> &[u8] {
        self.pending()
            .get(head.body..head.length)
            .unwrap_or_default()
    }

    pub(super) fn ready(&self) -> &[u8] {
        self.intake.ready()
    }

    pub(super) fn pass(&mut self, length: usize) {
        self.intake.pass(length);
    }

    pub(super) fn written(&mut self) {
        self.scanned = self.scanned.saturating_sub(self.intake.ready().len());
        self.intake.written();
    }

    /// Takes a whole frame out of the buffer. Only right while nothing is ready.
    pub(super) fn take(&mut self, head: Head) -> BytesMut {
        self.scanned = self.scanned.saturating_sub(head.length);
        self.intake.take(head.length)
    }

    /// Drops a whole frame. Only right while nothing is ready.
    pub(super) fn consume(&mut self, head: Head) {
        self.scanned = self.scanned.saturating_sub(head.length);
        self.intake.consume(head.length);
    }

    /// The head of the next frame, or none while it has not arrived.
    pub(super) fn head(&self) -> Step<Option<Head>> {
        let bytes = self.pending();
        let size = match FrameSize::read(bytes, REQUEST_BYTES_MAX) {
            Ok(size) => size,
            Err(WireError::Truncated { .. }) => return Ok(None),
            Err(cause @ WireError::FrameTooLarge { .. }) => {
                return Err(Ended::Bad(BadFrame::Oversized, cause.to_string()));
            }
            Err(cause) => return Err(Ended::Bad(BadFrame::Size, cause.to_string())),
        };
        if size.get() < REQUEST_BYTES_MIN {
            let what = format!("a frame of {} bytes", size.get());
            return Err(Ended::Bad(BadFrame::Size, what));
        }
        let frame = &bytes[SIZE_BYTES..bytes.len().min(size.with_prefix())];
        match RequestHeader::peek(frame) {
            Ok(header) => Ok(Some(Head {
                api_key: header.api_key,
                version: header.api_version,
                correlation_id: header.correlation_id,
                body: SIZE_BYTES + header.body,
                length: size.with_prefix(),
            })),
            Err(WireError::Truncated { .. } | WireError::LengthBeyondFrame { .. })
                if frame.len() < size.get().min(HEADER_BYTES_MAX) =>
            {
                Ok(None)
            }
            Err(cause) => Err(Ended::Bad(BadFrame::Header, cause.to_string())),
        }
    }

    /// The client id of the frame whose head is at the front.
    pub(super) fn client_id(&self) -> Option<&str> {
        let frame = self.pending().get(SIZE_BYTES..)?;
        RequestHeader::peek(frame).ok()?.client_id
    }

    /// Waits for bytes and reads them; see [`Intake::fill`].
    pub(super) async fn fill(&mut self, wanted: usize) {
        self.intake.fill(wanted).await;
        self.scan();
    }

    /// Whether more may be read behind a request that waits.
    pub(super) fn has_room(&self) -> bool {
        !self.closed() && self.pending().len() < QUEUE_BYTES_MAX
    }

    pub(super) async fn discard(&mut self) {
        self.intake.discard().await;
    }

    /// Counts the Produces among the frames that have begun to arrive.
    fn scan(&mut self) {
        let (ready, pending) = (self.intake.ready().len(), self.intake.pending());
        while let Some(bytes) = self
            .scanned
            .checked_sub(ready)
            .and_then(|at| pending.get(at..))
        {
            let Some((size, rest)) = bytes.split_first_chunk::<SIZE_BYTES>() else {
                return;
            };
            let Some(key) = rest.first_chunk::<2>() else {
                return;
            };
            if i16::from_be_bytes(*key) == lockgate_wire::produce::API_KEY {
                self.connection.saw_produce();
            }
            // A bad size ends the session when its turn comes; until then nothing behind it is a frame.
            let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(usize::MAX / 2);
            self.scanned = self.scanned.saturating_add(SIZE_BYTES + size);
        }
    }
}
