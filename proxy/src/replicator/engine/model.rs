//! What the engine is tested against: a source log that grows, and a destination that treats producer ids as a
//! broker does (PROTOCOL.md: an unknown id is accepted at any sequence, the last five batches are recognised).

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use lockgate_wire::batch::{BatchMut, BatchView};
use lockgate_wire::producer_id::ProducerId;
use lockgate_wire::records::{BatchSpec, NewRecord, Producer, batch};

/// `NUM_BATCHES_TO_RETAIN` of Kafka's `ProducerStateEntry`.
const RECOGNISED_BATCHES: usize = 5;
pub(super) const OUT_OF_ORDER: i16 = 45;

/// A batch of `records` records as it stands in a log at `base`.
pub(super) fn stored(base: i64, records: usize, producer: Option<Producer>, salt: u64) -> Bytes {
    let value = salt.to_be_bytes();
    let new = vec![
        NewRecord {
            timestamp: 1_700_000_000_000,
            key: None,
            value: Some(&value),
            headers: &[],
        };
        records
    ];
    let spec = BatchSpec {
        producer,
        ..BatchSpec::default()
    };
    let mut bytes = BytesMut::from(&batch(&new, spec).unwrap()[..]);
    BatchMut::new(&mut bytes).unwrap().set_base_offset(base);
    bytes.freeze()
}

/// A client that Lockgate gave an id, as far as the source's log shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) id: ProducerId,
    pub(super) sequence: i32,
}

/// The source's log.
#[derive(Debug)]
pub(super) struct SourceLog {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) batches: Vec<Bytes>,
}

impl SourceLog {
    pub(super) fn new(start: i64) -> Self {
        Self {
            start,
            end: start,
            batches: Vec::new(),
        }
    }

    pub(super) fn append(&mut self, records: usize, client: Option<&mut Client>, salt: u64) {
        let producer = match client {
            Some(client) => {
                let base_sequence = client.sequence;
                client.sequence += records as i32;
                Some(Producer {
                    id: client.id,
                    epoch: 0,
                    base_sequence,
                })
            }
            // A cluster's own id, which must not cross.
            None if salt.is_multiple_of(2) => Some(Producer {
                id: ProducerId::new(41),
                epoch: 3,
                base_sequence: 17,
            }),
            None => None,
        };
        self.batches.push(stored(self.end, records, producer, salt));
        self.end += records as i64;
    }

    /// What a Fetch returns: from the batch that contains the offset, cut off anywhere after the first batch.
    pub(super) fn fetch(&self, from: i64, batches_max: usize, cut: usize) -> Bytes {
        let wanted = self
            .batches
            .iter()
            .skip_while(|bytes| view(bytes).last_offset() < from)
            .take(batches_max);
        let all: Vec<u8> = wanted.flat_map(|bytes| bytes.iter().copied()).collect();
        let whole = all.len().saturating_sub(cut);
        Bytes::from(all).slice(..whole)
    }
}

#[derive(Debug, Default)]
struct Known {
    epoch: i16,
    recent: VecDeque<(i32, i32, i64)>,
}

/// The destination's leader.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) batches: Vec<(i64, Bytes)>,
    known: HashMap<i64, Known>,
}

impl Broker {
    pub(super) fn new(start: i64) -> Self {
        Self {
            start,
            end: start,
            batches: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Appends as `ProducerAppendInfo` allows; the base offset, or the error code.
    pub(super) fn append(&mut self, bytes: &Bytes) -> Result<i64, i16> {
        let batch = view(bytes);
        assert_eq!(batch.base_offset(), 0, "clients write base offset 0");
        batch.check_checksum().unwrap();
        let (first, last) = (batch.base_sequence(), batch.last_sequence());
        let offset = self.end;
        if batch.producer_id().get() >= 0 {
            let known = self.known.entry(batch.producer_id().get()).or_default();
            let same = |seen: &&(i32, i32, i64)| (seen.0, seen.1) == (first, last);
            if known.epoch == batch.producer_epoch()
                && let Some(seen) = known.recent.iter().find(same)
            {
                return Ok(seen.2);
            }
            if let Some(newest) = known.recent.back()
                && first != newest.1.wrapping_add(1) & i32::MAX
            {
                return Err(OUT_OF_ORDER);
            }
            known.epoch = batch.producer_epoch();
            known.recent.push_back((first, last, offset));
            if known.recent.len() > RECOGNISED_BATCHES {
                known.recent.pop_front();
            }
        }
        self.end += i64::from(batch.record_count());
        self.batches.push((offset, bytes.clone()));
        Ok(offset)
    }

    /// Producer state expires by record timestamp (trap 1).
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

pub(super) fn view(bytes: &Bytes) -> BatchView<'_> {
    BatchView::new(bytes).unwrap()
}
