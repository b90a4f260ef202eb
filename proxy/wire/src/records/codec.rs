//! The five codecs of Kafka, both ways, as its Java client frames them (`CompressionType`).
//!
//! Decompression is bounded by what the caller allows: buffers grow with what really comes out,
//! never with what the bytes announce.

use std::io::{Read, Write};

use crate::WireError;

/// The largest window that zstd's decoder takes without being told to, as a power of two.
pub(super) const WINDOW_LOG_MAX: u32 = 27;
/// Windows up to this are always taken, however low the bound: what the format asks of decoders.
const WINDOW_LOG_MIN: u32 = 23;
/// The level that Kafka's own producers take by default (`ZstdCompression.DEFAULT_LEVEL`).
const ZSTD_LEVEL: i32 = 3;
/// What the framing of Java's `SnappyOutputStream` begins with: a name, a version, and the oldest
/// version that can read it.
const SNAPPY_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The name alone: what readers look for.
const SNAPPY_NAME_BYTES: usize = 8;
/// Bytes that one block of that framing holds before compression (`SnappyOutputStream`).
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// Deflate with gzip's header.
    Gzip,
    /// Snappy blocks in the framing of its Java library.
    Snappy,
    /// LZ4's frame format with independent blocks.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// The codec with this number in the attribute bits.
    pub fn from_bits(bits: u8) -> Result<Self, WireError> {
        Ok(match bits {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(WireError::Codec(other)),
        })
    }

    /// The number in the attribute bits.
    pub fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Compresses at the level that Kafka's producers take by default.
    pub fn compress(self, payload: Vec<u8>) -> Result<Vec<u8>, WireError> {
        let damaged = |_| WireError::Compression;
        match self {
            Self::None => Ok(payload),
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(&payload).map_err(damaged)?;
                encoder.finish().map_err(damaged)
            }
            Self::Snappy => snappy_blocks(&payload),
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(&payload).map_err(damaged)?;
                encoder.finish().map_err(|_| WireError::Compression)
            }
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(damaged)?;
                encoder.write_all(&payload).map_err(damaged)?;
                encoder.finish().map_err(damaged)
            }
        }
    }

    /// Decompresses to at most `bytes_max` bytes.
    pub fn decompress(self, compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
        match self {
            Self::None => Ok(compressed.to_vec()),
            Self::Gzip => bounded(flate2::bufread::MultiGzDecoder::new(compressed), bytes_max),
            Self::Snappy => snappy(compressed, bytes_max),
            Self::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(compressed), bytes_max),
            Self::Zstd => {
                let mut decoder =
                    zstd::Decoder::with_buffer(compressed).map_err(|_| WireError::Compression)?;
                let window_log = bytes_max
                    .next_power_of_two()
                    .ilog2()
                    .clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX);
                decoder
                    .window_log_max(window_log)
                    .map_err(|_| WireError::Compression)?;
                bounded(decoder, bytes_max)
            }
        }
    }
}

fn bounded(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    decoder
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| WireError::Compression)?;
    if out.len() > bytes_max {
        return Err(WireError::DecompressedTooLarge(bytes_max));
    }
    Ok(out)
}

/// Blocks behind the Java library's header, or one bare block as other clients may write it.
fn snappy(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    if !compressed.starts_with(&SNAPPY_HEADER[..SNAPPY_NAME_BYTES]) {
        snappy_block(compressed, bytes_max, &mut out)?;
        return Ok(out);
    }
    let mut rest = compressed
        .get(SNAPPY_HEADER.len()..)
        .ok_or(WireError::Compression)?;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        // A second header may follow where streams were joined; its first byte makes a length below zero.
        if rest.starts_with(&SNAPPY_HEADER[..SNAPPY_NAME_BYTES]) {
            rest = rest
                .get(SNAPPY_HEADER.len()..)
                .ok_or(WireError::Compression)?;
            continue;
        }
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind
            .split_at_checked(length)
            .ok_or(WireError::Compression)?;
        snappy_block(block, bytes_max, &mut out)?;
        rest = behind;
    }
    if rest.is_empty() {
        Ok(out)
    } else {
        Err(WireError::Compression)
    }
}

fn snappy_block(block: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let size = snap::raw::decompress_len(block).map_err(|_| WireError::Compression)?;
    if size > bytes_max.saturating_sub(out.len()) {
        return Err(WireError::DecompressedTooLarge(bytes_max));
    }
    let before = out.len();
    out.resize(before + size, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[before..])
        .map_err(|_| WireError::Compression)?;
    out.truncate(before + written);
    Ok(())
}

fn snappy_blocks(payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut out = SNAPPY_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in payload.chunks(SNAPPY_BLOCK_BYTES) {
        let block = encoder
            .compress_vec(block)
            .map_err(|_| WireError::Compression)?;
        let length =
            u32::try_from(block.len()).map_err(|_| WireError::TooLongToEncode(block.len()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&block);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    const BOUND: usize = 1 << 20;

    fn payload(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * at / 7) as u8).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_got() {
        for codec in ALL {
            for bytes in [0, 1, 100, SNAPPY_BLOCK_BYTES, 300_000] {
                let plain = payload(bytes);
                let compressed = codec.compress(plain.clone()).unwrap();
                assert_eq!(
                    codec.decompress(&compressed, BOUND),
                    Ok(plain),
                    "{codec:?} {bytes}"
                );
            }
        }
    }

    #[test]
    fn what_decompresses_to_more_than_the_bound_is_refused() {
        for codec in &ALL[1..] {
            let bomb = codec.compress(vec![0; 300_000]).unwrap();
            let refused = codec.decompress(&bomb, 299_999);
            assert_eq!(
                refused,
                Err(WireError::DecompressedTooLarge(299_999)),
                "{codec:?}"
            );
        }
    }

    #[test]
    fn damaged_bytes_are_errors_and_never_panic() {
        for codec in &ALL[1..] {
            let whole = codec.compress(payload(5_000)).unwrap();
            for cut in 1..whole.len() {
                // A cut may fall between two blocks; it must only never panic or give other bytes.
                if let Ok(out) = codec.decompress(&whole[..cut], BOUND) {
                    assert!(payload(5_000).starts_with(&out), "{codec:?} cut at {cut}");
                }
            }
            for at in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[at] ^= 0x55;
                let _ = codec.decompress(&flipped, BOUND);
            }
        }
    }

    #[test]
    fn a_bare_snappy_block_is_read_too() {
        let plain = payload(1_000);
        let block = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(Codec::Snappy.decompress(&block, BOUND), Ok(plain));
    }
}
