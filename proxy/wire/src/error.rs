//! What can be wrong with bytes from outside, one kind per cause, each with the numbers that show it.

/// Why bytes were refused. The numbers are those found on the wire; `remaining` counts the bytes
/// that were left where the error was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A fixed-size field reaches beyond the bytes present. While a frame is still arriving this
    /// means "read more"; on a whole frame it means that the frame lies.
    #[error("truncated: {needed} bytes needed, {remaining} left")]
    Truncated {
        /// Bytes the field takes.
        needed: usize,
        /// Bytes left.
        remaining: usize,
    },
    /// A length below zero where null is not allowed, or below -1.
    #[error("negative length {0}")]
    NegativeLength(i64),
    /// A length or element count that the bytes left cannot hold.
    #[error("length {length} does not fit in the {remaining} bytes left")]
    LengthBeyondFrame {
        /// The length or the element count.
        length: u64,
        /// Bytes left.
        remaining: usize,
    },
    /// A null where the field has to be present.
    #[error("null in a field that cannot be null")]
    UnexpectedNull,
    /// A variable-length integer with more bits than its type.
    #[error("variable-length integer is too long")]
    VarintTooLong,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    NotUtf8,
    /// Bytes left over after the last field.
    #[error("{0} bytes left after the last field")]
    TrailingBytes(usize),
    /// A known tagged field whose content is not as long as its size says.
    #[error("tagged field {tag} says {size} bytes but holds {walked}")]
    TaggedFieldSize {
        /// The tag.
        tag: u32,
        /// The size before the content.
        size: usize,
        /// The size of the content.
        walked: usize,
    },
    /// More array elements in one message than any real message holds.
    #[error("more than {0} array elements in one message")]
    TooManyElements(usize),
    /// A frame's size prefix is above the limit of its side.
    #[error("frame of {size} bytes is above the limit of {limit}")]
    FrameTooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// An API key that is not in the table.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    /// A version of an API that is not in the table.
    #[error("API key {api_key} has no version {version} here")]
    UnsupportedVersion {
        /// The API key.
        api_key: i16,
        /// The version.
        version: i16,
    },
    /// A record batch whose length cannot be: below its own header, or beyond the buffer.
    #[error("record batch with an impossible length {0}")]
    BatchLength(i32),
    /// A record batch in a format this operation does not handle (0 and 1 before Kafka 0.11).
    #[error("record batch of magic {0} where magic 2 is needed")]
    Magic(i8),
    /// The checksum of a record batch does not match its bytes.
    #[error("record batch checksum is {stored:#010x} but its bytes give {computed:#010x}")]
    Checksum {
        /// In the header.
        stored: u32,
        /// Over the bytes.
        computed: u32,
    },
    /// A compression codec this operation does not handle.
    #[error("compression codec {0} is not handled here")]
    Codec(u8),
    /// Compressed bytes that do not decompress, or bytes that do not compress.
    #[error("compressed records are damaged")]
    Compression,
    /// Records that decompress to more than the bound.
    #[error("records decompress to more than {0} bytes")]
    DecompressedTooLarge(usize),
    /// A record, or a count of records, that contradicts its batch.
    #[error("record contradicts its batch")]
    Record,
    /// Something to be written is longer than its length field can say.
    #[error("{0} bytes or elements are too many to encode")]
    TooLongToEncode(usize),
}
