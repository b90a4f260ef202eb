//! Pure: one side's log as a comparison takes it in: answers of brokers go in, visible batches and their records come
//! out in order.

use std::ops::Range;

use bytes::Bytes;
use lockgate_wire::batch::{Batch, BatchView, Batches, attributes};
use lockgate_wire::committed::{Aborted, Committed};
use lockgate_wire::records::{DECOMPRESSED_BYTES_MAX, LegacyBatches};

use super::record::{Entry, Large, open};

/// What a reader brings from one side, in order.
#[derive(Debug)]
pub(super) enum Piece {
    /// The records of one answer.
    Records {
        /// Batches; the last one may be cut off.
        records: Bytes,
        /// The aborted transactions that the answer names.
        aborted: Vec<Aborted>,
    },
    /// The log starts here now; what was below can no longer be read.
    StartsAt(i64),
    /// The range has ended.
    End,
}

/// A batch whose records are at hand.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) batch: Bytes,
    pub(super) entries: Vec<Entry>,
    next: usize,
}

/// What stands next on a side.
#[derive(Debug)]
enum Front {
    Nothing,
    /// A batch that nobody has looked into.
    Closed(Bytes),
    Opened(Opened),
}

/// One side.
#[derive(Debug)]
pub(super) struct Walk {
    range: Range<i64>,
    front: Front,
    /// The answer that is walked, and how far.
    answer: Option<(Bytes, usize, Committed)>,
    ended: bool,
}

impl Walk {
    pub(super) fn new(range: Range<i64>) -> Self {
        Self {
            range,
            front: Front::Nothing,
            answer: None,
            ended: false,
        }
    }

    /// Takes the next answer; the one before must be used up.
    pub(super) fn records(&mut self, records: Bytes, aborted: Vec<Aborted>) -> Result<(), String> {
        self.answer = Some((modern(records)?, 0, Committed::new(aborted)));
        Ok(())
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Brings a batch to the front where none is. False where the next answer is needed first.
    pub(super) fn advance(&mut self) -> Result<bool, String> {
        if let Front::Opened(opened) = &self.front
            && opened.next >= opened.entries.len()
        {
            self.front = Front::Nothing;
        }
        while matches!(self.front, Front::Nothing) {
            let Some((records, at, committed)) = &mut self.answer else {
                return Ok(self.ended);
            };
            let Some(batch) = next_batch(records, at)? else {
                self.answer = None;
                continue;
            };
            let base = batch.base_offset();
            let shows = committed
                .shows(batch)
                .map_err(|cause| format!("the marker at offset {base} cannot be read: {cause}"))?;
            // A fetch begins with the batch that contains its offset, and ends where the broker likes.
            if shows && batch.last_offset() >= self.range.start && base < self.range.end {
                self.front = Front::Closed(records.slice_ref(batch.bytes()));
            }
        }
        Ok(true)
    }

    /// The batch at the front, if nobody has looked into it and all of it is in the range.
    pub(super) fn closed(&self) -> Option<&Bytes> {
        let Front::Closed(batch) = &self.front else {
            return None;
        };
        let view = BatchView::new(batch).ok()?;
        let inside = view.base_offset() >= self.range.start && view.last_offset() < self.range.end;
        inside.then_some(batch)
    }

    /// Takes the batch at the front away unopened.
    pub(super) fn pass(&mut self) {
        self.front = Front::Nothing;
    }

    /// Looks into the batch at the front.
    pub(super) fn open(&mut self, keys: bool, large: &Large) -> Result<(), String> {
        if let Front::Closed(batch) = &self.front {
            let entries = open(batch, &self.range, keys, large).map_err(|cause| {
                let base = BatchView::new(batch).map_or(-1, |view| view.base_offset());
                format!("the batch at offset {base} cannot be read: {cause}")
            })?;
            self.front = Front::Opened(Opened {
                batch: batch.clone(),
                entries,
                next: 0,
            });
        }
        Ok(())
    }

    /// The next record of the batch that is open, with the batch.
    pub(super) fn entry(&self) -> Option<(Entry, &Bytes)> {
        let Front::Opened(opened) = &self.front else {
            return None;
        };
        let entry = opened.entries.get(opened.next)?;
        Some((*entry, &opened.batch))
    }

    pub(super) fn next_entry(&mut self) {
        if let Front::Opened(opened) = &mut self.front {
            opened.next += 1;
        }
    }

    /// Whether nothing stands here or comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.answer.is_none() && matches!(self.front, Front::Nothing)
    }
}

/// An answer with the messages of logs older than Kafka 0.11 in it made into batches; any other as it is.
fn modern(records: Bytes) -> Result<Bytes, String> {
    if !Batches::new(&records).any(|batch| matches!(batch, Ok(Batch::Legacy { .. }))) {
        return Ok(records);
    }
    let mut out = Vec::with_capacity(records.len());
    for batch in Batches::new(&records) {
        match batch {
            Ok(Batch::Whole(batch)) => out.extend_from_slice(batch.bytes()),
            Ok(Batch::Legacy { bytes, offset, .. }) => {
                let mut one = LegacyBatches::new(i64::MIN, DECOMPRESSED_BYTES_MAX, &mut out);
                let made = one.push(bytes).and_then(|()| one.finish());
                made.map_err(|cause| {
                    format!("the message at offset {offset} cannot be read: {cause}")
                })?;
            }
            Ok(Batch::Partial(_)) => break,
            Err(cause) => return Err(format!("the records cannot be read: {cause}")),
        }
    }
    Ok(out.into())
}

/// The next whole batch of an answer, and on to the one behind it.
fn next_batch<'a>(records: &'a Bytes, at: &mut usize) -> Result<Option<BatchView<'a>>, String> {
    let rest = records.get(*at..).unwrap_or_default();
    match Batches::new(rest).next() {
        Some(Ok(Batch::Whole(batch))) => {
            *at += batch.bytes().len();
            Ok(Some(batch))
        }
        Some(Err(cause)) => Err(format!("the records cannot be read: {cause}")),
        None | Some(Ok(Batch::Partial(_) | Batch::Legacy { .. })) => Ok(None),
    }
}

/// Whether two batches hold the same records without a look at them: the same header, but for what is the cluster's
/// business (producer, leader epoch, transaction, delete horizon), and the same bytes behind it.
pub(super) fn same_bytes(one: &Bytes, other: &Bytes) -> bool {
    let (Ok(one), Ok(other)) = (BatchView::new(one), BatchView::new(other)) else {
        return false;
    };
    const MEANING: i16 = attributes::CODEC | attributes::LOG_APPEND_TIME;
    let head = |batch: BatchView<'_>| {
        (
            batch.offsets(),
            batch.record_count(),
            batch.attributes() & MEANING,
            batch.base_timestamp(),
            batch.max_timestamp(),
        )
    };
    head(one) == head(other) && one.payload() == other.payload()
}
