//! One socket's bytes, read in large pieces into a borrowed buffer and handed on from its front.
//!
//! The buffer has two parts: what is *ready* to be written to the other side as it is (several frames together, so one
//! system call), and what is *pending*.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use super::buffers::{BUFFER_BYTES, BufferPool};

/// The half of a socket that is read.
#[derive(Debug)]
pub(super) struct Intake {
    socket: OwnedReadHalf,
    pool: Arc<BufferPool>,
    /// None while the socket is idle.
    buffer: Option<BytesMut>,
    ready: usize,
    /// The peer closed its end, or the connection broke.
    pub(super) closed: bool,
}

impl Intake {
    pub(super) fn new(socket: OwnedReadHalf, pool: Arc<BufferPool>) -> Self {
        Self {
            socket,
            pool,
            buffer: None,
            ready: 0,
            closed: false,
        }
    }

    /// What has been read and is not decided yet.
    pub(super) fn pending(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |all| &all[self.ready..])
    }

    pub(super) fn pending_mut(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(all) => &mut all[self.ready..],
            None => &mut [],
        }
    }

    /// What may be written to the other side.
    pub(super) fn ready(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |all| &all[..self.ready])
    }

    /// The next `length` pending bytes may be written to the other side.
    pub(super) fn pass(&mut self, length: usize) {
        self.ready += length;
    }

    /// What was ready has been written.
    pub(super) fn written(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        self.consume(ready);
    }

    /// Drops pending bytes. Only right while nothing is ready.
    pub(super) fn consume(&mut self, length: usize) {
        if let Some(all) = &mut self.buffer {
            all.advance(length);
        }
    }

    /// Takes pending bytes out of the buffer, to be kept while others are read. Only right while nothing is ready.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        match &mut self.buffer {
            Some(all) => all.split_to(length.min(all.len())),
            None => BytesMut::new(),
        }
    }

    /// Waits for bytes and reads them; holds no buffer while an idle socket is waited for. `wanted` is the length of
    /// the frame that has to become whole: the buffer grows as bytes arrive, not by what a size prefix claims.
    /// Dropping this future loses nothing.
    pub(super) async fn fill(&mut self, wanted: usize) {
        let idle = self.buffer.as_ref().is_none_or(BytesMut::is_empty);
        let readable = if idle {
            tokio::select! {
                biased;
                readable = self.socket.readable() => readable,
                () = std::future::ready(()) => {
                    if let Some(buffer) = self.buffer.take() {
                        self.pool.give_back(buffer);
                    }
                    self.socket.readable().await
                }
            }
        } else {
            Ok(())
        };
        if readable.is_err() {
            self.closed = true;
            return;
        }
        let pool = &self.pool;
        let buffer = self.buffer.get_or_insert_with(|| pool.borrow());
        if buffer.capacity() - buffer.len() < BUFFER_BYTES / 8 {
            let missing = wanted.saturating_sub(buffer.len());
            buffer.reserve(missing.clamp(BUFFER_BYTES / 2, buffer.len().max(BUFFER_BYTES)));
        }
        match self.socket.read_buf(buffer).await {
            Ok(0) | Err(_) => self.closed = true,
            Ok(_) => {}
        }
    }

    /// Reads and drops what comes until the peer closes.
    pub(super) async fn discard(&mut self) {
        while !self.closed {
            let pending = self.pending().len();
            self.consume(pending);
            self.fill(0).await;
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.pool.give_back(buffer);
        }
    }
}
