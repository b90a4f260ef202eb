//! Bringing two copies level: of every key the higher version wins. Pure.

use super::entry::Entries;
use super::keys::{Key, Kind};

/// What both copies hold once they are level, and what each lacks until then.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Levelled {
    /// The higher version of every key.
    pub(super) merged: Entries,
    /// What has to be written to the first copy.
    pub(super) to_first: Entries,
    /// What has to be written to the second copy.
    pub(super) to_second: Entries,
}

/// Merges two copies. The error is a key whose values differ under one version: no rule can tell which one counted.
pub(super) fn level(first: &Entries, second: &Entries) -> Result<Levelled, Key> {
    let mut levelled = Levelled::default();
    for (key, ours) in first {
        match second.get(key) {
            Some(theirs) if theirs.version > ours.version => {}
            Some(theirs) if theirs.version == ours.version => {
                // Starts that saw one copy each may have left their mark under one version; the next start, which
                // is on its way, overwrites both.
                if theirs != ours && key.kind != Kind::Coordinator {
                    return Err(key.clone());
                }
                levelled.merged.insert(key.clone(), ours.clone());
            }
            _ => {
                levelled.merged.insert(key.clone(), ours.clone());
                levelled.to_second.insert(key.clone(), ours.clone());
            }
        }
    }
    for (key, theirs) in second {
        if !levelled.merged.contains_key(key) {
            levelled.merged.insert(key.clone(), theirs.clone());
            levelled.to_first.insert(key.clone(), theirs.clone());
        }
    }
    Ok(levelled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::entry::Versioned;
    use super::*;

    fn copy(list: &[(&str, u64, i32)]) -> Entries {
        let entry = |&(name, version, value): &(&str, u64, i32)| {
            let value = (value >= 0).then(|| json!(value));
            (Key::new(Kind::Route, name), Versioned { version, value })
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn the_higher_version_wins_and_is_written_to_the_other_copy() {
        let first = copy(&[("a", 1, 1), ("b", 5, 1), ("c", 2, 2)]);
        let second = copy(&[("a", 1, 1), ("b", 4, 0), ("d", 9, 9), ("c", 3, 3)]);
        let levelled = level(&first, &second).unwrap();
        assert_eq!(
            levelled.merged,
            copy(&[("a", 1, 1), ("b", 5, 1), ("c", 3, 3), ("d", 9, 9)])
        );
        assert_eq!(levelled.to_first, copy(&[("c", 3, 3), ("d", 9, 9)]));
        assert_eq!(levelled.to_second, copy(&[("b", 5, 1)]));
    }

    #[test]
    fn a_deletion_wins_over_an_older_value() {
        let levelled = level(&copy(&[("a", 2, -1)]), &copy(&[("a", 1, 1)])).unwrap();
        assert_eq!(levelled.merged, copy(&[("a", 2, -1)]));
        assert_eq!(levelled.to_second, copy(&[("a", 2, -1)]));
    }

    #[test]
    fn one_version_with_two_values_is_not_guessed_at() {
        let conflict = level(&copy(&[("a", 2, 1)]), &copy(&[("a", 2, 2)]));
        assert_eq!(conflict, Err(Key::new(Kind::Route, "a")));
    }
}
