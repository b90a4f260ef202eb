//! What a read_committed reader sees in the bytes of a Fetch response. Pure.
//!
//! A broker limits the bytes to the last stable offset but leaves aborted records in them; the reader drops those, as
//! `CompletedFetch` in Kafka's Java client does.

use std::collections::HashSet;

use lockgate_wire::batch::{Batch, BatchView, Batches};
use lockgate_wire::records::{DECOMPRESSED_BYTES_MAX, Records};

use super::entry::{Versioned, decode};
use super::keys::Key;

/// A control record's type for an aborted transaction (`ControlRecordType.ABORT`).
const ABORT: i16 = 0;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    /// Whose.
    pub(super) producer_id: i64,
    /// Where it began in this partition.
    pub(super) first_offset: i64,
}

/// What one answer holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Committed {
    /// In the log's order.
    pub(super) entries: Vec<(Key, Versioned)>,
    /// Where to read on; none where the answer held no whole batch.
    pub(super) next: Option<i64>,
}

/// Reads the committed records at and after `from`.
pub(super) fn committed(
    records: &[u8],
    aborted: &[Aborted],
    from: i64,
) -> Result<Committed, String> {
    let mut begun = aborted.to_vec();
    begun.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut open = HashSet::new();
    let mut read = Committed::default();
    for batch in Batches::new(records) {
        let batch = match batch.map_err(|cause| format!("a batch cannot be read: {cause}"))? {
            Batch::Whole(batch) => batch,
            Batch::Partial(_) => break,
            Batch::Legacy { offset, .. } => {
                return Err(format!("offset {offset} was not written by Lockgate"));
            }
        };
        while let Some(transaction) =
            begun.pop_if(|transaction| transaction.first_offset <= batch.last_offset())
        {
            open.insert(transaction.producer_id);
        }
        if batch.is_control() {
            if is_abort(batch)? {
                open.remove(&batch.producer_id().get());
            }
        } else if !batch.is_transactional() {
            let offset = batch.base_offset();
            return Err(format!(
                "offset {offset} was not written in a transaction, so not by Lockgate"
            ));
        } else if !open.contains(&batch.producer_id().get()) {
            read_entries(batch, from, &mut read.entries)?;
        }
        read.next = Some(batch.next_offset());
    }
    Ok(read)
}

fn read_entries(
    batch: BatchView<'_>,
    from: i64,
    entries: &mut Vec<(Key, Versioned)>,
) -> Result<(), String> {
    let base = batch.base_offset();
    let unreadable =
        |cause: lockgate_wire::WireError| format!("the batch at offset {base}: {cause}");
    batch.check_checksum().map_err(unreadable)?;
    for record in &Records::read(batch, DECOMPRESSED_BYTES_MAX).map_err(unreadable)? {
        let record = record.map_err(unreadable)?;
        if record.offset < from {
            continue;
        }
        let (Some(key), Some(value)) = (record.key, record.value) else {
            return Err(format!("offset {} has no key or no value", record.offset));
        };
        let entry =
            decode(key, value).map_err(|cause| format!("offset {}: {cause}", record.offset))?;
        entries.push(entry);
    }
    Ok(())
}

/// A control record's key is two i16: version and type.
fn is_abort(batch: BatchView<'_>) -> Result<bool, String> {
    let unreadable = |cause: lockgate_wire::WireError| format!("a control batch: {cause}");
    let records = Records::read(batch, DECOMPRESSED_BYTES_MAX).map_err(unreadable)?;
    // Compaction may leave an empty control batch behind; its transaction's records are gone with it.
    let Some(first) = records.iter().next() else {
        return Ok(false);
    };
    let key = first.map_err(unreadable)?.key.unwrap_or_default();
    Ok(key
        .get(2..4)
        .is_some_and(|kind| kind == ABORT.to_be_bytes()))
}

#[cfg(test)]
mod tests;
