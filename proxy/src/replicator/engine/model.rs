//! What the engine is tested against: a source log that grows, and a destination that treats producer ids as a
//! broker does (PROTOCOL.md: an unknown id is accepted at any sequence, the last five batches are recognised).

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use lockgate_wire::batch::{BatchMut, BatchView, attributes};
use lockgate_wire::committed::Aborted;
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

/// The marker that ends a transaction, as brokers store it.
pub(super) fn marker(base: i64, producer_id: ProducerId, commit: bool) -> Bytes {
    let key = [0, 0, 0, u8::from(commit)];
    let record = NewRecord {
        timestamp: 1_700_000_000_000,
        key: Some(&key),
        value: Some(&[0; 6]),
        headers: &[],
    };
    let producer = Producer {
        id: producer_id,
        epoch: 0,
        base_sequence: -1,
    };
    let spec = BatchSpec {
        producer: Some(producer),
        transactional: true,
        ..BatchSpec::default()
    };
    let mut bytes = BytesMut::from(&batch(&[record], spec).unwrap()[..]);
    let mut marker = BatchMut::new(&mut bytes).unwrap();
    marker.set_attributes(attributes::CONTROL, 0);
    marker.set_base_offset(base);
    bytes.freeze()
}

/// A batch of a transaction.
pub(super) fn transactional(base: i64, records: usize, id: ProducerId, salt: u64) -> Bytes {
    let producer = Producer {
        id,
        epoch: 0,
        base_sequence: 0,
    };
    let mut bytes = BytesMut::from(&stored(base, records, Some(producer), salt)[..]);
    let mut batch = BatchMut::new(&mut bytes).unwrap();
    batch.set_attributes(attributes::TRANSACTIONAL, 0);
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
    /// Of ended transactions, with the offset of the marker.
    aborted: Vec<(Aborted, i64)>,
    /// First offset of the open transaction of each writer.
    open: HashMap<i64, i64>,
}

impl SourceLog {
    pub(super) fn new(start: i64) -> Self {
        Self {
            start,
            end: start,
            batches: Vec::new(),
            aborted: Vec::new(),
            open: HashMap::new(),
        }
    }

    /// A batch of a transaction, which begins with it if none is open.
    pub(super) fn append_in_transaction(&mut self, writer: i64, records: usize, salt: u64) {
        self.open.entry(writer).or_insert(self.end);
        let id = ProducerId::new(writer);
        self.batches
            .push(transactional(self.end, records, id, salt));
        self.end += records as i64;
    }

    /// A marker, also where no transaction is open.
    pub(super) fn end_transaction(&mut self, writer: i64, commit: bool) {
        if let Some(first_offset) = self.open.remove(&writer)
            && !commit
        {
            let aborted = Aborted {
                producer_id: writer,
                first_offset,
            };
            self.aborted.push((aborted, self.end));
        }
        let id = ProducerId::new(writer);
        self.batches.push(marker(self.end, id, commit));
        self.end += 1;
    }

    pub(super) fn end_transactions(&mut self) {
        for writer in self.open.keys().copied().collect::<Vec<_>>() {
            self.end_transaction(writer, writer % 2 == 0);
        }
    }

    /// Offsets that compaction has emptied before anybody looked.
    pub(super) fn leave_gap(&mut self, offsets: i64) {
        self.end += offsets;
    }

    /// Below this nothing is undecided.
    fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Whether consumers see the records of this batch.
    pub(super) fn shows(&self, bytes: &Bytes) -> bool {
        let batch = view(bytes);
        let aborted = self.aborted.iter().any(|(aborted, marker)| {
            aborted.producer_id == batch.producer_id().get()
                && (aborted.first_offset..*marker).contains(&batch.base_offset())
        });
        !(batch.is_control() || batch.is_transactional() && aborted)
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

    /// What a Fetch returns: from the batch that contains the offset, cut off anywhere after the first batch, and the
    /// aborted transactions of that range.
    pub(super) fn fetch(&self, from: i64, batches_max: usize, cut: usize) -> (Bytes, Vec<Aborted>) {
        let wanted: Vec<&Bytes> = self
            .batches
            .iter()
            .skip_while(|bytes| view(bytes).last_offset() < from)
            .take_while(|bytes| view(bytes).last_offset() < self.last_stable())
            .take(batches_max)
            .collect();
        let range = match (wanted.first(), wanted.last()) {
            (Some(first), Some(last)) => view(first).base_offset()..view(last).next_offset(),
            _ => 0..0,
        };
        let aborted = self
            .aborted
            .iter()
            .filter(|(one, marker)| *marker >= range.start && one.first_offset < range.end)
            .map(|(one, _)| *one)
            .collect();
        let all: Vec<u8> = wanted.into_iter().flatten().copied().collect();
        let whole = all.len().saturating_sub(cut);
        (Bytes::from(all).slice(..whole), aborted)
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
    /// Offsets that markers take.
    pub(super) marked: Vec<i64>,
    /// The newest epoch of each process's marker id.
    marker_epochs: HashMap<u32, i16>,
    known: HashMap<i64, Known>,
}

impl Broker {
    pub(super) fn new(start: i64) -> Self {
        Self {
            start,
            end: start,
            batches: Vec::new(),
            marked: Vec::new(),
            marker_epochs: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// WriteTxnMarkers: refused where the epoch is older, never recognised as a copy.
    pub(super) fn mark(&mut self, id: u32, epoch: i16, count: i64) {
        let newest = self.marker_epochs.entry(id).or_default();
        if epoch >= *newest {
            *newest = epoch;
            self.marked.extend(self.end..self.end + count);
            self.end += count;
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
