//! Building Produce requests around records that are already in memory.

use bytes::{BufMut, Bytes, BytesMut};

use super::check_version;
use crate::{WireError, put};

/// The records of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The topic's name. Parts of one topic stand together, else it is named twice.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// One batch.
    pub records: Bytes,
}

/// Builds a request's body out of `parts`, behind what `head` already holds (a size prefix to be
/// patched and a header, or nothing). Chunks are appended to `out` in order for a vectored write;
/// records are shared, not copied. Returns the bytes of all chunks, `head` included.
pub fn build_request(
    version: i16,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    parts: &[Part<'_>],
    head: BytesMut,
    out: &mut Vec<Bytes>,
) -> Result<usize, WireError> {
    let flexible = check_version(version)?;
    let mut text = head;
    put::string(&mut text, flexible, transactional_id)?;
    text.put_i16(acks);
    text.put_i32(timeout_ms);
    let topics = || parts.chunk_by(|one, next| one.topic == next.topic);
    put::length(&mut text, flexible, Some(topics().count()))?;
    let mut size = 0;
    for partitions in topics() {
        put::string(&mut text, flexible, Some(partitions[0].topic))?;
        put::length(&mut text, flexible, Some(partitions.len()))?;
        for part in partitions {
            text.put_i32(part.partition);
            put::length(&mut text, flexible, Some(part.records.len()))?;
            size += text.len() + part.records.len();
            out.push(text.split().freeze());
            out.push(part.records.clone());
            put::no_tagged_fields(&mut text, flexible);
        }
        put::no_tagged_fields(&mut text, flexible);
    }
    put::no_tagged_fields(&mut text, flexible);
    size += text.len();
    if !text.is_empty() {
        out.push(text.freeze());
    }
    Ok(size)
}
