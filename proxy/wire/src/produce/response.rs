//! Produce responses, versions 3 to 9, read into reusable storage and written field by field.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::{TOPIC_BYTES_MIN, before, check_version, text};
use crate::cursor::Cursor;
use crate::{WireError, put};

/// The first version with a log start offset.
const LOG_START_OFFSET_SINCE: i16 = 5;
/// The first version with errors of single records and an error message (KIP-467).
const RECORD_ERRORS_SINCE: i16 = 8;
/// The least that a partition takes: version 3.
const PARTITION_BYTES_MIN: usize = 22;
/// The least that the error of one record takes: its index, no message.
const RECORD_ERROR_BYTES_MIN: usize = 5;

/// A Produce response that was read. Ranges count from the start of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// In the order of the response.
    pub partitions: Vec<PartitionResponse>,
    /// How long the broker throttles this client, milliseconds.
    pub throttle_time_ms: i32,
}

/// The answer for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionResponse {
    /// Where the topic's name stands in the body.
    pub topic: Range<usize>,
    /// The partition's number.
    pub index: i32,
    /// 0 is success.
    pub error_code: i16,
    /// The offset of the first record; -1 with an error.
    pub base_offset: i64,
    /// The broker's time for topics with LogAppendTime, else -1.
    pub log_append_time_ms: i64,
    /// Where the partition begins; -1 before version 5.
    pub log_start_offset: i64,
}

impl Response {
    /// Reads `body`. The storage is reused; after an error it holds part of the
    /// walk and says nothing. Errors of single records and error messages are passed over.
    pub fn walk(&mut self, version: i16, body: &[u8]) -> Result<(), WireError> {
        let flexible = check_version(version)?;
        self.partitions.clear();
        let mut cursor = Cursor::new(body);
        for _ in 0..cursor.array_length(flexible, TOPIC_BYTES_MIN)? {
            let name = cursor.string(flexible)?.len();
            let topic = before(&cursor, name);
            for _ in 0..cursor.array_length(flexible, PARTITION_BYTES_MIN)? {
                self.partitions
                    .push(partition(&mut cursor, version, flexible, topic.clone())?);
            }
            if flexible {
                cursor.skip_tagged_fields()?;
            }
        }
        self.throttle_time_ms = cursor.i32()?;
        if flexible {
            cursor.skip_tagged_fields()?;
        }
        cursor.finish()
    }
}

impl PartitionResponse {
    /// The topic's name in the body that was read.
    pub fn topic<'a>(&self, body: &'a [u8]) -> &'a str {
        text(body, self.topic.clone())
    }
}

fn partition(
    cursor: &mut Cursor<'_>,
    version: i16,
    flexible: bool,
    topic: Range<usize>,
) -> Result<PartitionResponse, WireError> {
    let response = PartitionResponse {
        topic,
        index: cursor.i32()?,
        error_code: cursor.i16()?,
        base_offset: cursor.i64()?,
        log_append_time_ms: cursor.i64()?,
        log_start_offset: if version >= LOG_START_OFFSET_SINCE {
            cursor.i64()?
        } else {
            -1
        },
    };
    if version >= RECORD_ERRORS_SINCE {
        for _ in 0..cursor.array_length(flexible, RECORD_ERROR_BYTES_MIN)? {
            cursor.skip(4)?;
            cursor.nullable_string(flexible)?;
            if flexible {
                cursor.skip_tagged_fields()?;
            }
        }
        cursor.nullable_string(flexible)?;
    }
    if flexible {
        cursor.skip_tagged_fields()?;
    }
    Ok(response)
}

/// Writes a Produce response's body: the topic count, each topic with its partitions, the end.
/// The caller announces counts first because the format does.
#[derive(Debug)]
pub struct ResponseWriter<'a> {
    out: &'a mut BytesMut,
    version: i16,
    flexible: bool,
}

impl<'a> ResponseWriter<'a> {
    /// Begins a response of `topics` topics behind what `out` already holds.
    pub fn new(out: &'a mut BytesMut, version: i16, topics: usize) -> Result<Self, WireError> {
        let flexible = check_version(version)?;
        put::length(out, flexible, Some(topics))?;
        Ok(Self {
            out,
            version,
            flexible,
        })
    }

    /// Writes one topic. Of each partition all fields but the topic's range are used.
    pub fn topic<'p>(
        &mut self,
        name: &str,
        partitions: impl ExactSizeIterator<Item = &'p PartitionResponse>,
    ) -> Result<(), WireError> {
        let (version, flexible) = (self.version, self.flexible);
        put::string(self.out, flexible, Some(name))?;
        put::length(self.out, flexible, Some(partitions.len()))?;
        for partition in partitions {
            self.out.put_i32(partition.index);
            self.out.put_i16(partition.error_code);
            self.out.put_i64(partition.base_offset);
            self.out.put_i64(partition.log_append_time_ms);
            if version >= LOG_START_OFFSET_SINCE {
                self.out.put_i64(partition.log_start_offset);
            }
            if version >= RECORD_ERRORS_SINCE {
                put::length(self.out, flexible, Some(0))?;
                put::string(self.out, flexible, None)?;
            }
            put::no_tagged_fields(self.out, flexible);
        }
        put::no_tagged_fields(self.out, flexible);
        Ok(())
    }

    /// Writes the end of the response.
    pub fn finish(self, throttle_time_ms: i32) {
        self.out.put_i32(throttle_time_ms);
        put::no_tagged_fields(self.out, self.flexible);
    }
}
