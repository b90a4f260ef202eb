//! The shape of a message, as data: fields in wire order with the versions that have them. The
//! facts are those of Kafka's message definitions; names are Kafka's and stand for the reader.

use std::ops::RangeInclusive;

/// The end of a version range that is still open.
pub(super) const LAST: i16 = i16::MAX;
/// For messages without flexible versions.
pub(super) const NEVER: i16 = i16::MAX;

/// Both messages of one API.
pub(super) struct Api {
    pub(super) key: i16,
    pub(super) request: Half,
    pub(super) response: Half,
}

/// One message of an API.
pub(super) struct Half {
    /// The versions that the `kafka-protocol` crate decodes.
    pub(super) versions: RangeInclusive<i16>,
    /// The first version with compact lengths and tagged fields.
    pub(super) flexible_since: i16,
    pub(super) fields: &'static Fields,
}

impl Half {
    /// A message with `versions`, flexible since the version given.
    pub(super) const fn of(
        versions: RangeInclusive<i16>,
        flexible_since: i16,
        fields: &'static Fields,
    ) -> Self {
        Self {
            versions,
            flexible_since,
            fields,
        }
    }
}

/// The fields of a message or of a struct in it.
pub(super) struct Fields {
    pub(super) fields: &'static [Field],
    /// Tagged fields whose content the crate decodes; all others it only copies.
    pub(super) tagged: &'static [Tagged],
}

/// One field.
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) versions: RangeInclusive<i16>,
}

/// One known tagged field.
pub(super) struct Tagged {
    pub(super) tag: u32,
    pub(super) kind: Kind,
    pub(super) versions: RangeInclusive<i16>,
}

/// What a field holds. Whether it may be null is not said: null is bounded, and the crate refuses
/// it where it does not belong.
pub(super) enum Kind {
    /// That many bytes.
    Fixed(usize),
    /// A string.
    Str,
    /// Bytes.
    Bytes,
    /// A count and that many of these.
    Array(&'static Self),
    /// Fields in a row.
    Struct(&'static Fields),
}

pub(super) const INT8: Kind = Kind::Fixed(1);
pub(super) const INT16: Kind = Kind::Fixed(2);
pub(super) const INT32: Kind = Kind::Fixed(4);
pub(super) const INT64: Kind = Kind::Fixed(8);
pub(super) const UUID: Kind = Kind::Fixed(16);
pub(super) const STR: Kind = Kind::Str;
pub(super) const BYTES: Kind = Kind::Bytes;

/// Declares a [`Fields`] static: `name: KIND => versions,` in wire order (all versions where none
/// are given), then `tagged { tag name: KIND => versions, }`.
macro_rules! fields {
    (@versions) => { 0..=$crate::guard::schema::LAST };
    (@versions $versions:expr) => { $versions };
    (
        $name:ident { $($field:ident: $kind:expr $(=> $versions:expr)?),* $(,)? }
        $(tagged { $($tag:literal $tagged:ident: $tagged_kind:expr => $since:expr),* $(,)? })?
    ) => {
        static $name: $crate::guard::schema::Fields = $crate::guard::schema::Fields {
            fields: &[$($crate::guard::schema::Field {
                kind: $kind,
                versions: fields!(@versions $($versions)?),
            }),*],
            tagged: &[$($($crate::guard::schema::Tagged {
                tag: $tag,
                kind: $tagged_kind,
                versions: $since,
            }),*)?],
        };
    };
}

pub(super) use fields;
