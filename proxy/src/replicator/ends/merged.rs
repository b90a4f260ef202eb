//! What a merged batch of the destination is compared with: the source's batches that lie where it lies, merged again.

use bytes::{Bytes, BytesMut};
use lockgate_wire::batch::{Batch, BatchMut, BatchView, Batches, Stamp, merge};

use super::{Tail, not_there};
use crate::error::Result;
use crate::replicator::engine::MERGED_BYTES_MAX;
use crate::replicator::fetch::read_once;
use crate::upstream::Cluster;
use crate::words::TopicPartition;

/// Bytes of the source that one merged batch can be made of: the smallest record of all has a header of its own.
const SOURCE_BYTES_MAX: usize = 16 * MERGED_BYTES_MAX;

/// What the source's batches make that lie where `copy` lies.
pub(super) enum Origin {
    /// The batch that they make.
    Batch(Tail),
    /// A cleaner or a deletion has been there: the source says nothing any more.
    Cleaned,
    /// They make none: the copy is not of them.
    None,
}

/// Merges what the source, whose log starts at `start`, has from the first offset of `copy` to its last.
pub(super) async fn origin(
    source: &Cluster,
    at: &TopicPartition,
    copy: &Tail,
    start: i64,
) -> Result<Origin> {
    if start > copy.base || copy.is_cleaned || i64::from(copy.records) != copy.last - copy.base + 1
    {
        return Ok(Origin::Cleaned);
    }
    let (mut parts, mut bytes, mut next): (Vec<Bytes>, usize, i64) = (Vec::new(), 0, copy.base);
    while next <= copy.last {
        let records = read_once(source, at, next).await?;
        let before = next;
        for batch in Batches::new(&records) {
            let Ok(Batch::Whole(batch)) = batch else {
                break;
            };
            if batch.base_offset() > copy.last {
                break;
            }
            bytes += batch.bytes().len();
            if batch.base_offset() < copy.base {
                return Ok(Origin::None);
            }
            if batch.base_offset() != next || !batch.is_dense() || batch.has_delete_horizon() {
                return Ok(Origin::Cleaned);
            }
            parts.push(records.slice_ref(batch.bytes()));
            next = batch.next_offset();
        }
        if next == before {
            return Err(not_there(source, at, next));
        }
        if bytes > SOURCE_BYTES_MAX {
            return Ok(Origin::None);
        }
    }
    Ok(tail(&parts, copy.base).map_or(Origin::None, Origin::Batch))
}

fn tail(parts: &[Bytes], base: i64) -> Option<Tail> {
    let views = parts.iter().map_while(|part| BatchView::new(part).ok());
    let mut merged: BytesMut = merge(views, Stamp::Keep).ok()?;
    let mut batch = BatchMut::new(&mut merged).ok()?;
    batch.set_base_offset(base);
    Some(Tail::of(batch.view()))
}

#[cfg(test)]
mod tests {
    use lockgate_wire::producer_id::ProducerId;
    use lockgate_wire::records::{BatchSpec, NewRecord, batch};

    use super::*;

    fn part(base: i64, value: &str) -> Bytes {
        let record = NewRecord {
            timestamp: base,
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        };
        let bytes = batch(&[record], BatchSpec::default()).unwrap();
        let mut bytes = BytesMut::from(&bytes[..]);
        BatchMut::new(&mut bytes).unwrap().set_base_offset(base);
        bytes.freeze()
    }

    #[test]
    fn a_merged_copy_is_known_by_its_parts() {
        let parts = [part(7, "a"), part(8, "b"), part(9, "c")];
        let stamp = Stamp::Restamp {
            producer_id: ProducerId::own(5),
            producer_epoch: 0,
            base_sequence: 3,
        };
        let views = parts.iter().map(|part| BatchView::new(part).unwrap());
        let mut copy = merge(views, stamp).unwrap();
        let mut copy = BatchMut::new(&mut copy).unwrap();
        copy.set_base_offset(7);
        let copy = Tail::of(copy.view());
        assert!(tail(&parts, 7).unwrap().is_origin_of(&copy));
        let others = [part(7, "a"), part(8, "x"), part(9, "c")];
        assert!(!tail(&others, 7).unwrap().is_origin_of(&copy));
        assert!(!tail(&parts[..2], 7).unwrap().is_origin_of(&copy));
        assert!(tail(&[parts[0].clone(), parts[2].clone()], 7).is_none());
    }
}
