//! Pure: the state of one link (one partition, source to destination). Events go in as method calls with the time as
//! a number; what is to be done is asked for ([`Engine::fetch_wanted`], [`Engine::take_write`],
//! [`Engine::wants_activation`], [`Engine::wants_inspection`]). No socket, no clock, no randomness.
//!
//! The rules it keeps (DESIGN section 4): at most one unresolved write; every answer's base offset is the planned
//! one; after an ambiguous answer nothing is sent before the destination's end was inspected, and what is resent is
//! the same bytes; only ids that Lockgate issued to clients are kept, everything else carries the link's own id.
//!
//! What a batch costs: one look at its 61 header bytes when it is fetched (it stays a slice of the answer it came
//! in), one copy of its bytes when it is stamped, and a checksum over 80 header bytes. Nothing is decompressed.

use std::collections::VecDeque;

use bytes::Bytes;
use lockgate_wire::batch::{
    Batch, BatchView, Batches, Rewrite, Stamp, attributes, next_sequence, passthrough,
};
use lockgate_wire::producer_id::{ProducerId, ProducerIdKind};

use super::lag::Lag;

/// Bytes of one partition that may wait to be written; over it the partition is not fetched.
pub(super) const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How long a refused write waits before it is tried again, milliseconds.
pub(super) const RETRY_AFTER_MS: u64 = 200;

/// Where a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Its topic is being made.
    Provisioning,
    /// Filler is written and deleted.
    Aligning,
    /// The destination's end must be read before anything is sent.
    Inspecting,
    /// Batches are copied.
    Copying,
    /// At rest for a flip.
    Sealed,
    /// The other cluster is the home.
    Retired,
    /// For the operator, with the reason.
    Stopped(String),
}

/// The link's own producer id and the sequence of its next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkStamp {
    pub(super) id: ProducerId,
    pub(super) next_sequence: i32,
}

/// One batch on its way to the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// The offset that the answer must name.
    pub(super) base: i64,
    /// How many offsets it takes.
    pub(super) records: i64,
    /// Stamped; a resend is these bytes again.
    pub(super) bytes: Bytes,
    /// The newest timestamp in it: brokers forget producer ids by this.
    pub(super) max_timestamp: i64,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Acknowledged at this base offset.
    Written(i64),
    /// Certainly not appended; the same bytes may be sent again.
    Refused,
    /// Refused for good.
    Fatal(String),
    /// It may have been appended.
    Unknown,
}

/// What an inspection of the destination found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inspected {
    /// The true end, which stood still and equals the high watermark.
    pub(super) end: i64,
    /// The source's high watermark, so that the lag is known before the first fetch.
    pub(super) source_end: i64,
    /// The stamp that continues the link's journaled id, if the last batch bears it.
    pub(super) stamp: Option<LinkStamp>,
}

/// A batch that was fetched and waits.
#[derive(Debug, Clone)]
struct Fetched {
    base: i64,
    bytes: Bytes,
}

/// One link.
#[derive(Debug)]
pub(super) struct Engine {
    state: State,
    /// Stopped by provisioning, which tries again.
    refused: bool,
    /// The source offset that the next fetched batch must begin at.
    next: i64,
    /// The offset that the destination gets next.
    acknowledged: i64,
    source_start: i64,
    queue: VecDeque<Fetched>,
    queued_bytes: usize,
    /// The batch that was stamped and is not acknowledged yet.
    writing: Option<Write>,
    in_flight: bool,
    retry_at_ms: u64,
    stamp: Option<LinkStamp>,
    /// Answers to fetches that bear an older token are dropped.
    token: u64,
    /// The destination's end never falls below this: where its alignment put it.
    floor: i64,
    pub(super) lag: Lag,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            state: State::Provisioning,
            refused: false,
            next: 0,
            acknowledged: 0,
            source_start: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            writing: None,
            in_flight: false,
            retry_at_ms: 0,
            stamp: None,
            token: 0,
            floor: 0,
            lag: Lag::default(),
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The offset that the destination gets next.
    pub(super) fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Bytes fetched and not yet written.
    pub(super) fn pending_bytes(&self) -> usize {
        self.queued_bytes + self.writing.as_ref().map_or(0, |write| write.bytes.len())
    }

    /// The topic exists and filler is being written.
    pub(super) fn aligning(&mut self) {
        if self.is_preparing() {
            self.refused = false;
            self.state = State::Aligning;
        }
    }

    /// The partition is aligned at `floor`: from here on it can be copied, once its end was read.
    pub(super) fn aligned(&mut self, floor: i64) {
        if self.is_preparing() {
            self.refused = false;
            self.floor = floor;
            self.state = State::Inspecting;
        }
    }

    /// Ends the link with a reason, unless it has ended already.
    pub(super) fn stop(&mut self, reason: impl Into<String>) {
        if !self.is_over() {
            self.drop_queue();
            self.refused = false;
            self.state = State::Stopped(reason.into());
        }
    }

    /// The topic cannot be made or aligned; unlike [`Self::stop`] this ends when it can.
    pub(super) fn refuse(&mut self, reason: impl Into<String>) {
        if self.is_preparing() {
            self.refused = true;
            self.state = State::Stopped(reason.into());
        }
    }

    fn is_preparing(&self) -> bool {
        self.refused || matches!(self.state, State::Provisioning | State::Aligning)
    }

    /// The home is the other cluster now.
    pub(super) fn retire(&mut self) {
        self.drop_queue();
        self.refused = false;
        self.state = State::Retired;
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Stopped(_) | State::Retired)
    }

    // --- fetch side ---

    /// Where to fetch from, and the token that the answer must bear. None while the queue is full or nothing may be
    /// copied.
    pub(super) fn fetch_wanted(&self) -> Option<(i64, u64)> {
        (self.state == State::Copying && self.queued_bytes < QUEUE_BYTES_MAX)
            .then(|| (self.next.max(self.source_start), self.token))
    }

    /// Whether only the full queue keeps it from being fetched.
    pub(super) fn is_full(&self) -> bool {
        self.state == State::Copying && self.queued_bytes >= QUEUE_BYTES_MAX
    }

    /// A fetch answered with `records`; true if something new can be written now.
    pub(super) fn fetched(
        &mut self,
        token: u64,
        records: &Bytes,
        high_watermark: i64,
        now_ms: u64,
    ) -> bool {
        let copying = matches!(self.state, State::Copying | State::Inspecting);
        if token != self.token || !copying {
            return false;
        }
        self.lag.saw_end(high_watermark, now_ms);
        let before = self.queue.len();
        for batch in Batches::new(records) {
            match self.accept(batch, records) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => {
                    self.stop(reason);
                    return false;
                }
            }
        }
        self.queue.len() > before
    }

    /// The source's log starts here now; a fetch below it would be refused.
    pub(super) fn source_starts(&mut self, log_start: i64) {
        self.source_start = self.source_start.max(log_start);
    }

    /// Queues one batch. False at a partial one, which ends the answer.
    fn accept(
        &mut self,
        batch: Result<Batch<'_>, lockgate_wire::WireError>,
        records: &Bytes,
    ) -> Result<bool, String> {
        let next = self.next;
        let batch = match batch {
            Ok(Batch::Whole(batch)) => batch,
            Ok(Batch::Partial(_)) => return Ok(false),
            Ok(Batch::Legacy { magic, offset, .. }) => {
                return Err(format!(
                    "messages of format {magic} at offset {offset}: logs older than Kafka 0.11 are not copied yet"
                ));
            }
            Err(error) => {
                return Err(format!(
                    "the source's records at offset {next} cannot be read: {error}"
                ));
            }
        };
        if batch.last_offset() < next {
            // A fetch begins with the batch that contains its offset.
            return Ok(true);
        }
        check_batch(next, batch)?;
        self.next = batch.next_offset();
        self.queued_bytes += batch.bytes().len();
        self.queue.push_back(Fetched {
            base: batch.base_offset(),
            bytes: records.slice_ref(batch.bytes()),
        });
        Ok(true)
    }

    // --- produce side ---

    /// Whether the next batch needs the link's own id and there is none yet.
    pub(super) fn wants_activation(&self) -> bool {
        self.state == State::Copying
            && self.stamp.is_none()
            && self.writing.is_none()
            && self
                .queue
                .front()
                .is_some_and(|next| !keeps_id(&next.bytes))
    }

    /// The link's new id, journaled before this call.
    pub(super) fn activated(&mut self, id: ProducerId) {
        self.stamp = Some(LinkStamp {
            id,
            next_sequence: 0,
        });
    }

    /// The write to be sent now, if there is one. The caller owes its outcome to [`Self::answered`].
    pub(super) fn take_write(&mut self, now_ms: u64) -> Option<Write> {
        if self.state != State::Copying || self.in_flight || now_ms < self.retry_at_ms {
            return None;
        }
        if self.writing.is_none() {
            self.writing = Some(self.stamp_next()?);
        }
        self.in_flight = self.writing.is_some();
        self.writing.clone()
    }

    fn stamp_next(&mut self) -> Option<Write> {
        let front = self.queue.front()?;
        let batch = BatchView::new(&front.bytes).ok()?;
        let stamp = if keeps_id(&front.bytes) {
            Stamp::Keep
        } else {
            let link = self.stamp.as_mut()?;
            let base_sequence = link.next_sequence;
            link.next_sequence = next_sequence(base_sequence, batch.record_count());
            Stamp::Restamp {
                producer_id: link.id,
                producer_epoch: 0,
                base_sequence,
            }
        };
        let rewrite = Rewrite {
            stamp,
            clear_log_append_time: true,
        };
        let write = Write {
            base: front.base,
            records: i64::from(batch.last_offset_delta()) + 1,
            bytes: passthrough(batch, rewrite).freeze(),
            max_timestamp: batch.max_timestamp(),
        };
        self.queued_bytes -= front.bytes.len();
        self.queue.pop_front();
        Some(write)
    }

    /// The outcome of the write that was taken.
    pub(super) fn answered(&mut self, outcome: Outcome, now_ms: u64) {
        self.in_flight = false;
        let Some(write) = &self.writing else { return };
        match outcome {
            Outcome::Written(base) if base == write.base => self.written(now_ms),
            Outcome::Written(base) => {
                let reason = format!(
                    "the destination wrote a batch at offset {base} where {} was planned: somebody else writes there",
                    write.base
                );
                self.stop(reason);
            }
            Outcome::Refused => self.retry_at_ms = now_ms + RETRY_AFTER_MS,
            Outcome::Fatal(reason) => {
                let reason = format!("the batch at offset {}: {reason}", write.base);
                self.stop(reason);
            }
            Outcome::Unknown => {
                if self.state == State::Copying {
                    self.state = State::Inspecting;
                }
            }
        }
    }

    fn written(&mut self, now_ms: u64) {
        if let Some(write) = self.writing.take() {
            self.acknowledged = write.base + write.records;
            self.retry_at_ms = 0;
            self.lag.copied(self.acknowledged, now_ms);
        }
    }

    // --- resume by content ---

    /// Whether the destination's end has to be read; the timestamp is of the newest record that may still arrive
    /// late, if there is one.
    pub(super) fn wants_inspection(&self) -> Option<Option<i64>> {
        (self.state == State::Inspecting && !self.in_flight)
            .then(|| self.writing.as_ref().map(|write| write.max_timestamp))
    }

    /// The destination's end, as it stood still and was found equal to the source up to there.
    pub(super) fn inspected(&mut self, found: Inspected, now_ms: u64) {
        if self.state != State::Inspecting || self.in_flight {
            return;
        }
        if found.end < self.floor {
            self.stop(format!(
                "the destination ends at offset {}, below {} where it was aligned: it was recreated or lost its log",
                found.end, self.floor
            ));
            return;
        }
        self.lag.saw_end(found.source_end, now_ms);
        match &self.writing {
            // Still absent: the same bytes are sent again.
            Some(write) if found.end == write.base => self.state = State::Copying,
            Some(write) if found.end == write.base + write.records => {
                self.state = State::Copying;
                self.written(now_ms);
            }
            Some(write) if found.end > write.base => {
                let reason = format!(
                    "the destination ends at offset {} after a write of offsets {} to {}: somebody else writes there",
                    found.end,
                    write.base,
                    write.base + write.records - 1
                );
                self.stop(reason);
            }
            _ => {
                self.restart_at(found);
                self.lag.saw_end(found.source_end, now_ms);
            }
        }
    }

    /// Copies again from the destination's end: after a start, or where its end fell.
    fn restart_at(&mut self, found: Inspected) {
        self.drop_queue();
        self.writing = None;
        self.stamp = found.stamp;
        self.next = found.end;
        self.acknowledged = found.end;
        self.state = State::Copying;
        self.lag.restarted(found.end);
    }

    // --- flip ---

    /// Puts the link to rest if it is level at `end` with nothing on its way.
    pub(super) fn seal(&mut self, end: i64) -> bool {
        let idle = self.queue.is_empty() && self.writing.is_none();
        let level = self.state == State::Copying && idle && self.acknowledged == end;
        if level {
            self.state = State::Sealed;
            // The answer of a long poll that is still under way is of no interest any more.
            self.token += 1;
        }
        level || (self.state == State::Sealed && self.acknowledged == end)
    }

    /// The fence was lifted.
    pub(super) fn resume(&mut self) {
        if self.state == State::Sealed {
            self.state = State::Copying;
        }
    }

    fn drop_queue(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.token += 1;
    }
}

/// What a batch must be to be copied as it is. Holes are filled by a later version; until then they stop the link.
fn check_batch(next: i64, batch: BatchView<'_>) -> Result<(), String> {
    let base = batch.base_offset();
    if base < next {
        return Err(format!(
            "diverged: the source has a batch of offsets {base} to {} where the destination ends at {next}",
            batch.last_offset()
        ));
    }
    if batch.is_control() || batch.is_transactional() {
        return Err(format!(
            "transactions at offset {base}: transaction markers and aborted records leave holes, which are not filled yet"
        ));
    }
    if base > next {
        return Err(format!(
            "a hole in the source's offsets: {next} to {} hold no record (deleted, compacted or aborted); holes are not filled yet",
            base - 1
        ));
    }
    if !batch.is_dense() {
        return Err(format!(
            "the batch at offset {base} was thinned by compaction ({} records on {} offsets); holes are not filled yet",
            batch.record_count(),
            i64::from(batch.last_offset_delta()) + 1
        ));
    }
    if batch.attributes() & attributes::LOG_APPEND_TIME != 0 {
        return Err(format!(
            "the batch at offset {base} has LogAppendTime timestamps; these topics are not copied yet"
        ));
    }
    Ok(())
}

/// Whether a batch keeps its producer id: only ids that Lockgate issued to clients mean the same on both clusters.
fn keeps_id(bytes: &[u8]) -> bool {
    BatchView::new(bytes).is_ok_and(|batch| batch.producer_id().kind() == ProducerIdKind::Client)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
