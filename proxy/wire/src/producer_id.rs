//! Who gave out a producer id, told from the number alone (DESIGN section 4).
//!
//! Each cluster numbers producer ids from 0, so ids of two clusters collide, and a collision is a
//! silent loss. Lockgate therefore issues ids that no cluster reaches: the upper half of the
//! positive numbers, cut in two so that a client can never pose as Lockgate.

use std::fmt;

/// The first id that Lockgate issues to clients.
const CLIENT_FIRST: i64 = 1 << 62;
/// The first id that Lockgate uses itself.
const OWN_FIRST: i64 = CLIENT_FIRST + SPAN;
/// Ids in each of the two ranges: 2^61. The second ends with the positive numbers.
const SPAN: i64 = 1 << 61;

/// A producer id as it stands in a batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerId(i64);

/// Who gave out an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProducerIdKind {
    /// No id: not idempotent. Kafka takes every negative number for it.
    None,
    /// A cluster's own coordinator: [0, 2^62).
    Cluster,
    /// Lockgate, to a client: [2^62, 2^62 + 2^61). The same on both clusters.
    Client,
    /// Lockgate, to itself (link, filler, marker): [2^62 + 2^61, 2^63).
    Own,
}

impl ProducerId {
    /// What stands in the batches of a producer that is not idempotent.
    pub const NONE: Self = Self(-1);

    /// An id as found on the wire.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// An id for a client out of 64 random bits, which the caller draws.
    pub const fn client(random: u64) -> Self {
        Self(CLIENT_FIRST + offset(random))
    }

    /// An id for Lockgate's own writes out of 64 random bits, which the caller draws.
    pub const fn own(random: u64) -> Self {
        Self(OWN_FIRST + offset(random))
    }

    /// The number that goes on the wire.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Who gave it out.
    pub const fn kind(self) -> ProducerIdKind {
        match self.0 {
            ..0 => ProducerIdKind::None,
            0..CLIENT_FIRST => ProducerIdKind::Cluster,
            CLIENT_FIRST..OWN_FIRST => ProducerIdKind::Client,
            OWN_FIRST.. => ProducerIdKind::Own,
        }
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The low 61 bits.
const fn offset(random: u64) -> i64 {
    random.cast_signed() & (SPAN - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_without_gap_or_overlap() {
        let kind = |id| ProducerId::new(id).kind();
        assert_eq!(ProducerId::NONE.kind(), ProducerIdKind::None);
        assert_eq!(kind(i64::MIN), ProducerIdKind::None);
        assert_eq!(kind(0), ProducerIdKind::Cluster);
        assert_eq!(kind((1 << 62) - 1), ProducerIdKind::Cluster);
        assert_eq!(kind(1 << 62), ProducerIdKind::Client);
        assert_eq!(kind((1 << 62) + (1 << 61) - 1), ProducerIdKind::Client);
        assert_eq!(kind((1 << 62) + (1 << 61)), ProducerIdKind::Own);
        assert_eq!(kind(i64::MAX), ProducerIdKind::Own);
    }

    #[test]
    fn every_random_number_gives_an_id_of_its_range() {
        for random in [0, 1, u64::MAX, 1 << 61, 1 << 63, 0x1234_5678_9abc_def0] {
            assert_eq!(ProducerId::client(random).kind(), ProducerIdKind::Client);
            assert_eq!(ProducerId::own(random).kind(), ProducerIdKind::Own);
        }
        assert_ne!(ProducerId::client(1), ProducerId::client(2));
    }
}
