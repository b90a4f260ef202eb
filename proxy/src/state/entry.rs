//! One key's value and version, and how both are written as a record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::Key;

/// A value with its version. A deletion is a version without a value and stays in the topic: a tombstone would let the
/// other copy's older value come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Versioned {
    /// Grows with every write of the key.
    pub(super) version: u64,
    /// None where the key was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
}

/// One copy's contents. Ordered, so that writes and dumps are the same each time.
pub(super) type Entries = BTreeMap<Key, Versioned>;

/// A record's key and value.
pub(super) fn encode(key: &Key, versioned: &Versioned) -> Result<(Vec<u8>, Vec<u8>), String> {
    let wrong = |cause: serde_json::Error| format!("{key} cannot be written: {cause}");
    Ok((
        serde_json::to_vec(key).map_err(wrong)?,
        serde_json::to_vec(versioned).map_err(wrong)?,
    ))
}

/// What a record says. Whatever cannot be read is an error that names the record.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(Key, Versioned), String> {
    let shown = String::from_utf8_lossy(key);
    let key = serde_json::from_slice(key)
        .map_err(|cause| format!("the key {shown} cannot be read: {cause}"))?;
    let versioned = serde_json::from_slice(value)
        .map_err(|cause| format!("the value of {shown} cannot be read: {cause}"))?;
    Ok((key, versioned))
}

/// Takes over a record unless a higher version is there already.
pub(super) fn apply(entries: &mut Entries, key: Key, versioned: Versioned) {
    let newer = entries
        .get(&key)
        .is_none_or(|known| known.version <= versioned.version);
    if newer {
        entries.insert(key, versioned);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::keys::Kind;
    use super::*;

    #[test]
    fn records_come_back_as_written() {
        let key = Key::new(Kind::TopicId, "orders");
        for value in [Some(json!({"a": [1, 2]})), None] {
            let versioned = Versioned { version: 7, value };
            let (k, v) = encode(&key, &versioned).unwrap();
            assert_eq!(decode(&k, &v).unwrap(), (key.clone(), versioned));
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_it() {
        let key = br#"{"kind":"route","name":"orders"}"#;
        assert!(decode(key, b"{").unwrap_err().contains("orders"));
        assert!(decode(b"x", b"{}").is_err());
        let unknown = br#"{"kind":"new-kind","name":"orders"}"#;
        assert!(decode(unknown, br#"{"version":1}"#).is_err());
    }

    #[test]
    fn a_lower_version_does_not_replace_a_higher_one() {
        let key = Key::new(Kind::Route, "orders");
        let at = |version| Versioned {
            version,
            value: Some(json!(version)),
        };
        let mut entries = Entries::new();
        for version in [2, 1, 3, 2] {
            apply(&mut entries, key.clone(), at(version));
        }
        assert_eq!(entries[&key], at(3));
    }
}
