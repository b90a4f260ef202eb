//! Pure: which waiting batches go out as one. A link has one write on its way, so its throughput is the size of a batch
//! over a round trip; where several small ones wait, the link is behind and they are merged.
//!
//! Only batches that get the link's own id are: with a kept id the destination has to recognise a client's retry batch
//! by batch (DESIGN section 4). Compressed ones go as they are.

use lockgate_wire::batch::{BatchView, Stamp, can_be_merged, merge, next_sequence};

use super::queue::Item;
use super::{Engine, Write, keeps_id};

/// Bytes of a merged batch.
pub(in crate::replicator) const MERGED_BYTES_MAX: usize = 512 << 10;
/// Above this a batch is large enough for a write of its own: merging costs two passes over its bytes.
const PART_BYTES_MAX: usize = 48 << 10;

impl Engine {
    /// The next write, if it is one of several batches. A batch that contradicts itself is left for a write of its own,
    /// so that the broker says what is wrong with it.
    pub(super) fn merge_next(&mut self) -> Option<Write> {
        let link = self.stamp.filter(|_| !self.unmerged)?;
        let parts = || {
            let views = self.queue.iter().map_while(part);
            views.scan(0, |bytes, part| {
                *bytes += part.bytes().len();
                (*bytes <= MERGED_BYTES_MAX).then_some(part)
            })
        };
        let base = parts().nth(1).and(parts().next())?.base_offset();
        let stamp = Stamp::Restamp {
            producer_id: link.id,
            producer_epoch: 0,
            base_sequence: link.next_sequence,
        };
        let bytes = merge(parts(), stamp).ok()?.freeze();
        let batch = BatchView::new(&bytes).ok()?;
        let write = Write {
            base,
            records: i64::from(batch.record_count()),
            max_timestamp: batch.max_timestamp(),
            marker_epoch: None,
            merged: true,
            bytes: bytes.clone(),
        };
        let next_sequence = next_sequence(link.next_sequence, batch.record_count());
        for _ in 0..parts().count() {
            self.queue.pop();
        }
        self.stamp.as_mut()?.next_sequence = next_sequence;
        Some(write)
    }

    /// A merged batch was refused for good, perhaps for its size: what it was made of is fetched again, and nothing is
    /// merged on this link any more.
    pub(super) fn unmerge(&mut self) {
        self.unmerged = true;
        self.writing = None;
        self.drop_queue();
        self.state = super::State::Inspecting;
    }
}

fn part(item: &Item) -> Option<BatchView<'_>> {
    let Item::Batch { bytes, .. } = item else {
        return None;
    };
    let small = bytes.len() <= PART_BYTES_MAX && !keeps_id(bytes);
    let batch = BatchView::new(bytes).ok().filter(|_| small)?;
    can_be_merged(batch).then_some(batch)
}

#[cfg(test)]
mod tests;
