//! The engine alone, and the engine against the model under random faults.

use bytes::{Bytes, BytesMut};
use lockgate_wire::batch::{BatchMut, BatchView, Stamp, attributes, merge};
use lockgate_wire::committed::Aborted;
use lockgate_wire::producer_id::{ProducerId, ProducerIdKind};
use lockgate_wire::records::Producer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Broker, Client, OUT_OF_ORDER, SourceLog, marker, stored, transactional, view};
use super::{Engine, Inspected, LinkStamp, Outcome, QUEUE_HOLES_MAX, State, Write};
use crate::words::Side;

/// Markers in one request, and offsets that one hole may have.
pub(super) const MARKERS: i64 = 50;
const HOLE_MAX: i64 = 100;

pub(super) fn inspected(end: i64) -> Inspected {
    Inspected {
        end,
        source_end: end,
        has_records: false,
        stamp: None,
    }
}

pub(super) fn copying(at: i64) -> Engine {
    let mut engine = Engine::new(Side::Source, HOLE_MAX);
    engine.aligning();
    engine.aligned(at);
    engine.inspected(inspected(at), 0);
    assert_eq!(engine.state(), &State::Copying);
    engine
}

pub(super) fn feed(engine: &mut Engine, records: &Bytes) {
    let (_, token) = engine.fetch_wanted().unwrap();
    engine.fetched(token, records, Vec::new(), 1_000, 0);
}

fn stopped(engine: &Engine) -> &str {
    match engine.state() {
        State::Stopped(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cluster_id_waits_for_the_links_own() {
    let mut engine = copying(7);
    let producer = Producer {
        id: ProducerId::new(5),
        epoch: 2,
        base_sequence: 100,
    };
    feed(&mut engine, &stored(7, 3, Some(producer), 1));
    assert!(engine.wants_activation());
    assert_eq!(engine.take_write(0, MARKERS), None);
    engine.activated(ProducerId::own(9));
    let write = engine.take_write(0, MARKERS).unwrap();
    let batch = view(&write.bytes);
    assert_eq!(
        (batch.producer_id(), batch.producer_epoch()),
        (ProducerId::own(9), 0)
    );
    assert_eq!((batch.base_sequence(), batch.base_offset()), (0, 0));
    assert_eq!(
        engine.take_write(0, MARKERS),
        None,
        "one unresolved write at most"
    );
    engine.answered(Outcome::Written(7), 0);
    assert_eq!(engine.acknowledged(), 10);
}

#[test]
fn a_client_id_is_kept() {
    let mut engine = copying(0);
    let producer = Producer {
        id: ProducerId::client(5),
        epoch: 0,
        base_sequence: 100,
    };
    feed(&mut engine, &stored(0, 3, Some(producer), 1));
    assert!(!engine.wants_activation());
    let write = engine.take_write(0, MARKERS).unwrap();
    assert_eq!(view(&write.bytes).producer_id(), ProducerId::client(5));
    assert_eq!(view(&write.bytes).base_sequence(), 100);
}

#[test]
fn what_would_break_parity_stops_with_its_reason() {
    let mut hole = copying(0);
    feed(&mut hole, &stored(HOLE_MAX + 1, 1, None, 1));
    assert!(
        stopped(&hole).contains("parity.max_markers"),
        "{}",
        stopped(&hole)
    );

    let mut bytes = BytesMut::from(&stored(0, 1, None, 1)[..]);
    let mut batch = BatchMut::new(&mut bytes).unwrap();
    batch.set_attributes(attributes::LOG_APPEND_TIME, 0);
    let mut appended = copying(0);
    feed(&mut appended, &bytes.freeze());
    assert!(
        stopped(&appended).contains("not rebuilt"),
        "{}",
        stopped(&appended)
    );

    let mut elsewhere = copying(0);
    elsewhere.activated(ProducerId::own(1));
    feed(&mut elsewhere, &stored(0, 2, None, 1));
    elsewhere.take_write(0, MARKERS).unwrap();
    elsewhere.answered(Outcome::Written(3), 0);
    assert!(stopped(&elsewhere).contains("somebody else"));
}

/// What is written, in order, when everything is acknowledged: base, offsets and whether markers take them.
pub(super) fn drain(engine: &mut Engine) -> Vec<(i64, i64, bool)> {
    let mut written = Vec::new();
    while let Some(write) = engine.take_write(0, MARKERS) {
        written.push((write.base, write.records, write.marker_epoch.is_some()));
        engine.answered(Outcome::Written(write.base), 0);
    }
    written
}

#[test]
fn markers_take_the_place_of_what_consumers_do_not_see() {
    let (one, two) = (ProducerId::new(1), ProducerId::new(2));
    let log = [
        transactional(0, 3, one, 1),
        transactional(3, 2, two, 2),
        marker(5, one, true),
        transactional(6, 4, two, 3),
        marker(10, two, false),
        stored(14, 1, None, 4),
        transactional(15, 1, two, 5),
        marker(16, two, true),
    ];
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    let (_, token) = engine.fetch_wanted().unwrap();
    let aborted = vec![Aborted {
        producer_id: 2,
        first_offset: 3,
    }];
    engine.fetched(token, &Bytes::from(log.concat()), aborted, 17, 0);
    let expected = [(0, 3, false), (3, 11, true), (14, 2, false), (16, 1, true)];
    assert_eq!(drain(&mut engine), expected);
    assert!(engine.seal(17));
}

#[test]
fn a_long_hole_is_filled_in_bounded_requests() {
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    feed(&mut engine, &stored(90, 1, None, 1));
    assert_eq!(engine.take_write(0, 0), None, "no room in this request");
    let expected = [(0, MARKERS, true), (MARKERS, 40, true), (90, 1, false)];
    assert_eq!(drain(&mut engine), expected);
}

#[test]
fn after_markers_of_unknown_outcome_one_of_the_next_epoch_goes_first() {
    let mut engine = copying(0);
    feed(&mut engine, &stored(10, 1, None, 1));
    let first = engine.take_write(0, MARKERS).unwrap();
    assert_eq!((first.records, first.marker_epoch), (10, Some(0)));
    engine.answered(Outcome::Unknown, 0);
    engine.inspected(inspected(4), 0);
    let mut seen = Vec::new();
    while let Some(write) = engine.take_write(0, MARKERS) {
        seen.push((write.base, write.records, write.marker_epoch));
        engine.answered(Outcome::Written(write.base), 0);
    }
    assert_eq!(seen, [(4, 1, Some(1)), (5, 5, Some(1))]);
    assert!(engine.wants_activation());
}

#[test]
fn what_waits_is_bounded_also_where_little_of_it_is_seen() {
    let mut engine = Engine::new(Side::Source, i64::MAX);
    engine.aligned(0);
    engine.inspected(inspected(0), 0);
    let aborted = Aborted {
        producer_id: 2,
        first_offset: 0,
    };
    let hidden = transactional(0, 5_000, ProducerId::new(2), 1);
    let seen = stored(5_000, 1, None, 2);
    let answer = Bytes::from([hidden, seen].concat());
    let (_, token) = engine.fetch_wanted().unwrap();
    engine.fetched(token, &answer, vec![aborted], 5_001, 0);
    assert_eq!(engine.pending_bytes(), answer.len());
    feed(&mut engine, &stored(5_001 + QUEUE_HOLES_MAX, 1, None, 3));
    assert!(engine.is_full() && engine.fetch_wanted().is_none());
    engine.take_write(0, MARKERS).unwrap();
    engine.answered(Outcome::Written(0), 0);
}

#[test]
fn records_that_were_deleted_before_they_were_copied_stop_the_link() {
    let mut fresh = copying(0);
    fresh.source_starts(5);
    assert_eq!(fresh.fetch_wanted().unwrap().0, 5, "nothing is copied yet");

    // Markers alone are no copies, also after a restart.
    let mut marked = Engine::new(Side::Source, HOLE_MAX);
    marked.aligned(0);
    marked.source_starts(50);
    marked.inspected(inspected(20), 0);
    assert_eq!(marked.fetch_wanted().unwrap().0, 50);
    feed(&mut marked, &stored(50, 1, None, 1));
    assert_eq!(drain(&mut marked), [(20, 30, true)]);

    let mut behind = copying(0);
    behind.activated(ProducerId::own(1));
    feed(&mut behind, &stored(0, 2, None, 1));
    drain(&mut behind);
    behind.source_starts(2);
    assert_eq!(behind.state(), &State::Copying);
    behind.source_starts(5);
    assert!(stopped(&behind).contains("deleted before"));
}

#[test]
fn after_an_unknown_outcome_nothing_is_sent_before_the_end_was_read() {
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    feed(&mut engine, &stored(0, 2, None, 1));
    let write = engine.take_write(0, MARKERS).unwrap();
    engine.answered(Outcome::Unknown, 0);
    assert_eq!(engine.take_write(1_000_000, MARKERS), None);
    assert_eq!(engine.wants_inspection(), Some(Some(write.max_timestamp)));
    engine.inspected(inspected(0), 0);
    assert_eq!(engine.take_write(0, MARKERS), Some(write), "the same bytes");
    engine.answered(Outcome::Unknown, 0);
    engine.inspected(inspected(2), 0);
    assert_eq!(
        (engine.acknowledged(), engine.take_write(0, MARKERS)),
        (2, None)
    );
}

#[test]
fn a_seal_needs_the_end_and_silence() {
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    let (_, token) = engine.fetch_wanted().unwrap();
    feed(&mut engine, &stored(0, 2, None, 1));
    assert!(!engine.seal(2));
    engine.take_write(0, MARKERS).unwrap();
    assert!(!engine.seal(2));
    engine.answered(Outcome::Written(0), 0);
    assert!(!engine.seal(3));
    assert!(engine.seal(2));
    // The long poll that was under way answers after the seal.
    engine.fetched(token, &stored(2, 2, None, 1), Vec::new(), 4, 0);
    engine.resume();
    assert_eq!(engine.take_write(0, MARKERS), None);
    feed(&mut engine, &stored(2, 2, None, 1));
    assert!(engine.take_write(0, MARKERS).is_some());
}

#[test]
fn a_refused_topic_can_be_made_later() {
    let mut engine = Engine::new(Side::Source, HOLE_MAX);
    engine.refuse("it belongs to somebody");
    assert_eq!(stopped(&engine), "it belongs to somebody");
    engine.aligned(0);
    assert_eq!(engine.state(), &State::Inspecting);
    engine.stop("diverged");
    engine.aligned(0);
    assert_eq!(stopped(&engine), "diverged");
}

#[test]
fn an_end_below_the_alignment_is_not_copied_over() {
    let mut engine = Engine::new(Side::Source, HOLE_MAX);
    engine.aligned(10);
    engine.inspected(inspected(0), 0);
    assert!(stopped(&engine).contains("recreated"));
}

/// One migration of one partition under faults.
struct Simulation {
    rng: StdRng,
    source: SourceLog,
    clients: Vec<Client>,
    broker: Broker,
    engine: Engine,
    journal: Option<ProducerId>,
    /// Requests that the broker got and has not executed, although their connection is gone.
    late: Vec<Write>,
    /// A fetch that is under way: the token it was sent with, and its answer.
    fetching: Option<(u64, (Bytes, Vec<Aborted>))>,
    now_ms: u64,
    /// Which process this is: each has a marker id of its own.
    process: u32,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = rng.random_range(0..3) * 1_000;
        let mut engine = Engine::new(Side::Source, HOLE_MAX);
        engine.aligned(start);
        Self {
            clients: (0..3)
                .map(|n| Client {
                    id: ProducerId::client(n),
                    sequence: 0,
                })
                .collect(),
            source: SourceLog::new(start),
            broker: Broker::new(start),
            engine,
            journal: None,
            late: Vec::new(),
            fetching: None,
            now_ms: 0,
            process: 0,
            rng,
        }
    }

    fn grow(&mut self) {
        let (records, salt) = (self.rng.random_range(1..20), self.rng.random());
        let writer = self.rng.random_range(1..4);
        match self.rng.random_range(0..8) {
            0 | 1 => return self.source.append_in_transaction(writer, records, salt),
            2 => {
                let commit = self.rng.random();
                return self.source.end_transaction(writer, commit);
            }
            3 => self.source.leave_gap(self.rng.random_range(0..9)),
            _ => {}
        }
        let chosen = self.rng.random_range(0..self.clients.len() * 2);
        self.source
            .append(records, self.clients.get_mut(chosen), salt);
    }

    fn fetch(&mut self) {
        if let Some((token, (records, aborted))) = self.fetching.take() {
            let (end, now) = (self.source.end, self.now_ms);
            self.engine.fetched(token, &records, aborted, end, now);
        } else if let Some((from, token)) = self.engine.fetch_wanted() {
            let batches = self.rng.random_range(1..6);
            let cut = self.rng.random_range(0..80);
            self.fetching = Some((token, self.source.fetch(from, batches, cut)));
        }
    }

    fn activate(&mut self) {
        if self.engine.wants_activation() {
            let id = ProducerId::own(self.rng.random());
            self.journal = Some(id);
            self.engine.activated(id);
        }
    }

    fn write(&mut self, faults: bool) {
        let Some(write) = self.engine.take_write(self.now_ms, MARKERS) else {
            return;
        };
        let fate = if faults {
            self.rng.random_range(0..10)
        } else {
            9
        };
        let outcome = match fate {
            0 => {
                self.late.push(write);
                Outcome::Unknown
            }
            1 => {
                let _ = self.execute(&write);
                Outcome::Unknown
            }
            2 => Outcome::Unknown,
            3 => Outcome::Refused,
            4 if write.merged && self.rng.random_bool(0.2) => {
                Outcome::Fatal("too large".to_owned())
            }
            _ => match self.execute(&write) {
                Ok(base) => Outcome::Written(base),
                Err(OUT_OF_ORDER) => panic!("a sequence gap at {}", write.base),
                Err(code) => panic!("error {code}"),
            },
        };
        self.engine.answered(outcome, self.now_ms);
    }

    /// What the broker does with a request, and what its end says of it.
    fn execute(&mut self, write: &Write) -> Result<i64, i16> {
        let Some(epoch) = write.marker_epoch else {
            return self.broker.append(&write.bytes);
        };
        self.broker.mark(self.process, epoch, write.records);
        Ok(self.broker.end - write.records)
    }

    fn execute_late(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        // `settle_ms` is there so that no markers arrive between an inspection and the first one of the next epoch.
        late.sort_by_key(|write| std::cmp::Reverse(write.marker_epoch));
        for write in late {
            // A broker's answer that nobody reads.
            let _ = self.execute(&write);
        }
    }

    /// `all`: the end has stood still for so long that nothing arrives late any more.
    fn inspect(&mut self, all: bool) {
        if self.engine.wants_inspection().is_none() {
            return;
        }
        let restarted = self.engine.wants_inspection() == Some(None);
        // After a restart nothing may come late any more; a resend's late copy is recognised by its id.
        if all || restarted || self.rng.random_bool(0.7) {
            self.execute_late();
        }
        let tail = self.broker.batches.last().map(|(_, bytes)| view(bytes));
        let stamp = tail
            .filter(|tail| Some(tail.producer_id()) == self.journal)
            .map(|tail| LinkStamp {
                id: tail.producer_id(),
                next_sequence: tail.last_sequence() + 1,
            });
        let found = Inspected {
            end: self.broker.end,
            source_end: self.source.end,
            has_records: !self.broker.batches.is_empty(),
            stamp,
        };
        self.engine.inspected(found, self.now_ms);
    }

    fn crash(&mut self) {
        if self.rng.random_bool(0.5)
            && let Some(write) = self.engine.take_write(self.now_ms, MARKERS)
        {
            self.late.push(write);
        }
        self.engine = Engine::new(Side::Source, HOLE_MAX);
        self.engine.aligned(self.source.start);
        self.fetching = None;
        self.execute_late();
        self.process += 1;
    }

    fn step(&mut self) {
        self.now_ms += self.rng.random_range(0..100);
        match self.rng.random_range(0..20) {
            0..4 => self.grow(),
            4..9 => self.fetch(),
            9..11 => self.activate(),
            11..16 => self.write(true),
            16..18 => self.inspect(false),
            18 if self.rng.random_bool(0.2) => self.crash(),
            // Brokers forget ids of old records; a late copy would then be appended, hence the longer wait.
            19 if self.late.is_empty() && self.rng.random_bool(0.2) => self.broker.forget(),
            _ => {}
        }
    }

    fn finish(&mut self) {
        self.source.end_transactions();
        // A log ends with a batch, whatever compaction took before it.
        self.source.append(1, None, 1);
        for _ in 0..100_000 {
            if self.engine.seal(self.source.end) {
                break;
            }
            self.now_ms += 1_000;
            self.inspect(true);
            self.fetch();
            self.activate();
            self.write(false);
        }
        self.execute_late();
    }

    fn assert_equal(&self, seed: u64) {
        assert_eq!(self.engine.state(), &State::Sealed, "seed {seed}");
        assert_eq!(self.broker.start, self.source.start);
        assert_eq!(self.broker.end, self.source.end, "seed {seed}");
        let shown: Vec<_> = self
            .source
            .batches
            .iter()
            .filter(|batch| self.source.shows(batch))
            .collect();
        let offsets = |bytes: &Bytes| i64::from(view(bytes).record_count());
        let written: i64 = shown.iter().map(|bytes| offsets(bytes)).sum();
        let marked = self.broker.marked.len() as i64;
        assert_eq!(self.broker.end - self.broker.start, written + marked);
        let mut shown = shown.into_iter().peekable();
        for (base, copy) in &self.broker.batches {
            let copy = view(copy);
            let end = base + i64::from(copy.record_count());
            let mut originals = Vec::new();
            while let Some(next) = shown.next_if(|next| view(next).base_offset() < end) {
                originals.push(view(next));
            }
            assert_eq!(*base, originals[0].base_offset(), "seed {seed}");
            self.assert_copied(copy, &originals, seed);
        }
        assert!(shown.next().is_none(), "seed {seed}");
    }

    fn assert_copied(&self, copy: BatchView<'_>, originals: &[BatchView<'_>], seed: u64) {
        if let [original] = originals {
            assert_eq!(copy.payload(), original.payload(), "seed {seed}");
            if original.producer_id().kind() == ProducerIdKind::Client {
                assert_eq!(copy.producer_id(), original.producer_id());
                assert_eq!(copy.base_sequence(), original.base_sequence());
                return;
            }
        } else {
            let merged = merge(originals.iter().copied(), Stamp::Keep).unwrap();
            let merged = BatchView::new(&merged).unwrap();
            assert_eq!(copy.payload(), merged.payload(), "seed {seed}");
            let kept = |batch: &BatchView<'_>| batch.producer_id().kind() == ProducerIdKind::Client;
            assert!(!originals.iter().any(kept), "seed {seed}");
        }
        assert_eq!(copy.producer_id().kind(), ProducerIdKind::Own);
    }
}

#[test]
fn nothing_is_lost_doubled_or_moved_whatever_happens_on_the_way() {
    for seed in 0..1_000 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..600 {
            simulation.step();
        }
        simulation.finish();
        simulation.assert_equal(seed);
    }
}
