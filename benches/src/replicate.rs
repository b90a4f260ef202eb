//! The replication bench: the same topics copied by MirrorMaker 2 and by Lockgate, one after the other.
//!
//! A topic is filled before anybody copies it, so that neither waits for a producer. The first part of it warms the
//! copier up and does not count: clock and CPU are read when that much has arrived and when all has.

pub mod copier;
pub mod fill;
pub mod idle;
pub mod report;
pub mod run;
pub mod steady;

use copier::Copier;

/// How the records of a work lie in the source's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Batches of this many bytes of records before compression, in this codec.
    Batches {
        /// `batch.size`.
        bytes: usize,
        /// `compression.type`.
        codec: &'static str,
    },
    /// A batch for every record.
    Singles,
}

/// One topic to be copied.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Appears in the table.
    pub name: &'static str,
    /// The topic's name.
    pub topic: &'static str,
    /// Its partitions.
    pub partitions: i32,
    /// Its batches.
    pub shape: Shape,
    /// Bytes of one record's value.
    pub record_bytes: usize,
    /// Payload that counts, in MB.
    pub megabytes: u64,
    /// Payload in front of it, in MB.
    pub warm_up_megabytes: u64,
    /// Whether the delay at a steady rate is measured behind it.
    pub steady: bool,
}

impl Work {
    /// Records that the topic holds.
    #[must_use]
    pub fn records(&self) -> u64 {
        (self.megabytes + self.warm_up_megabytes) * 1_000_000 / self.record_bytes as u64
    }

    /// Records that have arrived when counting begins.
    #[must_use]
    pub fn warm_up_records(&self) -> u64 {
        self.warm_up_megabytes * 1_000_000 / self.record_bytes as u64
    }

    /// Payload of `records` records in MB.
    #[must_use]
    pub fn megabytes_of(&self, records: u64) -> f64 {
        records as f64 * self.record_bytes as f64 / 1e6
    }
}

/// The works, each `divide` times smaller than it is meant to be.
#[must_use]
pub fn works(divide: u64) -> [Work; 4] {
    let batches = |name, topic, partitions, bytes, codec, megabytes| Work {
        name,
        topic,
        partitions,
        shape: Shape::Batches { bytes, codec },
        record_bytes: 1_024,
        megabytes: megabytes / divide,
        warm_up_megabytes: megabytes / 3 / divide,
        steady: false,
    };
    [
        Work {
            steady: true,
            ..batches(
                "1 KiB records, batches of 64 KiB",
                "plain",
                8,
                65_536,
                "none",
                3_000,
            )
        },
        batches("lz4 batches of 100 KiB", "lz4", 8, 102_400, "lz4", 3_000),
        Work {
            shape: Shape::Singles,
            record_bytes: 200,
            ..batches(
                "a batch for each record of 200 bytes",
                "tiny",
                8,
                0,
                "none",
                240,
            )
        },
        batches(
            "1,000 partitions, batches of 64 KiB",
            "wide",
            1_000,
            65_536,
            "none",
            1_500,
        ),
    ]
}

/// Who copies.
pub const COPIERS: [Copier; 2] = [Copier::Lockgate, Copier::MirrorMaker];
