//! Pure: the comparison of one partition. Answers of both sides go in ([`Compare::give`]), and what is found comes out.
//! No socket, no clock; memory is bounded by one answer and one opened batch a side, and by the keys that may be held.
//!
//! A partition is compared in up to three passes. **Compare** walks both logs side by side over the range. On compacted
//! topics, where records may stand on one side only, **ahead** looks in what follows for records that supersede them,
//! and **behind** looks for older records of keys whose tombstone is gone.
//!
//! Batches with the same bytes are opened once for both sides, or not at all where only bytes are compared.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lockgate_wire::batch::BatchView;

use super::difference::{Difference, Digests, Shown, What, what_differs};
use super::held::Held;
use super::record::{Contents, Digest, Entry, Large, contents};
use super::walk::{Piece, Walk, same_bytes};
use crate::words::{Side, TopicPartition};

/// How a partition is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    /// Its cleaner takes records.
    pub(super) compacted: bool,
    /// Batches with the same bytes are not opened; there are no digests then.
    pub(super) fast: bool,
}

/// Which pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Compare,
    Ahead,
    Behind,
}

/// What the comparison waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The next piece of this side.
    Piece(Side),
    /// Nothing: the pass is over.
    Nothing,
}

/// Bytes of a side that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) side: Side,
    pub(super) what: String,
}

/// What was found so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Records that both sides have.
    pub(super) records: u64,
    /// Offsets that differ.
    pub(super) differences: u64,
    /// The difference at the lowest offset.
    pub(super) first: Option<Difference>,
    /// Records that only one side had when the other's log start had moved past them.
    pub(super) retired: u64,
}

/// The comparison of one partition.
#[derive(Debug)]
pub(super) struct Compare {
    at: TopicPartition,
    range: Range<i64>,
    mode: Mode,
    large: Arc<Large>,
    pass: Pass,
    walks: [Walk; 2],
    /// Where each side's log starts, as far as that moved while it was read.
    starts: [i64; 2],
    digests: Digests,
    pub(super) found: Found,
    pub(super) held: Held,
    /// Below it everything was compared.
    position: i64,
}

impl Compare {
    pub(super) fn new(
        at: TopicPartition,
        range: Range<i64>,
        mode: Mode,
        keys_max: usize,
        large: Arc<Large>,
    ) -> Self {
        Self {
            at,
            mode,
            large,
            pass: Pass::Compare,
            walks: [Walk::new(range.clone()), Walk::new(range.clone())],
            starts: [range.start; 2],
            digests: Digests::default(),
            found: Found::default(),
            held: Held::new(keys_max),
            position: range.start,
            range,
        }
    }

    /// Begins another pass, in these ranges of both sides.
    pub(super) fn begin(&mut self, pass: Pass, ranges: [Range<i64>; 2]) {
        self.pass = pass;
        self.walks = ranges.map(Walk::new);
    }

    /// What both sides' ranges hash to; none where batches were not opened.
    pub(super) fn digests(&self) -> Option<[Digest; 2]> {
        (!self.mode.fast).then(|| self.digests.finish())
    }

    /// The copy's log goes on where its home's ends: the first offset there differs.
    pub(super) fn beyond(&mut self, offset: Option<i64>, home: Side) {
        if let Some(offset) = offset {
            self.found.differences += 1;
            self.found.first = Some(Difference {
                what: vec![What::Missing],
                missing_at: Some(home),
                ..self.difference(offset)
            });
        }
    }

    /// Both sides' log starts, as far as they moved.
    pub(super) fn starts(&self) -> [i64; 2] {
        self.starts
    }

    /// Up to here the walk has come.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// Up to here both sides are known to be equal.
    pub(super) fn equal_to(&self) -> i64 {
        let first = self.found.first.as_ref().map(|first| first.offset);
        let open = self.held.resolved_until();
        let until = [first, open].into_iter().flatten().min();
        until.map_or(self.position, |until| until.min(self.position))
    }

    /// Takes what a side's reader brought.
    pub(super) fn give(&mut self, side: Side, piece: Piece) -> Result<(), Damage> {
        let walk = &mut self.walks[side.index()];
        match piece {
            Piece::Records { records, aborted } => {
                let taken = walk.records(records, aborted);
                taken.map_err(|what| Damage { side, what })?;
            }
            Piece::StartsAt(start) => {
                self.starts[side.index()] = start.max(self.starts[side.index()]);
                self.found.retired += self.held.starts_at(side, start);
            }
            Piece::End => walk.end(),
        }
        Ok(())
    }

    /// Goes on as far as what was given allows.
    pub(super) fn run(&mut self) -> Result<Need, Damage> {
        loop {
            if self.pass != Pass::Compare && self.held.is_empty() {
                return Ok(Need::Nothing);
            }
            for side in Side::BOTH {
                let walk = &mut self.walks[side.index()];
                let ready = walk.advance().map_err(|what| Damage { side, what })?;
                if !ready {
                    return Ok(Need::Piece(side));
                }
            }
            if self.walks.iter().all(Walk::is_over) {
                if self.pass == Pass::Compare {
                    self.position = self.range.end;
                }
                return Ok(Need::Nothing);
            }
            match self.pass {
                Pass::Compare => self.compare()?,
                Pass::Ahead | Pass::Behind => self.look()?,
            }
        }
    }

    fn open(&mut self, side: Side) -> Result<(), Damage> {
        self.walks[side.index()]
            .open(self.mode.compacted, &self.large)
            .map_err(|what| Damage { side, what })
    }

    /// Compares what stands at the front of both sides until one of them needs its next batch.
    fn compare(&mut self) -> Result<(), Damage> {
        let closed = self.walks.each_ref().map(|walk| walk.closed().cloned());
        if let [Some(source), Some(destination)] = closed
            && same_bytes(&source, &destination)
        {
            return self.same_batch([&source, &destination]);
        }
        for side in Side::BOTH {
            self.open(side)?;
        }
        loop {
            let fronts = self
                .walks
                .each_ref()
                .map(|walk| walk.entry().map(|at| at.0));
            match fronts {
                [Some(one), Some(other)] if one.offset == other.offset => {
                    self.both(one, other)?;
                    self.step(Side::Source, one.offset);
                    self.step(Side::Destination, one.offset);
                }
                [Some(one), other]
                    if other.is_none_or(|other| one.offset < other.offset)
                        && (other.is_some() || self.walks[1].is_over()) =>
                {
                    self.one_sided(Side::Source, one)?;
                    self.step(Side::Source, one.offset);
                }
                [one, Some(other)] if one.is_some() || self.walks[0].is_over() => {
                    self.one_sided(Side::Destination, other)?;
                    self.step(Side::Destination, other.offset);
                }
                _ => return Ok(()),
            }
        }
    }

    fn step(&mut self, side: Side, offset: i64) {
        self.walks[side.index()].next_entry();
        self.position = self.position.max(offset.saturating_add(1));
    }

    /// The batch at the front of both sides is the same, byte for byte.
    fn same_batch(&mut self, batches: [&Bytes; 2]) -> Result<(), Damage> {
        let (mut next, mut records) = (self.position, 0);
        for (side, batch) in Side::BOTH.into_iter().zip(batches) {
            let view = BatchView::new(batch);
            // The checksum covers more than what was compared.
            let checked = view.and_then(|view| view.check_checksum().map(|()| view));
            let view = checked.map_err(|cause| Damage {
                side,
                what: format!("a batch behind offset {next} cannot be read: {cause}"),
            })?;
            (next, records) = (view.next_offset(), view.record_count());
        }
        if self.mode.fast && (!self.mode.compacted || self.held.is_empty()) {
            self.found.records += u64::try_from(records).unwrap_or_default();
            self.walks.iter_mut().for_each(Walk::pass);
            self.position = self.position.max(next);
            return Ok(());
        }
        self.walks[Side::Destination.index()].pass();
        self.open(Side::Source)?;
        while let Some((entry, _)) = self.walks[Side::Source.index()].entry() {
            self.equal(entry);
            self.step(Side::Source, entry.offset);
        }
        self.position = self.position.max(next);
        Ok(())
    }

    fn equal(&mut self, entry: Entry) {
        self.found.records += 1;
        self.digests.same(entry.record);
        self.stands_on_both(entry);
    }

    fn stands_on_both(&mut self, entry: Entry) {
        if self.mode.compacted {
            self.held.stands(Side::Source, &entry);
            self.held.stands(Side::Destination, &entry);
        }
    }

    /// Both sides have a record at an offset.
    fn both(&mut self, source: Entry, destination: Entry) -> Result<(), Damage> {
        if source.record == destination.record {
            self.equal(source);
            return Ok(());
        }
        self.found.records += 1;
        self.digests.apart(Side::Source, source.record);
        self.digests.apart(Side::Destination, destination.record);
        if self.mode.compacted {
            self.held.stands(Side::Source, &source);
            self.held.stands(Side::Destination, &destination);
        }
        self.found.differences += 1;
        if self.is_first(source.offset) {
            let one = self.contents(Side::Source, source.offset)?;
            let other = self.contents(Side::Destination, source.offset)?;
            self.found.first = Some(Difference {
                what: what_differs(&one, &other),
                source: Some(shown_as(source.record, Some(one))),
                destination: Some(shown_as(destination.record, Some(other))),
                ..self.difference(source.offset)
            });
        }
        Ok(())
    }

    /// Only one side has a record at an offset.
    fn one_sided(&mut self, side: Side, entry: Entry) -> Result<(), Damage> {
        let missing_at = side.other();
        if entry.offset < self.starts[missing_at.index()] {
            self.found.retired += 1;
            return Ok(());
        }
        if self.mode.compacted {
            self.held.missing(missing_at, &entry);
            return Ok(());
        }
        self.digests.apart(side, entry.record);
        self.found.differences += 1;
        if self.is_first(entry.offset) {
            let contents = Some(self.contents(side, entry.offset)?);
            let shown = shown_as(entry.record, contents);
            self.found.first = Some(self.missing(missing_at, entry.offset, shown));
        }
        Ok(())
    }

    fn missing(&self, missing_at: Side, offset: i64, shown: Shown) -> Difference {
        let (source, destination) = match missing_at {
            Side::Source => (None, Some(shown)),
            Side::Destination => (Some(shown), None),
        };
        Difference {
            what: vec![What::Missing],
            missing_at: Some(missing_at),
            source,
            destination,
            ..self.difference(offset)
        }
    }

    /// Whether no difference is known at or below this offset. What a record holds is read again for the first one only.
    fn is_first(&self, offset: i64) -> bool {
        let first = self.found.first.as_ref();
        first.is_none_or(|first| offset < first.offset)
    }

    fn difference(&self, offset: i64) -> Difference {
        Difference {
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            offset,
            what: Vec::new(),
            missing_at: None,
            source: None,
            destination: None,
        }
    }

    fn contents(&self, side: Side, offset: i64) -> Result<Contents, Damage> {
        let batch = self.walks[side.index()].entry().map(|(_, batch)| batch);
        let read = batch.map(|batch| contents(batch, offset, &self.large));
        match read {
            Some(Ok(contents)) => Ok(contents),
            other => Err(Damage {
                side,
                what: format!("the record at offset {offset} cannot be read again: {other:?}"),
            }),
        }
    }

    /// Looks through both sides for keys that are held.
    fn look(&mut self) -> Result<(), Damage> {
        for side in Side::BOTH {
            self.open(side)?;
            while let Some((entry, _)) = self.walks[side.index()].entry() {
                match self.pass {
                    Pass::Behind => self.held.found_behind(side, &entry),
                    Pass::Compare | Pass::Ahead => self.held.stands(side, &entry),
                }
                self.walks[side.index()].next_entry();
            }
        }
        Ok(())
    }

    /// All passes are made: what is still missing and should not be is a difference.
    pub(super) fn conclude(&mut self) {
        for lost in self.held.conclude() {
            self.found.differences += lost.count;
            if self.is_first(lost.offset) {
                let shown = shown_as(lost.record, None);
                self.found.first = Some(self.missing(lost.missing_at, lost.offset, shown));
            }
        }
    }
}

fn shown_as(record: Digest, contents: Option<Contents>) -> Shown {
    Shown { record, contents }
}

#[cfg(test)]
mod logs;
#[cfg(test)]
mod tests;
