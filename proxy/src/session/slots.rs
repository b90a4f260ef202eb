//! Slots: one per request, in the order of the requests. The response loop fills them one after the other, so answers
//! leave in that order whoever gives them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::{Bytes, BytesMut};
use lockgate_wire::WireError;
use lockgate_wire::frame::SIZE_BYTES;
use lockgate_wire::header;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::oneshot;

use super::connection::Ticket;
use crate::error::Result;

/// Requests of one connection that may wait for their answers; then the client is left unread.
pub(super) const SLOTS_MAX: usize = 256;

/// What the client gets for one request, or Lockgate for one of its own on the same connection.
#[derive(Debug)]
pub(super) enum Slot {
    /// The next answer of the session's own broker.
    Upstream { correlation_id: i32, answer: Answer },
    /// A whole frame, size prefix included.
    Ready(Bytes),
    /// The session has connected to its broker (again): answers come from here from now on.
    Connected {
        socket: OwnedReadHalf,
        /// Set once the broker is gone with nothing outstanding.
        lost: Arc<AtomicBool>,
    },
}

/// What is done with an answer of the session's own broker.
#[derive(Debug)]
pub(super) enum Answer {
    /// Forwarded as it arrives.
    Pass,
    /// Forwarded as it arrives; the broker has executed the Produce.
    Produce(Ticket),
    /// The answer to a Produce that the client sent with acks=0: read and dropped. An error in it closes the client's
    /// connection, as the broker itself does.
    Swallow { ticket: Ticket, version: i16 },
    /// Patched as it arrives.
    Fetch { version: i16 },
    /// Lockgate's own request: the body goes to whoever asked.
    Collect {
        api_key: i16,
        version: i16,
        reply: oneshot::Sender<Result<Bytes>>,
    },
}

/// A whole response frame around a body.
pub(super) fn response_frame(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    body: impl FnOnce(&mut BytesMut) -> Result<(), WireError>,
) -> Result<Bytes, WireError> {
    let mut frame = BytesMut::with_capacity(256);
    frame.extend_from_slice(&[0; SIZE_BYTES]);
    header::encode_response(api_key, version, correlation_id, &mut frame)?;
    body(&mut frame)?;
    let size = lockgate_wire::frame::prefix(frame.len() - SIZE_BYTES)?;
    frame[..SIZE_BYTES].copy_from_slice(&size);
    Ok(frame.freeze())
}
