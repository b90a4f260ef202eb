//! Fetch requests, versions 4 to 12, walked in place and patched in fields of fixed size.
//!
//! A walk costs no allocation once its storage has grown; a patch writes 4 or 8 bytes per
//! partition. Only a request with a rack id has to be copied (KIP-392: the id would send the client
//! to a follower past Lockgate).

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::cursor::Cursor;
use crate::guard::REQUEST_ELEMENTS_MAX;
use crate::{WireError, put};

/// Fetch's API key.
pub const API_KEY: i16 = 1;
/// The versions this module reads.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=12;
/// The first version with a log start offset per partition (followers only).
const LOG_START_OFFSET_SINCE: i16 = 5;
/// The first version with sessions (KIP-227).
const SESSION_SINCE: i16 = 7;
/// The first version with the leader epoch the client knows (KIP-320).
const CURRENT_LEADER_EPOCH_SINCE: i16 = 9;
/// The first version with a rack id (KIP-392).
const RACK_SINCE: i16 = 11;
/// The first version with the epoch of the last record (KIP-595) and with tagged fields.
const FLEXIBLE_SINCE: i16 = 12;
/// The least that a partition takes: version 4.
const PARTITION_BYTES_MIN: usize = 16;
/// The least that a topic takes: an empty name, no partitions.
const TOPIC_BYTES_MIN: usize = 2;

/// What stands where an epoch is unknown.
const NO_EPOCH: [u8; 4] = (-1i32).to_be_bytes();

/// A walked Fetch request. All ranges and positions count from the start of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchRequest {
    /// -1 from consumers; a broker's id from followers.
    pub replica_id: i32,
    /// How long the broker may wait for `min_bytes`, milliseconds.
    pub max_wait_ms: i32,
    /// Bytes to wait for.
    pub min_bytes: i32,
    /// Bytes in the response at most; one batch may exceed it.
    pub max_bytes: i32,
    /// 0 read_uncommitted, 1 read_committed.
    pub isolation_level: i8,
    /// 0 without a session, and before version 7.
    pub session_id: i32,
    /// -1 without a session, and before version 7.
    pub session_epoch: i32,
    /// Where session id and epoch stand, from version 7 on.
    pub session_at: Option<usize>,
    /// In the order of the request. Empty in a session where nothing changed.
    pub partitions: Vec<FetchPartition>,
    /// Partitions to be taken out of the session.
    pub forgotten: Vec<ForgottenPartition>,
    /// Where the rack id stands, if there is one and it is not empty.
    pub rack_id: Option<Range<usize>>,
}

/// One partition of a Fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// Where the topic's name stands.
    pub topic: Range<usize>,
    /// The partition's number.
    pub index: i32,
    /// The leader epoch the client knows; -1 where none, and before version 9.
    pub current_leader_epoch: i32,
    /// The offset to read from.
    pub fetch_offset: i64,
    /// The epoch of the last record read; -1 where none, and before version 12.
    pub last_fetched_epoch: i32,
    /// A follower's log start; -1 from consumers and before version 5.
    pub log_start_offset: i64,
    /// Bytes for this partition at most; one batch may exceed it.
    pub max_bytes: i32,
    /// Where the partition's fields begin (with its index).
    pub at: usize,
}

/// A partition that leaves the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenPartition {
    /// Where the topic's name stands.
    pub topic: Range<usize>,
    /// The partition's number.
    pub index: i32,
}

impl FetchRequest {
    /// Walks `body`. The storage is reused; after an error it holds part of the
    /// walk and says nothing.
    pub fn walk(&mut self, version: i16, body: &[u8]) -> Result<(), WireError> {
        if !VERSIONS.contains(&version) {
            return Err(WireError::UnsupportedVersion {
                api_key: API_KEY,
                version,
            });
        }
        self.partitions.clear();
        self.forgotten.clear();
        let flexible = version >= FLEXIBLE_SINCE;
        let mut cursor = Cursor::new(body);
        self.replica_id = cursor.i32()?;
        self.max_wait_ms = cursor.i32()?;
        self.min_bytes = cursor.i32()?;
        self.max_bytes = cursor.i32()?;
        self.isolation_level = cursor.i8()?;
        (self.session_at, self.session_id, self.session_epoch) = (None, 0, -1);
        if version >= SESSION_SINCE {
            self.session_at = Some(cursor.position());
            self.session_id = cursor.i32()?;
            self.session_epoch = cursor.i32()?;
        }
        self.walk_topics(&mut cursor, version)?;
        if version >= SESSION_SINCE {
            self.walk_forgotten(&mut cursor, flexible)?;
        }
        self.rack_id = None;
        if version >= RACK_SINCE {
            let rack = cursor.string(flexible)?.len();
            self.rack_id = (rack > 0).then(|| before(&cursor, rack));
        }
        if flexible {
            cursor.skip_tagged_fields()?;
        }
        cursor.finish()
    }

    /// Takes every epoch out of the request: Lockgate's clients know none, and one that does
    /// would have it compared with the epochs of another cluster. `body` is the one walked.
    pub fn forget_epochs(&mut self, version: i16, body: &mut [u8]) {
        for partition in &mut self.partitions {
            if version >= CURRENT_LEADER_EPOCH_SINCE && partition.current_leader_epoch != -1 {
                overwrite(body, partition.at + 4, NO_EPOCH);
                partition.current_leader_epoch = -1;
            }
            if version >= FLEXIBLE_SINCE && partition.last_fetched_epoch != -1 {
                overwrite(body, partition.at + 16, NO_EPOCH);
                partition.last_fetched_epoch = -1;
            }
        }
    }

    /// Makes the request one without a session: id 0, epoch -1. Only right where it names every
    /// partition it wants. `body` is the one walked.
    pub fn leave_session(&mut self, body: &mut [u8]) {
        if let Some(at) = self.session_at {
            overwrite(body, at, 0i32.to_be_bytes());
            overwrite(body, at + 4, NO_EPOCH);
            (self.session_id, self.session_epoch) = (0, -1);
        }
    }

    /// A copy of `body`, the one walked, whose rack id is empty; `None` where it is empty already.
    /// Everything else stays where it stood: only tagged fields come behind the rack id.
    pub fn without_rack_id(&mut self, version: i16, body: &[u8]) -> Option<BytesMut> {
        let rack = self.rack_id.take()?;
        let flexible = version >= FLEXIBLE_SINCE;
        let length_bytes = if flexible {
            put::unsigned_varint_bytes(rack.len() as u32 + 1)
        } else {
            2
        };
        let mut copy = BytesMut::with_capacity(body.len());
        copy.put_slice(body.get(..rack.start - length_bytes)?);
        put::string(&mut copy, flexible, Some("")).ok()?;
        copy.put_slice(body.get(rack.end..)?);
        Some(copy)
    }

    fn walk_topics(&mut self, cursor: &mut Cursor<'_>, version: i16) -> Result<(), WireError> {
        let flexible = version >= FLEXIBLE_SINCE;
        for _ in 0..cursor.array_length(flexible, TOPIC_BYTES_MIN)? {
            let name = cursor.string(flexible)?.len();
            let topic = before(cursor, name);
            for _ in 0..cursor.array_length(flexible, PARTITION_BYTES_MIN)? {
                if self.partitions.len() == REQUEST_ELEMENTS_MAX {
                    return Err(WireError::TooManyElements(REQUEST_ELEMENTS_MAX));
                }
                self.partitions
                    .push(partition(cursor, version, topic.clone())?);
            }
            if flexible {
                cursor.skip_tagged_fields()?;
            }
        }
        Ok(())
    }

    fn walk_forgotten(&mut self, cursor: &mut Cursor<'_>, flexible: bool) -> Result<(), WireError> {
        for _ in 0..cursor.array_length(flexible, TOPIC_BYTES_MIN)? {
            let name = cursor.string(flexible)?.len();
            let topic = before(cursor, name);
            for _ in 0..cursor.array_length(flexible, 4)? {
                if self.forgotten.len() == REQUEST_ELEMENTS_MAX {
                    return Err(WireError::TooManyElements(REQUEST_ELEMENTS_MAX));
                }
                self.forgotten.push(ForgottenPartition {
                    topic: topic.clone(),
                    index: cursor.i32()?,
                });
            }
            if flexible {
                cursor.skip_tagged_fields()?;
            }
        }
        Ok(())
    }
}

impl FetchPartition {
    /// The topic's name in the body that was walked.
    pub fn topic<'a>(&self, body: &'a [u8]) -> &'a str {
        text(body, &self.topic)
    }
}

impl ForgottenPartition {
    /// The topic's name in the body that was walked.
    pub fn topic<'a>(&self, body: &'a [u8]) -> &'a str {
        text(body, &self.topic)
    }
}

fn partition(
    cursor: &mut Cursor<'_>,
    version: i16,
    topic: Range<usize>,
) -> Result<FetchPartition, WireError> {
    let since = |first| version >= first;
    let at = cursor.position();
    let partition = FetchPartition {
        topic,
        at,
        index: cursor.i32()?,
        current_leader_epoch: if since(CURRENT_LEADER_EPOCH_SINCE) {
            cursor.i32()?
        } else {
            -1
        },
        fetch_offset: cursor.i64()?,
        last_fetched_epoch: if since(FLEXIBLE_SINCE) {
            cursor.i32()?
        } else {
            -1
        },
        log_start_offset: if since(LOG_START_OFFSET_SINCE) {
            cursor.i64()?
        } else {
            -1
        },
        max_bytes: cursor.i32()?,
    };
    if since(FLEXIBLE_SINCE) {
        cursor.skip_tagged_fields()?;
    }
    Ok(partition)
}

/// The `length` bytes that were read last.
fn before(cursor: &Cursor<'_>, length: usize) -> Range<usize> {
    cursor.position() - length..cursor.position()
}

/// A string whose UTF-8 the walk has checked; empty where `body` is not the body that was walked.
fn text<'a>(body: &'a [u8], range: &Range<usize>) -> &'a str {
    body.get(range.clone())
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or_default()
}

fn overwrite(body: &mut [u8], at: usize, field: [u8; 4]) {
    if let Some(place) = body.get_mut(at..at + field.len()) {
        place.copy_from_slice(&field);
    }
}

#[cfg(test)]
mod tests;
