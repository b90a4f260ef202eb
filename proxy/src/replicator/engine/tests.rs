//! The engine alone, and the engine against the model under random faults.

use bytes::{Bytes, BytesMut};
use lockgate_wire::batch::{BatchMut, attributes};
use lockgate_wire::producer_id::{ProducerId, ProducerIdKind};
use lockgate_wire::records::Producer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Broker, Client, OUT_OF_ORDER, SourceLog, stored, view};
use super::{Engine, Inspected, LinkStamp, Outcome, State};

fn inspected(end: i64) -> Inspected {
    Inspected {
        end,
        source_end: end,
        stamp: None,
    }
}

fn copying(at: i64) -> Engine {
    let mut engine = Engine::new();
    engine.aligning();
    engine.aligned(at);
    engine.inspected(inspected(at), 0);
    assert_eq!(engine.state(), &State::Copying);
    engine
}

fn feed(engine: &mut Engine, records: &Bytes) {
    let (_, token) = engine.fetch_wanted().unwrap();
    engine.fetched(token, records, 1_000, 0);
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
    assert_eq!(engine.take_write(0), None);
    engine.activated(ProducerId::own(9));
    let write = engine.take_write(0).unwrap();
    let batch = view(&write.bytes);
    assert_eq!(
        (batch.producer_id(), batch.producer_epoch()),
        (ProducerId::own(9), 0)
    );
    assert_eq!((batch.base_sequence(), batch.base_offset()), (0, 0));
    assert_eq!(engine.take_write(0), None, "one unresolved write at most");
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
    let write = engine.take_write(0).unwrap();
    assert_eq!(view(&write.bytes).producer_id(), ProducerId::client(5));
    assert_eq!(view(&write.bytes).base_sequence(), 100);
}

#[test]
fn what_would_break_parity_stops_with_its_reason() {
    let mut hole = copying(0);
    feed(&mut hole, &stored(4, 1, None, 1));
    assert!(stopped(&hole).contains("hole"), "{}", stopped(&hole));

    let with = |bits| {
        let mut bytes = BytesMut::from(&stored(0, 1, None, 1)[..]);
        BatchMut::new(&mut bytes).unwrap().set_attributes(bits, 0);
        bytes.freeze()
    };
    for (bits, word) in [
        (attributes::TRANSACTIONAL, "transactions"),
        (attributes::CONTROL, "transactions"),
        (attributes::LOG_APPEND_TIME, "LogAppendTime"),
    ] {
        let mut engine = copying(0);
        feed(&mut engine, &with(bits));
        assert!(stopped(&engine).contains(word), "{}", stopped(&engine));
    }

    let mut elsewhere = copying(0);
    elsewhere.activated(ProducerId::own(1));
    feed(&mut elsewhere, &stored(0, 2, None, 1));
    elsewhere.take_write(0).unwrap();
    elsewhere.answered(Outcome::Written(3), 0);
    assert!(stopped(&elsewhere).contains("somebody else"));
}

#[test]
fn after_an_unknown_outcome_nothing_is_sent_before_the_end_was_read() {
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    feed(&mut engine, &stored(0, 2, None, 1));
    let write = engine.take_write(0).unwrap();
    engine.answered(Outcome::Unknown, 0);
    assert_eq!(engine.take_write(1_000_000), None);
    assert_eq!(engine.wants_inspection(), Some(Some(write.max_timestamp)));
    engine.inspected(inspected(0), 0);
    assert_eq!(engine.take_write(0), Some(write), "the same bytes");
    engine.answered(Outcome::Unknown, 0);
    engine.inspected(inspected(2), 0);
    assert_eq!((engine.acknowledged(), engine.take_write(0)), (2, None));
}

#[test]
fn a_seal_needs_the_end_and_silence() {
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    let (_, token) = engine.fetch_wanted().unwrap();
    feed(&mut engine, &stored(0, 2, None, 1));
    assert!(!engine.seal(2));
    engine.take_write(0).unwrap();
    assert!(!engine.seal(2));
    engine.answered(Outcome::Written(0), 0);
    assert!(!engine.seal(3));
    assert!(engine.seal(2));
    // The long poll that was under way answers after the seal.
    engine.fetched(token, &stored(2, 2, None, 1), 4, 0);
    engine.resume();
    assert_eq!(engine.take_write(0), None);
    feed(&mut engine, &stored(2, 2, None, 1));
    assert!(engine.take_write(0).is_some());
}

#[test]
fn a_refused_topic_can_be_made_later() {
    let mut engine = Engine::new();
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
    let mut engine = Engine::new();
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
    late: Vec<Bytes>,
    /// A fetch that is under way: the token it was sent with, and its answer.
    fetching: Option<(u64, Bytes)>,
    now_ms: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = rng.random_range(0..3) * 1_000;
        let mut engine = Engine::new();
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
            rng,
        }
    }

    fn grow(&mut self) {
        let (records, salt) = (self.rng.random_range(1..20), self.rng.random());
        let chosen = self.rng.random_range(0..self.clients.len() * 2);
        self.source
            .append(records, self.clients.get_mut(chosen), salt);
    }

    fn fetch(&mut self) {
        if let Some((token, records)) = self.fetching.take() {
            self.engine
                .fetched(token, &records, self.source.end, self.now_ms);
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
        let Some(write) = self.engine.take_write(self.now_ms) else {
            return;
        };
        let fate = if faults {
            self.rng.random_range(0..10)
        } else {
            9
        };
        let outcome = match fate {
            0 => {
                self.late.push(write.bytes);
                Outcome::Unknown
            }
            1 => {
                let _ = self.broker.append(&write.bytes);
                Outcome::Unknown
            }
            2 => Outcome::Unknown,
            3 => Outcome::Refused,
            _ => match self.broker.append(&write.bytes) {
                Ok(base) => Outcome::Written(base),
                Err(OUT_OF_ORDER) => panic!("a sequence gap at {}", write.base),
                Err(code) => panic!("error {code}"),
            },
        };
        self.engine.answered(outcome, self.now_ms);
    }

    fn execute_late(&mut self) {
        for bytes in self.late.drain(..) {
            // A broker's answer that nobody reads.
            let _ = self.broker.append(&bytes);
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
            stamp,
        };
        self.engine.inspected(found, self.now_ms);
    }

    fn crash(&mut self) {
        if self.rng.random_bool(0.5)
            && let Some(write) = self.engine.take_write(self.now_ms)
        {
            self.late.push(write.bytes);
        }
        self.engine = Engine::new();
        self.engine.aligned(self.source.start);
        self.fetching = None;
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
        assert_eq!(
            self.broker.batches.len(),
            self.source.batches.len(),
            "seed {seed}"
        );
        for ((base, copy), original) in self.broker.batches.iter().zip(&self.source.batches) {
            let (copy, original) = (view(copy), view(original));
            assert_eq!(*base, original.base_offset(), "seed {seed}");
            assert_eq!(copy.payload(), original.payload(), "seed {seed}");
            if original.producer_id().kind() == ProducerIdKind::Client {
                assert_eq!(copy.producer_id(), original.producer_id());
                assert_eq!(copy.base_sequence(), original.base_sequence());
            } else {
                assert_eq!(copy.producer_id().kind(), ProducerIdKind::Own);
            }
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_moved_whatever_happens_on_the_way() {
    for seed in 0..400 {
        let mut simulation = Simulation::new(seed);
        for _ in 0..600 {
            simulation.step();
        }
        simulation.finish();
        simulation.assert_equal(seed);
    }
}
