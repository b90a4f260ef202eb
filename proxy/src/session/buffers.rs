//! Read buffers, borrowed while a socket has bytes and given back when it is drained: an idle connection holds none,
//! and a busy one reads in large pieces (BASELINES: 0.32 CPU s/GB with large buffers, 0.52 with small ones).

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;

/// Bytes of one buffer.
pub(super) const BUFFER_BYTES: usize = 128 << 10;
/// Buffers kept for the next socket that becomes readable: 16 MiB.
const FREE_MAX: usize = 128;

/// Buffers that nobody reads into at the moment.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    free: Mutex<Vec<BytesMut>>,
}

impl BufferPool {
    /// A buffer with at least [`BUFFER_BYTES`] of room.
    pub(super) fn borrow(&self) -> BytesMut {
        self.free()
            .pop()
            .unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back. One that grew for a large frame, or whose memory a parked request still uses, is let go.
    pub(super) fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        if buffer.capacity() > 2 * BUFFER_BYTES || !buffer.try_reclaim(BUFFER_BYTES) {
            return;
        }
        let mut free = self.free();
        if free.len() < FREE_MAX {
            free.push(buffer);
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<BytesMut>> {
        // One push or pop under the lock; a panic cannot leave it half done.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_unless_they_grew_or_are_shared() {
        let pool = BufferPool::default();
        let mut buffer = pool.borrow();
        buffer.extend_from_slice(&[7; 1000]);
        let parked = buffer.split_to(500).freeze();
        pool.give_back(buffer);
        assert!(pool.free().is_empty());
        drop(parked);
        pool.give_back(BytesMut::with_capacity(BUFFER_BYTES * 3));
        assert!(pool.free().is_empty());
        let mut buffer = pool.borrow();
        buffer.extend_from_slice(&[7; 1000]);
        let _ = buffer.split_to(900);
        pool.give_back(buffer);
        assert_eq!(pool.free().len(), 1);
        assert!(pool.borrow().capacity() >= BUFFER_BYTES);
    }
}
