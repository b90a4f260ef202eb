//! The length guard: what stands between bytes from outside and the `kafka-protocol` crate.
//!
//! The crate (0.18) takes an array's element count from the wire and allocates that many elements
//! before it reads one: eight hostile bytes abort the process (DESIGN trap 6). So every body is
//! first walked by the tables below, which know of each message only where its lengths stand, and
//! nothing is decoded whose lengths the bytes do not bear out. A walk allocates nothing.
//!
//! What an accepted body can make the crate allocate: per byte of strings and bytes nothing (they
//! share the frame), per array element or unknown tagged field its size in memory, some 30 to 256
//! bytes. The number of elements is bounded by [`REQUEST_ELEMENTS_MAX`] and
//! [`RESPONSE_ELEMENTS_MAX`].
//!
//! The walk is stricter than the crate in one place: the content of a known tagged field has to be
//! as long as its size says.

mod admin;
mod brokers;
mod data;
mod groups;
mod schema;
mod transactions;

use crate::WireError;
use crate::cursor::Cursor;
use schema::{Api, Fields, Half, Kind};

/// Array elements and tagged fields in one request: some 30 MB at worst once decoded. Clients send
/// what concerns one broker or one group; no broker leads a tenth as many partitions.
pub const REQUEST_ELEMENTS_MAX: usize = 1 << 17;
/// Array elements and tagged fields in one response. Brokers are trusted with more: Metadata names
/// every partition of a cluster.
pub const RESPONSE_ELEMENTS_MAX: usize = 1 << 22;

/// Every family of tables.
const FAMILIES: [&[Api]; 5] = [
    brokers::APIS,
    data::APIS,
    groups::APIS,
    transactions::APIS,
    admin::APIS,
];

/// Proves that every length in a request's body (header excluded) is borne out by its bytes and
/// that nothing is left over. An API or version without a table is an error.
pub fn check_request(api_key: i16, version: i16, body: &[u8]) -> Result<(), WireError> {
    whole(walk_request(api_key, version, body)?, body)
}

/// The same for a response's body.
pub fn check_response(api_key: i16, version: i16, body: &[u8]) -> Result<(), WireError> {
    whole(walk_response(api_key, version, body)?, body)
}

/// As [`check_request`], but bytes behind the last field are allowed: answers the bytes before.
pub fn walk_request(api_key: i16, version: i16, body: &[u8]) -> Result<usize, WireError> {
    walk(
        api_key,
        version,
        &api(api_key)?.request,
        body,
        REQUEST_ELEMENTS_MAX,
    )
}

/// As [`check_response`], but bytes behind the last field are allowed: answers the bytes before.
pub fn walk_response(api_key: i16, version: i16, body: &[u8]) -> Result<usize, WireError> {
    walk(
        api_key,
        version,
        &api(api_key)?.response,
        body,
        RESPONSE_ELEMENTS_MAX,
    )
}

fn api(api_key: i16) -> Result<&'static Api, WireError> {
    FAMILIES
        .iter()
        .flat_map(|family| family.iter())
        .find(|api| api.key == api_key)
        .ok_or(WireError::UnknownApi(api_key))
}

fn whole(walked: usize, body: &[u8]) -> Result<(), WireError> {
    match body.len() - walked {
        0 => Ok(()),
        left => Err(WireError::TrailingBytes(left)),
    }
}

fn walk(
    api_key: i16,
    version: i16,
    half: &Half,
    body: &[u8],
    elements_max: usize,
) -> Result<usize, WireError> {
    if !half.versions.contains(&version) {
        return Err(WireError::UnsupportedVersion { api_key, version });
    }
    let mut walk = Walk {
        cursor: Cursor::new(body),
        version,
        flexible: version >= half.flexible_since,
        elements_left: elements_max,
        elements_max,
    };
    walk.fields(half.fields)?;
    Ok(walk.cursor.position())
}

/// One walk. Recursion is as deep as the tables are: no message nests further than its schema.
struct Walk<'a> {
    cursor: Cursor<'a>,
    version: i16,
    flexible: bool,
    elements_left: usize,
    elements_max: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &Fields) -> Result<(), WireError> {
        for field in fields.fields {
            if field.versions.contains(&self.version) {
                self.kind(&field.kind)?;
            }
        }
        if self.flexible {
            self.tagged(fields)?;
        }
        Ok(())
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(bytes) => self.cursor.skip(*bytes),
            Kind::Str => {
                let length = match self.flexible {
                    true => i64::from(self.cursor.unsigned_varint()?) - 1,
                    false => self.cursor.i16()?.into(),
                };
                self.skip_length(length)
            }
            Kind::Bytes => {
                let length = match self.flexible {
                    true => i64::from(self.cursor.unsigned_varint()?) - 1,
                    false => self.cursor.i32()?.into(),
                };
                self.skip_length(length)
            }
            Kind::Array(Kind::Fixed(bytes)) => {
                let count = self
                    .cursor
                    .nullable_array(self.flexible, *bytes)?
                    .unwrap_or(0);
                self.cursor.skip(count * bytes)
            }
            Kind::Array(element) => {
                let count = self.cursor.nullable_array(self.flexible, 1)?.unwrap_or(0);
                self.count(count)?;
                (0..count).try_for_each(|_| self.kind(element))
            }
            Kind::Struct(fields) => self.fields(fields),
        }
    }

    fn tagged(&mut self, fields: &Fields) -> Result<(), WireError> {
        let count = self.cursor.unsigned_varint()? as usize;
        self.count(count)?;
        for _ in 0..count {
            let tag = self.cursor.unsigned_varint()?;
            let size = self.cursor.unsigned_varint()? as usize;
            let known = fields
                .tagged
                .iter()
                .find(|known| known.tag == tag && known.versions.contains(&self.version));
            match known {
                None => self.skip_length(size as i64)?,
                Some(known) => {
                    let before = self.cursor.position();
                    self.kind(&known.kind)?;
                    let walked = self.cursor.position() - before;
                    if walked != size {
                        return Err(WireError::TaggedFieldSize { tag, size, walked });
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes over `length` bytes; -1 is null.
    fn skip_length(&mut self, length: i64) -> Result<(), WireError> {
        if length < -1 {
            return Err(WireError::NegativeLength(length));
        }
        let remaining = self.cursor.remaining();
        let length = length.max(0) as u64;
        if length > remaining as u64 {
            return Err(WireError::LengthBeyondFrame { length, remaining });
        }
        self.cursor.skip(length as usize)
    }

    fn count(&mut self, elements: usize) -> Result<(), WireError> {
        self.elements_left = self
            .elements_left
            .checked_sub(elements)
            .ok_or(WireError::TooManyElements(self.elements_max))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
