//! A bounds-checked reader over a byte slice: the only way this crate reads the wire.
//!
//! Reading allocates nothing; strings and bytes are slices of the input. Where Kafka has two
//! encodings of a length (compact from a message's first flexible version on), the caller says
//! which with `compact`. A length is compared with the bytes left before anything is done with it.

use crate::WireError;

/// Bits a variable-length integer of 32 bits may shift by; one more byte is too many.
const VARINT_SHIFT_MAX: u32 = 28;
/// The same for 64 bits.
const VARLONG_SHIFT_MAX: u32 = 63;

/// A position in a byte slice.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(&mut self) -> Result<$type, WireError> {
            Ok(<$type>::from_be_bytes(self.array()?))
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// A cursor at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor at byte `at` (at the end where `at` lies beyond it).
    pub fn at(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
        }
    }

    /// Bytes read so far: the position of the next byte in the slice the cursor was made of.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether every byte was read.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Refuses bytes that are left over.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(WireError::TrailingBytes(left)),
        }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..n) else {
            return Err(WireError::Truncated {
                needed: n,
                remaining: rest.len(),
            });
        };
        self.at += n;
        Ok(taken)
    }

    /// Passes over `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<(), WireError> {
        self.take(n).map(drop)
    }

    /// The next `N` bytes by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let remaining = self.remaining();
        let Some(array) = self.bytes[self.at..].first_chunk::<N>() else {
            return Err(WireError::Truncated {
                needed: N,
                remaining,
            });
        };
        self.at += N;
        Ok(*array)
    }

    fixed! {
        /// One signed byte.
        i8: i8,
        /// One byte.
        u8: u8,
        /// Two bytes, signed.
        i16: i16,
        /// Two bytes, unsigned.
        u16: u16,
        /// Four bytes, signed.
        i32: i32,
        /// Four bytes, unsigned.
        u32: u32,
        /// Eight bytes, signed.
        i64: i64,
    }

    /// One byte; everything but zero is true, as in Kafka's own reader.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.u8()? != 0)
    }

    /// Sixteen bytes of a UUID.
    pub fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in (0..=VARINT_SHIFT_MAX).step_by(7) {
            let byte = u32::from(self.u8()?);
            if shift == VARINT_SHIFT_MAX && byte > 0x0f {
                return Err(WireError::VarintTooLong);
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong)
    }

    /// A zigzag variable-length integer of 32 bits.
    pub fn varint(&mut self) -> Result<i32, WireError> {
        let zigzag = self.unsigned_varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    /// A zigzag variable-length integer of 64 bits.
    pub fn varlong(&mut self) -> Result<i64, WireError> {
        let mut zigzag = 0u64;
        for shift in (0..=VARLONG_SHIFT_MAX).step_by(7) {
            let byte = u64::from(self.u8()?);
            if shift == VARLONG_SHIFT_MAX && byte > 0x01 {
                return Err(WireError::VarintTooLong);
            }
            zigzag |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()));
            }
        }
        Err(WireError::VarintTooLong)
    }

    /// A string, or `None` for null.
    pub fn nullable_string(&mut self, compact: bool) -> Result<Option<&'a str>, WireError> {
        let length = if compact {
            self.compact_length()?
        } else {
            classic(self.i16()?.into())?
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let bytes = self.take_length(length)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| WireError::NotUtf8)
    }

    /// A string that cannot be null.
    pub fn string(&mut self, compact: bool) -> Result<&'a str, WireError> {
        self.nullable_string(compact)?
            .ok_or(WireError::UnexpectedNull)
    }

    /// Bytes, or `None` for null.
    pub fn nullable_bytes(&mut self, compact: bool) -> Result<Option<&'a [u8]>, WireError> {
        let length = if compact {
            self.compact_length()?
        } else {
            classic(self.i32()?)?
        };
        length.map(|length| self.take_length(length)).transpose()
    }

    /// Bytes that cannot be null.
    pub fn bytes(&mut self, compact: bool) -> Result<&'a [u8], WireError> {
        self.nullable_bytes(compact)?
            .ok_or(WireError::UnexpectedNull)
    }

    /// An element count, or `None` for null. `element_bytes_min` is the least that one element
    /// takes on the wire; a count that the bytes left cannot hold is refused.
    pub fn nullable_array(
        &mut self,
        compact: bool,
        element_bytes_min: usize,
    ) -> Result<Option<usize>, WireError> {
        let count = if compact {
            self.compact_length()?
        } else {
            classic(self.i32()?)?
        };
        let Some(count) = count else { return Ok(None) };
        let remaining = self.remaining();
        if count.saturating_mul(element_bytes_min.max(1)) > remaining {
            return Err(WireError::LengthBeyondFrame {
                length: count as u64,
                remaining,
            });
        }
        Ok(Some(count))
    }

    /// An element count that cannot be null; see [`Self::nullable_array`].
    pub fn array_length(
        &mut self,
        compact: bool,
        element_bytes_min: usize,
    ) -> Result<usize, WireError> {
        self.nullable_array(compact, element_bytes_min)?
            .ok_or(WireError::UnexpectedNull)
    }

    /// Passes over a section of tagged fields (KIP-482).
    pub fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        for _ in 0..self.unsigned_varint()? {
            self.tagged_field()?;
        }
        Ok(())
    }

    /// One tagged field: its tag and its bytes.
    pub fn tagged_field(&mut self) -> Result<(u32, &'a [u8]), WireError> {
        let tag = self.unsigned_varint()?;
        let size = self.unsigned_varint()? as usize;
        Ok((tag, self.take_length(size)?))
    }

    /// A compact length: one more than the length, zero for null.
    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }

    /// Like [`Self::take`], with the error of a length field.
    fn take_length(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let remaining = self.remaining();
        self.take(length).map_err(|_| WireError::LengthBeyondFrame {
            length: length as u64,
            remaining,
        })
    }
}

/// A length of fixed size: -1 is null, below that is an error.
fn classic(length: i32) -> Result<Option<usize>, WireError> {
    match length {
        -1 => Ok(None),
        length => usize::try_from(length)
            .map(Some)
            .map_err(|_| WireError::NegativeLength(length.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::put;

    #[test]
    fn variable_length_integers_agree_with_their_writer() {
        for value in [0, 1, -1, 63, -64, 64, 300, -300, i32::MAX, i32::MIN] {
            let mut bytes = Vec::new();
            put::varint(&mut bytes, value);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.varint(), Ok(value));
            assert!(cursor.is_empty());
        }
        for value in [0, -1, 1 << 40, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put::varlong(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).varlong(), Ok(value));
        }
        assert_eq!(
            Cursor::new(&[0xff; 5]).unsigned_varint(),
            Err(WireError::VarintTooLong)
        );
        assert_eq!(
            Cursor::new(&[0xff; 10]).varlong(),
            Err(WireError::VarintTooLong)
        );
        assert!(matches!(
            Cursor::new(&[0x80]).varint(),
            Err(WireError::Truncated { .. })
        ));
    }

    #[test]
    fn lengths_are_compared_with_the_bytes_left() {
        let beyond = |length, remaining| WireError::LengthBeyondFrame { length, remaining };
        assert_eq!(Cursor::new(&[0, 9, b'a']).string(false), Err(beyond(9, 1)));
        assert_eq!(
            Cursor::new(&[0x7f, 0xff, 0xff, 0xff]).bytes(false),
            Err(beyond(0x7fff_ffff, 0))
        );
        assert_eq!(
            Cursor::new(&[0, 0, 0, 3, 1, 2, 3]).array_length(false, 2),
            Err(beyond(3, 3))
        );
        assert_eq!(
            Cursor::new(&[0, 0, 0, 3, 1, 2, 3]).array_length(false, 1),
            Ok(3)
        );
        assert_eq!(Cursor::new(&[4, 1, 2, 3]).array_length(true, 1), Ok(3));
        assert_eq!(Cursor::new(&[255; 4]).nullable_array(false, 1), Ok(None));
        assert_eq!(
            Cursor::new(&[255, 255]).string(false),
            Err(WireError::UnexpectedNull)
        );
        assert_eq!(
            Cursor::new(&[255, 254]).string(false),
            Err(WireError::NegativeLength(-2))
        );
        assert_eq!(Cursor::new(&[0]).nullable_string(true), Ok(None));
        assert_eq!(
            Cursor::new(&[2, 0xff]).string(true),
            Err(WireError::NotUtf8)
        );
    }

    #[test]
    fn tagged_fields_are_skipped_by_their_size() {
        let mut cursor = Cursor::new(&[2, 7, 1, 9, 8, 0, 5]);
        assert_eq!(cursor.skip_tagged_fields(), Ok(()));
        assert_eq!(cursor.position(), 6);
        assert_eq!(cursor.finish(), Err(WireError::TrailingBytes(1)));
        assert!(Cursor::new(&[1, 0, 9]).skip_tagged_fields().is_err());
    }
}
