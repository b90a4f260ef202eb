//! Pure: one fetch session (KIP-227). The broker remembers which partitions are wanted from which offset, so a request
//! names only what has changed since the last one; of thousands of idle partitions it names none, and neither does the
//! answer. A broker that has no room for a session answers with session 0: then every request names all.

use crate::words::TopicPartition;

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

/// What the broker remembers of one connection's wants.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0 before there is one.
    id: i32,
    /// Of the next request; 0 asks for a session.
    epoch: i32,
    /// Sorted.
    named: Vec<(TopicPartition, i64)>,
    /// Requests without a session so far: a broker fills its answer in the order asked, so the first one moves.
    turns: usize,
}

/// What one request says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) session_id: i32,
    pub(super) epoch: i32,
    /// New, or wanted from another offset than before; the partitions of a topic stand together.
    pub(super) wanted: Vec<(TopicPartition, i64)>,
    /// Not wanted any more; as above.
    pub(super) forgotten: Vec<TopicPartition>,
}

impl Names {
    /// A request of its own.
    pub(super) fn without_session() -> Self {
        Self {
            epoch: -1,
            ..Self::default()
        }
    }
}

impl Session {
    /// What the request for `wanted` (sorted by partition) has to name. Its answer goes to [`Self::answered`]; where
    /// there is none, the session is to be dropped with its connection.
    pub(super) fn ask<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a TopicPartition, i64)>,
    ) -> Names {
        let wanted: Vec<_> = wanted.map(|(at, offset)| (at.clone(), offset)).collect();
        let known = std::mem::replace(&mut self.named, wanted);
        if self.id == 0 {
            let mut wanted = self.named.clone();
            wanted.rotate_left(self.turns % self.named.len().max(1));
            self.turns = self.turns.wrapping_add(1);
            return Names {
                wanted,
                ..Names::default()
            };
        }
        let mut names = Names {
            session_id: self.id,
            epoch: self.epoch,
            ..Names::default()
        };
        let mut known = known.into_iter().peekable();
        for (at, offset) in &self.named {
            while let Some((gone, _)) = known.next_if(|(known, _)| known < at) {
                names.forgotten.push(gone);
            }
            match known.next_if(|(known, _)| known == at) {
                Some((_, before)) if before == *offset => {}
                _ => names.wanted.push((at.clone(), *offset)),
            }
        }
        names.forgotten.extend(known.map(|(gone, _)| gone));
        names
    }

    /// The answer's error and session id; false if the broker does not know the session (it was pushed out by others):
    /// the next request asks for a new one.
    pub(super) fn answered(&mut self, error_code: i16, session_id: i32) -> bool {
        if matches!(
            error_code,
            FETCH_SESSION_ID_NOT_FOUND | INVALID_FETCH_SESSION_EPOCH
        ) {
            (self.id, self.epoch) = (0, 0);
            return false;
        }
        self.id = session_id;
        self.epoch = match self.epoch {
            _ if session_id == 0 => 0,
            i32::MAX => 1,
            epoch => epoch + 1,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    type Wanted = BTreeMap<TopicPartition, i64>;

    /// A broker's side of it, as `FetchManager` and `IncrementalFetchContext` have it.
    #[derive(Default)]
    struct Broker {
        session: Option<(i32, i32, Wanted)>,
        issued: i32,
    }

    impl Broker {
        /// The error, the session id, and what the broker would read.
        fn fetch(&mut self, names: &Names, has_room: bool) -> (i16, i32, Wanted) {
            let all: Wanted = names.wanted.iter().cloned().collect();
            if names.epoch == 0 {
                assert!(names.forgotten.is_empty());
                self.issued += 1;
                self.session = has_room.then(|| (self.issued, 1, all.clone()));
                return (0, if has_room { self.issued } else { 0 }, all);
            }
            let Some((id, epoch, known)) = &mut self.session else {
                return (FETCH_SESSION_ID_NOT_FOUND, 0, all);
            };
            assert_eq!((names.session_id, names.epoch), (*id, *epoch));
            *epoch += 1;
            for gone in &names.forgotten {
                known.remove(gone).unwrap();
            }
            known.extend(all);
            (0, *id, known.clone())
        }
    }

    #[test]
    fn the_broker_always_reads_what_is_wanted() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut session, mut broker) = (Session::default(), Broker::default());
            let mut wanted = Wanted::new();
            for _ in 0..100 {
                let at = TopicPartition::new(
                    ["a", "b"][random.random_range(0..2)],
                    random.random_range(0..5),
                );
                match random.random_range(0..4) {
                    0 => drop(wanted.remove(&at)),
                    _ => drop(wanted.insert(at, random.random_range(0..3))),
                }
                if random.random_bool(0.05) {
                    broker.session = None;
                }
                let names = session.ask(wanted.iter().map(|(at, offset)| (at, *offset)));
                let (error, id, read) = broker.fetch(&names, random.random_bool(0.8));
                if session.answered(error, id) {
                    assert_eq!(read, wanted, "seed {seed}");
                } else {
                    assert_eq!(error, FETCH_SESSION_ID_NOT_FOUND);
                }
            }
        }
    }

    #[test]
    fn what_is_unchanged_is_not_named() {
        let (a, b) = (TopicPartition::new("a", 0), TopicPartition::new("b", 0));
        let mut session = Session::default();
        assert_eq!(session.ask([(&a, 0), (&b, 5)].into_iter()).wanted.len(), 2);
        assert!(session.answered(0, 9));
        let names = session.ask([(&a, 0), (&b, 6)].into_iter());
        assert_eq!((names.session_id, names.epoch), (9, 1));
        assert_eq!(names.wanted, [(b.clone(), 6)]);
        assert!(names.forgotten.is_empty());
        assert!(session.answered(0, 9));
        let names = session.ask([(&b, 6)].into_iter());
        assert_eq!((names.epoch, names.forgotten), (2, vec![a]));
        session.epoch = i32::MAX;
        assert!(session.answered(0, 9));
        assert_eq!(session.epoch, 1);
    }
}
