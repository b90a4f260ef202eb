//! Logs as the comparison is tested on: records as a list, and the batches, markers and answers that brokers make of
//! them.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use lockgate_wire::batch::{BatchMut, BatchView, attributes};
use lockgate_wire::committed::Aborted;
use lockgate_wire::producer_id::ProducerId;
use lockgate_wire::records::{BatchSpec, Codec, NewRecord, Producer, RecordHeader, batch};
use rand::Rng;
use rand::rngs::StdRng;

use super::super::walk::Piece;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];
/// The producer whose transactions are aborted.
const ABORTER: i64 = 77;

/// One visible record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What a log looks like beside its records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Records of one batch at most.
    pub(super) batch_max: usize,
    /// Offsets without a record are aborted transactions; otherwise markers.
    pub(super) aborts: bool,
}

/// A partition's log.
pub(super) struct Log {
    batches: Vec<Bytes>,
    aborted: Vec<Aborted>,
}

fn stored(rows: &[Row], codec: Codec, producer: Option<i64>) -> Bytes {
    let headers: Vec<Vec<RecordHeader<'_>>> = rows
        .iter()
        .map(|row| {
            let headers = row.headers.iter();
            headers
                .map(|(key, value)| RecordHeader {
                    key,
                    value: value.as_deref(),
                })
                .collect()
        })
        .collect();
    let records: Vec<NewRecord<'_>> = rows
        .iter()
        .zip(&headers)
        .map(|(row, headers)| NewRecord {
            timestamp: row.timestamp,
            key: row.key.as_deref(),
            value: row.value.as_deref(),
            headers,
        })
        .collect();
    let spec = BatchSpec {
        producer: producer.map(|id| Producer {
            id: ProducerId::new(id),
            epoch: 0,
            base_sequence: 0,
        }),
        transactional: producer.is_some(),
        codec,
    };
    at(&batch(&records, spec).unwrap(), rows[0].offset, 0)
}

fn at(batch: &[u8], offset: i64, set: i16) -> Bytes {
    let mut bytes = BytesMut::from(batch);
    let mut batch = BatchMut::new(&mut bytes).unwrap();
    batch.set_attributes(set, 0);
    batch.set_base_offset(offset);
    bytes.freeze()
}

fn marker(offset: i64, commit: bool) -> Bytes {
    let row = Row {
        offset,
        timestamp: 5,
        key: Some(vec![0, 0, 0, u8::from(commit)]),
        value: Some(vec![0; 6]),
        headers: Vec::new(),
    };
    at(
        &stored(&[row], Codec::None, Some(ABORTER)),
        offset,
        attributes::CONTROL,
    )
}

/// Marks a batch as stamped by the broker's clock.
pub(super) fn log_append_time(bytes: &Bytes) -> Bytes {
    let offset = BatchView::new(bytes).unwrap().base_offset();
    at(bytes, offset, attributes::LOG_APPEND_TIME)
}

impl Log {
    /// The batches of these records, and something invisible at the offsets between them.
    pub(super) fn of(rows: &[Row], shape: Shape, random: &mut StdRng) -> Self {
        let mut log = Self {
            batches: Vec::new(),
            aborted: Vec::new(),
        };
        let mut rest = rows;
        let mut next = rows.first().map_or(0, |row| row.offset);
        while let Some(first) = rest.first() {
            log.fill(next..first.offset, shape.aborts, random);
            let most = random.random_range(1..=shape.batch_max);
            let dense = (0..)
                .zip(rest)
                .take_while(|(delta, row)| row.offset == first.offset + delta);
            let (taken, left) = rest.split_at(dense.take(most).count());
            let codec = CODECS[random.random_range(0..CODECS.len())];
            log.batches.push(stored(taken, codec, None));
            next = taken[taken.len() - 1].offset + 1;
            rest = left;
        }
        log
    }

    /// Dense records in one batch.
    pub(super) fn one_batch(rows: &[Row]) -> Self {
        Self {
            batches: vec![stored(rows, Codec::Lz4, None)],
            aborted: Vec::new(),
        }
    }

    /// The same log with every batch changed.
    pub(super) fn map(self, change: impl Fn(Bytes) -> Bytes) -> Self {
        Self {
            batches: self.batches.into_iter().map(change).collect(),
            aborted: self.aborted,
        }
    }

    fn fill(&mut self, offsets: Range<i64>, aborts: bool, random: &mut StdRng) {
        if aborts && offsets.end - offsets.start > 1 {
            let marker_at = offsets.end - 1;
            let rows: Vec<Row> = (offsets.start..marker_at)
                .map(|offset| Row {
                    offset,
                    timestamp: 1,
                    key: Some(b"aborted".to_vec()),
                    value: Some(vec![random.random()]),
                    headers: Vec::new(),
                })
                .collect();
            self.batches.push(stored(&rows, Codec::None, Some(ABORTER)));
            self.batches.push(marker(marker_at, false));
            self.aborted.push(Aborted {
                producer_id: ABORTER,
                first_offset: offsets.start,
            });
        } else if random.random_bool(0.7) {
            // Or nothing at all, as compaction leaves it.
            self.batches.extend(offsets.map(|at| marker(at, true)));
        }
    }

    /// What a reader brings of a range: answers of some batches, each with a cut batch behind them, then the end.
    pub(super) fn pieces(&self, range: Range<i64>, random: &mut StdRng) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let overlapping: Vec<&Bytes> = self
            .batches
            .iter()
            .filter(|batch| {
                let view = BatchView::new(batch).unwrap();
                view.last_offset() >= range.start && view.base_offset() < range.end
            })
            .collect();
        let mut rest = overlapping.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.random_range(1..=rest.len().min(7)));
            let mut records = BytesMut::new();
            now.iter()
                .for_each(|batch| records.extend_from_slice(batch));
            if let Some(cut) = later.first() {
                records.extend_from_slice(&cut[..random.random_range(0..cut.len())]);
            }
            let offsets = |batch: &Bytes| BatchView::new(batch).unwrap().base_offset();
            let end = later.first().map_or(i64::MAX, |next| offsets(next));
            let aborted = self.aborted.iter().filter(|one| one.first_offset < end);
            // A broker names the transactions whose marker lies behind the first offset of the answer.
            let aborted = aborted.filter(|one| self.marker_of(one) >= offsets(now[0]));
            pieces.push(Piece::Records {
                records: records.freeze(),
                aborted: aborted.copied().collect(),
            });
            rest = later;
        }
        pieces.push(Piece::End);
        pieces
    }

    fn marker_of(&self, aborted: &Aborted) -> i64 {
        let views = self
            .batches
            .iter()
            .map(|batch| BatchView::new(batch).unwrap());
        let markers = views.filter(|view| view.is_control());
        markers
            .map(|view| view.base_offset())
            .find(|at| *at > aborted.first_offset)
            .unwrap()
    }
}
