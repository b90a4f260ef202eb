//! Which batches of a read_committed answer a consumer would see. Brokers return everything below
//! the last stable offset, markers and aborted data included, and beside it the aborted transactions
//! of that range; consumers filter (`CompletedFetch` of Kafka's Java client does the same).

use std::collections::HashSet;

use crate::WireError;
use crate::batch::BatchView;
use crate::records::Records;

/// The key of a marker is a version and a type, 0 for abort (`ControlRecordType`).
const ABORT: [u8; 2] = 0_i16.to_be_bytes();
/// A marker's payload is a few dozen bytes; markers are never compressed.
const MARKER_BYTES_MAX: usize = 1 << 16;

/// An aborted transaction as a Fetch answer names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: i64,
}

/// Walks one answer from its first batch on.
#[derive(Debug)]
pub struct Committed {
    /// Newest first, so that the next one is popped.
    waiting: Vec<Aborted>,
    /// Producers inside an aborted transaction.
    open: HashSet<i64>,
}

impl Committed {
    /// For one answer, with the aborted transactions that it names.
    pub fn new(mut aborted: Vec<Aborted>) -> Self {
        aborted.sort_by_key(|one| std::cmp::Reverse(one.first_offset));
        Self {
            waiting: aborted,
            open: HashSet::new(),
        }
    }

    /// Whether the batch holds records that consumers see. Every batch of the answer has to come by,
    /// in order. A marker that cannot be read is an error: taken for a commit or an abort it could
    /// hide records or show undone ones.
    pub fn shows(&mut self, batch: BatchView<'_>) -> Result<bool, WireError> {
        while let Some(next) = self
            .waiting
            .pop_if(|next| next.first_offset <= batch.last_offset())
        {
            self.open.insert(next.producer_id);
        }
        let producer_id = batch.producer_id().get();
        if batch.is_control() {
            if is_abort(batch)? {
                self.open.remove(&producer_id);
            }
            return Ok(false);
        }
        let aborted = batch.is_transactional() && self.open.contains(&producer_id);
        // A batch that compaction emptied stays for its producer's sequence.
        Ok(!aborted && batch.record_count() > 0)
    }
}

/// A marker that compaction emptied is none any more: the records that it ended are gone too.
fn is_abort(marker: BatchView<'_>) -> Result<bool, WireError> {
    let records = Records::read(marker, MARKER_BYTES_MAX)?;
    let Some(record) = records.iter().next().transpose()? else {
        return Ok(false);
    };
    let kind = record.key.and_then(|key| key.get(2..4));
    Ok(kind.ok_or(WireError::Record)? == ABORT)
}
