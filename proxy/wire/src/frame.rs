//! The frame: four bytes of size, then that many bytes. The size is checked before a byte of the
//! body is read, so that a hostile prefix costs its sender the connection and us nothing.

use crate::WireError;

/// Bytes of the size prefix.
pub const SIZE_BYTES: usize = 4;

/// The smallest request: api key, api version and correlation id.
pub const REQUEST_BYTES_MIN: usize = 8;

/// The smallest response: a correlation id.
pub const RESPONSE_BYTES_MIN: usize = 4;

/// A frame's size (without the prefix) that has passed the limit of its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameSize(usize);

impl FrameSize {
    /// Reads the prefix at the start of `bytes`. `Truncated` means that fewer than four bytes have
    /// arrived; every other error is final. `limit` is in bytes, without the prefix.
    pub fn read(bytes: &[u8], limit: usize) -> Result<Self, WireError> {
        let prefix: [u8; SIZE_BYTES] = bytes
            .get(..SIZE_BYTES)
            .and_then(|prefix| prefix.try_into().ok())
            .ok_or(WireError::Truncated {
                needed: SIZE_BYTES,
                remaining: bytes.len(),
            })?;
        let size = i32::from_be_bytes(prefix);
        let size = usize::try_from(size).map_err(|_| WireError::NegativeLength(size.into()))?;
        if size > limit {
            return Err(WireError::FrameTooLarge { size, limit });
        }
        Ok(Self(size))
    }

    /// Bytes after the prefix.
    pub fn get(self) -> usize {
        self.0
    }

    /// Bytes with the prefix.
    pub fn with_prefix(self) -> usize {
        self.0 + SIZE_BYTES
    }
}

/// Splits one whole frame off the front: its bytes without the prefix, and what follows it.
/// `Truncated` means that it has not arrived whole.
pub fn split(bytes: &[u8], limit: usize) -> Result<(&[u8], &[u8]), WireError> {
    let size = FrameSize::read(bytes, limit)?;
    let rest = &bytes[SIZE_BYTES..];
    rest.split_at_checked(size.get())
        .ok_or(WireError::Truncated {
            needed: size.get(),
            remaining: rest.len(),
        })
}

/// The size prefix of a frame of `size` bytes.
pub fn prefix(size: usize) -> Result<[u8; SIZE_BYTES], WireError> {
    i32::try_from(size)
        .map(i32::to_be_bytes)
        .map_err(|_| WireError::TooLongToEncode(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_refused_before_the_body_is_read() {
        assert_eq!(FrameSize::read(&[0, 0, 0, 9], 9).map(FrameSize::get), Ok(9));
        assert_eq!(
            FrameSize::read(&[0, 0, 0, 9], 9).map(FrameSize::with_prefix),
            Ok(13)
        );
        assert_eq!(
            FrameSize::read(&[0, 0, 0, 9], 8),
            Err(WireError::FrameTooLarge { size: 9, limit: 8 })
        );
        assert_eq!(
            FrameSize::read(&[255; 4], 8),
            Err(WireError::NegativeLength(-1))
        );
        assert_eq!(
            FrameSize::read(&[0; 3], 8),
            Err(WireError::Truncated {
                needed: 4,
                remaining: 3
            })
        );
    }

    #[test]
    fn a_frame_is_split_off_only_when_whole() {
        assert_eq!(
            split(&[0, 0, 0, 2, 7, 8, 9], 99),
            Ok((&[7, 8][..], &[9][..]))
        );
        assert_eq!(
            split(&[0, 0, 0, 2, 7], 99),
            Err(WireError::Truncated {
                needed: 2,
                remaining: 1
            })
        );
        assert_eq!(prefix(258), Ok([0, 0, 1, 2]));
        assert!(prefix(usize::MAX).is_err());
    }
}
