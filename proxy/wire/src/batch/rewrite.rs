//! Changing a batch's header: single fields, and the whole rewrite the replicator does.

use bytes::{BufMut, BytesMut};

use super::{BatchView, HEADER_BYTES, LOG_OVERHEAD, at, attributes, checksum};
use crate::WireError;
use crate::producer_id::ProducerId;

/// One whole batch of magic 2 whose header is changed in place.
///
/// Fields under the checksum are changed through [`BatchMut::change`], which brings the checksum
/// up to date once for all of them, at a cost that does not depend on the payload.
#[derive(Debug)]
pub struct BatchMut<'a> {
    bytes: &'a mut [u8],
}

/// Whose producer id a copied batch carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Id, epoch and sequence stay as they are.
    Keep,
    /// These replace them.
    Restamp {
        /// The new id.
        producer_id: ProducerId,
        /// Its epoch.
        producer_epoch: i16,
        /// The sequence number of the first record.
        base_sequence: i32,
    },
}

impl<'a> BatchMut<'a> {
    /// Takes `bytes` as exactly one whole batch of magic 2.
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, WireError> {
        BatchView::new(bytes)?;
        Ok(Self { bytes })
    }

    /// The batch as it is now.
    pub fn view(&self) -> BatchView<'_> {
        BatchView { bytes: self.bytes }
    }

    /// Sets the base offset (outside the checksum).
    pub fn set_base_offset(&mut self, offset: i64) {
        self.put(at::BASE_OFFSET, offset.to_be_bytes());
    }

    /// Sets the leader epoch (outside the checksum).
    pub fn set_partition_leader_epoch(&mut self, epoch: i32) {
        self.put(at::PARTITION_LEADER_EPOCH, epoch.to_be_bytes());
    }

    /// Sets and clears attribute bits (bits in both are set).
    pub fn set_attributes(&mut self, set: i16, clear: i16) {
        self.change(|header| header.set_attributes(set, clear));
    }

    /// Sets the producer's id, epoch and first sequence number.
    pub fn restamp(&mut self, producer_id: ProducerId, producer_epoch: i16, base_sequence: i32) {
        self.change(|header| header.restamp(producer_id, producer_epoch, base_sequence));
    }

    /// Does what the replicator does to every batch: base offset 0, no transaction, no delete
    /// horizon, and what `stamp` says.
    pub fn rewrite(&mut self, stamp: Stamp) {
        self.set_base_offset(0);
        self.change(|header| {
            header.set_attributes(0, attributes::TRANSACTIONAL | attributes::DELETE_HORIZON);
            if let Stamp::Restamp {
                producer_id,
                producer_epoch,
                base_sequence,
            } = stamp
            {
                header.restamp(producer_id, producer_epoch, base_sequence);
            }
        });
    }

    /// Changes fields under the checksum and brings it up to date; the payload is not read.
    pub fn change(&mut self, change: impl FnOnce(&mut Header<'_>)) {
        let payload_bytes = self.bytes.len() - HEADER_BYTES;
        let before = crc32c::crc32c(&self.bytes[at::ATTRIBUTES..HEADER_BYTES]);
        change(&mut Header {
            bytes: &mut self.bytes[..HEADER_BYTES],
        });
        let after = crc32c::crc32c(&self.bytes[at::ATTRIBUTES..HEADER_BYTES]);
        if before != after {
            let stored = self.view().stored_checksum();
            let checksum = stored ^ checksum::behind(before ^ after, payload_bytes);
            self.put(at::CRC, checksum.to_be_bytes());
        }
    }

    /// Computes the checksum over the whole batch: one pass. For batches made here; a batch from
    /// elsewhere would have its damage signed.
    pub(crate) fn sign(&mut self) {
        let checksum = self.view().computed_checksum();
        self.put(at::CRC, checksum.to_be_bytes());
    }

    fn put<const N: usize>(&mut self, at: usize, field: [u8; N]) {
        put(self.bytes, at, field);
    }
}

/// The fields of a batch header that its checksum covers, inside [`BatchMut::change`].
#[derive(Debug)]
pub struct Header<'a> {
    bytes: &'a mut [u8],
}

impl Header<'_> {
    /// Sets and clears attribute bits (bits in both are set).
    pub fn set_attributes(&mut self, set: i16, clear: i16) {
        let attributes = super::i16_in(self.bytes, at::ATTRIBUTES) & !clear | set;
        put(self.bytes, at::ATTRIBUTES, attributes.to_be_bytes());
    }

    /// Sets the producer's id, epoch and first sequence number.
    pub fn restamp(&mut self, producer_id: ProducerId, producer_epoch: i16, base_sequence: i32) {
        put(self.bytes, at::PRODUCER_ID, producer_id.get().to_be_bytes());
        put(self.bytes, at::PRODUCER_EPOCH, producer_epoch.to_be_bytes());
        put(self.bytes, at::BASE_SEQUENCE, base_sequence.to_be_bytes());
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}

/// A copy of `batch` as the replicator produces it: one copy of the bytes, no look at the payload.
/// Use [`BatchMut::rewrite`] where the bytes are owned already.
pub fn passthrough(batch: BatchView<'_>, stamp: Stamp) -> BytesMut {
    let mut copy = BytesMut::from(batch.bytes());
    BatchMut { bytes: &mut copy }.rewrite(stamp);
    copy
}

/// What a header is made of, for batches built here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) attributes: i16,
    pub(crate) record_count: i32,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
}

impl Fields {
    /// Writes a whole batch with base offset 0 around `payload`.
    pub(crate) fn batch(self, payload: &[u8]) -> Result<BytesMut, WireError> {
        let size = HEADER_BYTES + payload.len();
        let length = i32::try_from(size - LOG_OVERHEAD)
            .map_err(|_| WireError::TooLongToEncode(payload.len()))?;
        let mut out = BytesMut::with_capacity(size);
        out.put_i64(0);
        out.put_i32(length);
        out.put_i32(-1);
        out.put_i8(super::MAGIC);
        out.put_u32(0);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id.get());
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.record_count);
        out.put_slice(payload);
        BatchMut { bytes: &mut out }.sign();
        Ok(out)
    }
}
