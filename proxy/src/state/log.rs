//! What a read_committed reader sees in the bytes of a Fetch response. Pure.
//!
//! A broker limits the bytes to the last stable offset but leaves aborted records in them; the reader drops those
//! ([`lockgate_wire::committed`]).

use lockgate_wire::batch::{Batch, BatchView, Batches};
use lockgate_wire::committed::{self, Aborted};
use lockgate_wire::records::{DECOMPRESSED_BYTES_MAX, Records};

use super::entry::{Versioned, decode};
use super::keys::Key;

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
    aborted: Vec<Aborted>,
    from: i64,
) -> Result<Committed, String> {
    let mut filter = committed::Committed::new(aborted);
    let mut read = Committed::default();
    for batch in Batches::new(records) {
        let batch = match batch.map_err(|cause| format!("a batch cannot be read: {cause}"))? {
            Batch::Whole(batch) => batch,
            Batch::Partial(_) => break,
            Batch::Legacy { offset, .. } => {
                return Err(format!("offset {offset} was not written by Lockgate"));
            }
        };
        let shows = filter.shows(batch).map_err(|cause| {
            let offset = batch.base_offset();
            format!("the marker at offset {offset} cannot be read: {cause}")
        })?;
        if shows && !batch.is_transactional() {
            let offset = batch.base_offset();
            return Err(format!(
                "offset {offset} was not written in a transaction, so not by Lockgate"
            ));
        }
        if shows {
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

#[cfg(test)]
mod tests;
