//! Pure: the state of one link (one partition, from its home to its copy on the other cluster). Events go in as method
//! calls with the time as a number; what is to be done is asked for ([`Engine::fetch_wanted`], [`Engine::take_write`],
//! [`Engine::wants_activation`], [`Engine::wants_inspection`]). No socket, no clock, no randomness.
//!
//! The rules it keeps (DESIGN section 4): at most one unresolved write; every answer's base offset is the planned
//! one; after an ambiguous answer nothing is sent before the copy's end was inspected, and what is resent is
//! the same bytes; only ids that Lockgate issued to clients are kept, everything else carries the link's own id; every
//! offset at which consumers see nothing is taken by a marker.
//!
//! What a batch costs: one look at its 61 header bytes when it is fetched (it stays a slice of the answer it came
//! in), one copy of its bytes when it is stamped, and a checksum over 80 header bytes. Nothing is decompressed. Where
//! small ones wait they are merged, which costs one more pass over their bytes and one over the copy.

use std::ops::Range;

use bytes::Bytes;
use lockgate_wire::WireError;
use lockgate_wire::batch::{Batch, BatchView, Batches, Stamp, next_sequence, passthrough};
use lockgate_wire::committed::{Aborted, Committed};
use lockgate_wire::producer_id::{ProducerId, ProducerIdKind};

use super::lag::Lag;
use crate::words::Side;
use queue::{Item, Queue};

mod words;

mod admit;
mod merge;
mod queue;

pub(super) use words::{Inspected, LinkStamp, Outcome, State, Write};

/// Bytes of one partition that may wait to be written; over it the partition is not fetched.
pub(super) const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Offsets of one partition that may wait for markers; over it the partition is not fetched.
pub(super) const QUEUE_HOLES_MAX: i64 = 100_000;
/// How far below the copy's end a batch of records is looked for: longer stretches of nothing but markers are
/// taken for what follows records.
pub(super) const LOOK_BACK_MAX: i64 = 1 << 18;
/// How long a refused write waits before it is tried again, milliseconds.
pub(super) const RETRY_AFTER_MS: u64 = 200;

/// One link.
#[derive(Debug)]
pub(super) struct Engine {
    state: State,
    /// Named in the sentences.
    home: Side,
    /// Stopped by provisioning, which tries again.
    refused: bool,
    /// The home's offset that the next fetched batch must begin at.
    next: i64,
    /// The offset that the copy gets next.
    acknowledged: i64,
    source_start: i64,
    queue: Queue,
    /// Records were copied since the alignment.
    copied: bool,
    /// Offsets without a record that one hole may have.
    hole_max: i64,
    /// The producer epoch of the next markers: a late copy of older ones is then refused.
    marker_epoch: i16,
    /// The batch that was stamped and is not acknowledged yet.
    writing: Option<Write>,
    in_flight: bool,
    retry_at_ms: u64,
    stamp: Option<LinkStamp>,
    /// A merged batch was refused: batches go one by one.
    unmerged: bool,
    /// Answers to fetches that bear an older token are dropped.
    token: u64,
    /// The copy's end never falls below this: where its alignment put it.
    floor: i64,
    pub(super) lag: Lag,
}

impl Engine {
    /// `hole_max` bounds how many offsets without a record are filled in one place.
    pub(super) fn new(home: Side, hole_max: i64) -> Self {
        Self {
            state: State::Provisioning,
            home,
            refused: false,
            next: 0,
            acknowledged: 0,
            source_start: 0,
            queue: Queue::default(),
            copied: false,
            hole_max,
            marker_epoch: 0,
            writing: None,
            in_flight: false,
            retry_at_ms: 0,
            stamp: None,
            unmerged: false,
            token: 0,
            floor: 0,
            lag: Lag::default(),
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The offset that the copy gets next.
    pub(super) fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Bytes fetched and not yet written.
    pub(super) fn pending_bytes(&self) -> usize {
        self.queue.bytes() + self.writing.as_ref().map_or(0, |write| write.bytes.len())
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
        (self.state == State::Copying && !self.is_full())
            .then(|| (self.next.max(self.source_start), self.token))
    }

    /// The home's offset that the next fetched batch must begin at.
    pub(super) fn fetched_to(&self) -> i64 {
        self.next
    }

    /// Whether only the full queue keeps it from being fetched.
    pub(super) fn is_full(&self) -> bool {
        self.state == State::Copying
            && (self.queue.bytes() >= QUEUE_BYTES_MAX
                || self.queue.hole_offsets() >= QUEUE_HOLES_MAX)
    }

    /// A fetch with read_committed answered with `records`; true if something new can be written now.
    pub(super) fn fetched(
        &mut self,
        token: u64,
        records: &Bytes,
        aborted: Vec<Aborted>,
        high_watermark: i64,
        now_ms: u64,
    ) -> bool {
        let copying = matches!(self.state, State::Copying | State::Inspecting);
        if token != self.token || !copying {
            return false;
        }
        self.lag.saw_end(high_watermark, now_ms);
        let (before, had) = (self.next, self.queue.len());
        let mut answer = Answer {
            records,
            committed: Committed::new(aborted),
            hidden: 0,
        };
        for batch in Batches::new(records) {
            match self.accept(batch, &mut answer) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => {
                    self.stop(reason);
                    return false;
                }
            }
        }
        self.next > before || self.queue.len() > had
    }

    /// The home's log starts here now; a fetch below it would be refused.
    pub(super) fn source_starts(&mut self, log_start: i64) {
        self.source_start = self.source_start.max(log_start);
        if self.state == State::Copying {
            self.check_start();
        }
    }

    /// What is below the home's start and not copied is lost to everybody. Only a link that has copied nothing since
    /// its alignment takes that for one more hole.
    fn check_start(&mut self) {
        let waiting = !self.queue.is_empty() || self.writing.is_some();
        if self.source_start > self.next && (self.copied || waiting) {
            let cure = match self.home {
                Side::Source => "; delete the topic at the destination to begin anew",
                Side::Destination => "; there is no way back to the source any more",
            };
            self.stop(format!(
                "the {}'s log starts at offset {}, past {} where copying stands: records were deleted before they could be copied{cure}",
                self.home, self.source_start, self.next
            ));
        }
    }

    /// Queues one batch, and the hole before it. False at a partial one, which ends the answer.
    fn accept(
        &mut self,
        batch: Result<Batch<'_>, WireError>,
        answer: &mut Answer<'_>,
    ) -> Result<bool, String> {
        let Some(batch) = admit::whole(self.next, batch)? else {
            return Ok(false);
        };
        let shows = answer.committed.shows(batch).map_err(|error| {
            format!(
                "the marker at offset {} cannot be read: {error}",
                batch.base_offset()
            )
        })?;
        if batch.last_offset() < self.next {
            // A fetch begins with the batch that contains its offset.
            answer.hidden += batch.bytes().len();
            return Ok(true);
        }
        if !shows {
            answer.hidden += batch.bytes().len();
            self.skip_to(batch.next_offset())?;
            return Ok(true);
        }
        admit::check(self.next, batch)?;
        self.skip_to(batch.base_offset())?;
        self.next = batch.next_offset();
        let bytes = answer.records.slice_ref(batch.bytes());
        let hidden = std::mem::take(&mut answer.hidden);
        self.queue.push_batch(batch.base_offset(), bytes, hidden);
        Ok(true)
    }

    /// Offsets up to `to` hold nothing that consumers see.
    fn skip_to(&mut self, to: i64) -> Result<(), String> {
        if to <= self.next {
            return Ok(());
        }
        let length = to - self.next;
        if length > self.hole_max {
            return Err(format!(
                "a hole of {length} offsets without a record ends before {to}; parity.max_markers allows {} to be filled in one place",
                self.hole_max
            ));
        }
        self.queue.push_hole(self.next, to);
        self.next = to;
        Ok(())
    }

    // --- produce side ---

    /// Whether the next batch needs the link's own id and there is none yet.
    pub(super) fn wants_activation(&self) -> bool {
        self.state == State::Copying
            && self.stamp.is_none()
            && self.writing.is_none()
            && matches!(self.queue.front(), Some(Item::Batch { bytes, .. }) if !keeps_id(bytes))
    }

    /// The link's new id, journaled before this call.
    pub(super) fn activated(&mut self, id: ProducerId) {
        self.stamp = Some(LinkStamp {
            id,
            next_sequence: 0,
        });
    }

    /// The write to be sent now, if there is one, with at most `markers_max` markers. The caller owes its outcome to
    /// [`Self::answered`].
    pub(super) fn take_write(&mut self, now_ms: u64, markers_max: i64) -> Option<Write> {
        if self.state != State::Copying || self.in_flight || now_ms < self.retry_at_ms {
            return None;
        }
        if self.writing.is_none() {
            self.writing = Some(self.next_write(markers_max)?);
        }
        let writing = self.writing.as_ref()?;
        if writing.marker_epoch.is_some() && writing.records > markers_max {
            return None;
        }
        self.in_flight = true;
        self.writing.clone()
    }

    /// Whether markers are what is to be written next.
    pub(super) fn wants_markers(&self) -> bool {
        let next_is_hole = || matches!(self.queue.front(), Some(Item::Hole { .. }));
        let ready = self.state == State::Copying && !self.in_flight;
        let writing = self
            .writing
            .as_ref()
            .map(|write| write.marker_epoch.is_some());
        ready && writing.unwrap_or_else(next_is_hole)
    }

    fn next_write(&mut self, markers_max: i64) -> Option<Write> {
        match self.queue.front()? {
            Item::Hole { .. } if markers_max < 1 => None,
            Item::Hole { from, to } => {
                let (from, to) = (*from, *to);
                let end = to.min(from + markers_max);
                self.queue.pop();
                self.queue.put_back(end, to);
                Some(self.markers(from, end))
            }
            Item::Batch { .. } => self.stamp_next(),
        }
    }

    fn markers(&self, from: i64, to: i64) -> Write {
        Write {
            base: from,
            records: to - from,
            bytes: Bytes::new(),
            // Brokers recognise no copy of a marker, however young it is.
            max_timestamp: i64::MAX,
            marker_epoch: Some(self.marker_epoch),
            merged: false,
        }
    }

    fn stamp_next(&mut self) -> Option<Write> {
        if let Some(merged) = self.merge_next() {
            return Some(merged);
        }
        let Some(Item::Batch { base, bytes, .. }) = self.queue.front() else {
            return None;
        };
        let batch = BatchView::new(bytes).ok()?;
        let stamp = if keeps_id(bytes) {
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
        let write = Write {
            base: *base,
            records: i64::from(batch.last_offset_delta()) + 1,
            bytes: passthrough(batch, stamp).freeze(),
            max_timestamp: batch.max_timestamp(),
            marker_epoch: None,
            merged: false,
        };
        self.queue.pop();
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
                    "the {} wrote a batch at offset {base} where {} was planned: somebody else writes there",
                    self.home.other(),
                    write.base
                );
                self.stop(reason);
            }
            Outcome::Refused => self.retry_at_ms = now_ms + RETRY_AFTER_MS,
            Outcome::Fatal(_) if write.merged && self.state == State::Copying => self.unmerge(),
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
            self.copied |= write.marker_epoch.is_none();
            self.acknowledged = write.base + write.records;
            self.retry_at_ms = 0;
            self.lag.copied(self.acknowledged, now_ms);
        }
    }

    // --- resume by content ---

    /// Whether the copy's end has to be read; the timestamp is of the newest record that may still arrive
    /// late, if there is one.
    pub(super) fn wants_inspection(&self) -> Option<Option<i64>> {
        (self.state == State::Inspecting && !self.in_flight)
            .then(|| self.writing.as_ref().map(|write| write.max_timestamp))
    }

    /// The copy's end, as it stood still and was found equal to the home up to there.
    pub(super) fn inspected(&mut self, found: Inspected, now_ms: u64) {
        if self.state != State::Inspecting || self.in_flight {
            return;
        }
        self.copied |= found.has_records || found.end - self.floor > LOOK_BACK_MAX;
        self.resume_at(found, now_ms);
        if self.state == State::Copying {
            self.check_start();
        }
    }

    fn resume_at(&mut self, found: Inspected, now_ms: u64) {
        if found.end < self.floor {
            self.stop(format!(
                "the {} ends at offset {}, below {} where it was aligned: it was recreated or lost its log",
                self.home.other(),
                found.end,
                self.floor
            ));
            return;
        }
        self.lag.saw_end(found.source_end, now_ms);
        let Some(write) = &self.writing else {
            return self.restart_at(found, now_ms);
        };
        let (base, to) = (write.base, write.base + write.records);
        if write.marker_epoch.is_some() {
            let to = self.queue.take_hole(to);
            return self.inspected_markers(found, base..to, now_ms);
        }
        match found.end {
            end if end == to => {
                self.state = State::Copying;
                self.written(now_ms);
            }
            // Still absent: the same bytes are sent again.
            end if end == base => self.state = State::Copying,
            end if end > base => self.stop(written_by_others(end, base, to)),
            _ => self.restart_at(found, now_ms),
        }
    }

    /// Of the markers in a hole those below the end are there; more may come late. One of the next epoch goes first:
    /// behind it the broker refuses every late copy.
    fn inspected_markers(&mut self, found: Inspected, hole: Range<i64>, now_ms: u64) {
        let end = found.end;
        if end < hole.start {
            return self.restart_at(found, now_ms);
        }
        if end > hole.end {
            return self.stop(written_by_others(end, hole.start, hole.end));
        }
        self.state = State::Copying;
        self.acknowledged = end;
        self.lag.copied(end, now_ms);
        self.writing = None;
        if end < hole.end {
            if !self.next_marker_epoch() {
                return;
            }
            self.queue.put_back(end + 1, hole.end);
            self.writing = Some(self.markers(end, end + 1));
        }
    }

    /// False where the link had to be stopped, since there is none left.
    fn next_marker_epoch(&mut self) -> bool {
        match self.marker_epoch.checked_add(1) {
            Some(next) => self.marker_epoch = next,
            None => {
                self.stop("too many requests for markers had no clear answer; start Lockgate again")
            }
        }
        !self.is_over()
    }

    /// Copies again from the copy's end: after a start, or where its end fell.
    fn restart_at(&mut self, found: Inspected, now_ms: u64) {
        self.drop_queue();
        let markers = self.writing.take().and_then(|write| write.marker_epoch);
        if markers.is_some() && !self.next_marker_epoch() {
            return;
        }
        self.stamp = found.stamp;
        self.next = found.end;
        self.acknowledged = found.end;
        self.state = State::Copying;
        self.lag.restarted(found.end);
        self.lag.saw_end(found.source_end, now_ms);
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

    /// The fence was lifted, but the copy has settings of a home: it is prepared again first.
    pub(super) fn unprepare(&mut self) {
        if self.state == State::Sealed {
            self.state = State::Provisioning;
        }
    }

    fn drop_queue(&mut self) {
        self.queue.clear();
        self.token += 1;
    }
}

/// One answer to a fetch, as it is walked.
struct Answer<'a> {
    records: &'a Bytes,
    committed: Committed,
    /// Bytes since the last batch that was queued.
    hidden: usize,
}

fn written_by_others(end: i64, base: i64, to: i64) -> String {
    format!(
        "the copy ends at offset {end} after a write of offsets {base} to {}: somebody else writes there",
        to - 1
    )
}

/// Whether a batch keeps its producer id: only ids that Lockgate issued to clients mean the same on both clusters.
fn keeps_id(bytes: &[u8]) -> bool {
    BatchView::new(bytes).is_ok_and(|batch| batch.producer_id().kind() == ProducerIdKind::Client)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
