//! Pure: what a batch must be to be copied as it is.

use lockgate_wire::WireError;
use lockgate_wire::batch::{Batch, BatchView};
use lockgate_wire::records::is_copied_as_it_is;

/// The batch that stands next in an answer; none at a partial one, which ends it.
pub(super) fn whole(
    next: i64,
    batch: Result<Batch<'_>, WireError>,
) -> Result<Option<BatchView<'_>>, String> {
    match batch {
        Ok(Batch::Whole(batch)) => Ok(Some(batch)),
        Ok(Batch::Partial(_)) => Ok(None),
        // Made into batches before an engine sees them (`rebuild`).
        Ok(Batch::Legacy { magic, offset, .. }) => Err(format!(
            "messages of format {magic} at offset {offset} were not rebuilt"
        )),
        Err(error) => Err(format!(
            "the source's records at offset {next} cannot be read: {error}"
        )),
    }
}

/// Refuses a batch of visible records that cannot be copied as it is.
pub(super) fn check(next: i64, batch: BatchView<'_>) -> Result<(), String> {
    let base = batch.base_offset();
    if base < next {
        return Err(format!(
            "diverged: the source has a batch of offsets {base} to {} where the destination ends at {next}",
            batch.last_offset()
        ));
    }
    if !is_copied_as_it_is(batch) {
        // The same.
        return Err(format!("the batch at offset {base} was not rebuilt"));
    }
    Ok(())
}
