//! The writers that belong to the cursor's readers. Lengths that a field cannot say are errors.

use bytes::BufMut;

use crate::WireError;

/// An unsigned variable-length integer.
pub fn unsigned_varint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A zigzag variable-length integer of 32 bits.
pub fn varint(out: &mut impl BufMut, value: i32) {
    unsigned_varint(out, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

/// A zigzag variable-length integer of 64 bits.
pub fn varlong(out: &mut impl BufMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.put_u8((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

/// Bytes that [`unsigned_varint`] writes for `value`.
pub fn unsigned_varint_bytes(value: u32) -> usize {
    (38 - value.leading_zeros() as usize) / 7 + usize::from(value == 0)
}

/// Bytes that [`varint`] writes for `value`.
pub fn varint_bytes(value: i32) -> usize {
    unsigned_varint_bytes(((value << 1) ^ (value >> 31)).cast_unsigned())
}

/// Bytes that [`varlong`] writes for `value`.
pub fn varlong_bytes(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (70 - zigzag.leading_zeros() as usize) / 7 + usize::from(zigzag == 0)
}

/// A string or null.
pub fn string(out: &mut impl BufMut, compact: bool, value: Option<&str>) -> Result<(), WireError> {
    match (value, compact) {
        (value, true) => compact_length(out, value.map(str::len))?,
        (None, false) => out.put_i16(-1),
        (Some(text), false) => out.put_i16(
            i16::try_from(text.len()).map_err(|_| WireError::TooLongToEncode(text.len()))?,
        ),
    }
    out.put_slice(value.unwrap_or_default().as_bytes());
    Ok(())
}

/// The length in front of bytes, or the element count of an array; `None` is null.
pub fn length(
    out: &mut impl BufMut,
    compact: bool,
    length: Option<usize>,
) -> Result<(), WireError> {
    match (length, compact) {
        (length, true) => compact_length(out, length)?,
        (None, false) => out.put_i32(-1),
        (Some(length), false) => {
            out.put_i32(i32::try_from(length).map_err(|_| WireError::TooLongToEncode(length))?);
        }
    }
    Ok(())
}

/// An empty section of tagged fields, where the version has one.
pub fn no_tagged_fields(out: &mut impl BufMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    }
}

fn compact_length(out: &mut impl BufMut, length: Option<usize>) -> Result<(), WireError> {
    let Some(length) = length else {
        out.put_u8(0);
        return Ok(());
    };
    // Java's lengths are signed 32-bit numbers in both encodings.
    match i32::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(1))
    {
        Some(plus_one) => unsigned_varint(out, plus_one.cast_unsigned()),
        None => return Err(WireError::TooLongToEncode(length)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_told_are_the_sizes_written() {
        for shift in 0..64 {
            for value in [
                1i64 << shift,
                -(1i64 << (shift % 63)),
                (1i64 << shift).wrapping_sub(1),
            ] {
                let mut out = Vec::new();
                varlong(&mut out, value);
                assert_eq!(out.len(), varlong_bytes(value), "{value}");
                out.clear();
                varint(&mut out, value as i32);
                assert_eq!(out.len(), varint_bytes(value as i32), "{value}");
            }
        }
    }

    #[test]
    fn lengths_beyond_their_field_are_refused() {
        let mut out = Vec::new();
        let long = "x".repeat(40_000);
        assert_eq!(
            string(&mut out, false, Some(&long)),
            Err(WireError::TooLongToEncode(40_000))
        );
        assert_eq!(string(&mut out, true, Some(&long)), Ok(()));
        assert!(length(&mut out, true, Some(i32::MAX as usize)).is_err());
        assert!(length(&mut out, false, Some(usize::MAX)).is_err());
    }
}
