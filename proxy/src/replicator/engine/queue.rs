//! Pure: what was fetched and waits to be written, in the order of offsets and without a gap.

use std::collections::VecDeque;

use bytes::Bytes;

/// A stretch of offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A batch of records that consumers see. The bytes are a slice of the answer it came in; `held` counts them and
    /// what else of that answer they keep in memory.
    Batch {
        base: i64,
        bytes: Bytes,
        held: usize,
    },
    /// Offsets that hold nothing which consumers see: markers, aborted records, compacted ones.
    Hole { from: i64, to: i64 },
}

/// The queue of one link.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    hole_offsets: i64,
}

impl Queue {
    /// Bytes that are kept in memory by what waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Offsets that wait for markers.
    pub(super) fn hole_offsets(&self) -> i64 {
        self.hole_offsets
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// What waits, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> + Clone {
        self.items.iter()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// `hidden` bytes of the same answer stay in memory with it.
    pub(super) fn push_batch(&mut self, base: i64, bytes: Bytes, hidden: usize) {
        let held = bytes.len() + hidden;
        self.bytes += held;
        self.items.push_back(Item::Batch { base, bytes, held });
    }

    /// Holes that meet become one, so that one request fills them.
    pub(super) fn push_hole(&mut self, from: i64, to: i64) {
        self.hole_offsets += to - from;
        match self.items.back_mut() {
            Some(Item::Hole { to: end, .. }) if *end == from => *end = to,
            _ => self.items.push_back(Item::Hole { from, to }),
        }
    }

    /// Puts back what is left of a hole.
    pub(super) fn put_back(&mut self, from: i64, to: i64) {
        if from < to {
            self.hole_offsets += to - from;
            self.items.push_front(Item::Hole { from, to });
        }
    }

    /// Takes the hole that begins at `from`, if it is next; returns where it ends, or `from`.
    pub(super) fn take_hole(&mut self, from: i64) -> i64 {
        match self.items.front() {
            Some(Item::Hole { from: next, to }) if *next == from => {
                let to = *to;
                self.pop();
                to
            }
            _ => from,
        }
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front();
        match &item {
            Some(Item::Batch { held, .. }) => self.bytes -= held,
            Some(Item::Hole { from, to }) => self.hole_offsets -= to - from,
            None => {}
        }
        item
    }
}
