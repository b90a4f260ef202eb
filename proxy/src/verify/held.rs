//! Pure: records of a compacted topic that stand on one side only, until it is known whether that is as it may be.
//!
//! Each side's cleaner runs by itself, so a record may be gone from one side and not yet from the other. It may be gone
//! where a later record of its key stands (section 4), and a tombstone may be gone by itself once `delete.retention.ms`
//! is over; but a tombstone that is gone while an older record of its key still stands there is a difference: the key
//! would live again. Records without a key are taken by any cleaner.

use std::collections::HashMap;

use super::record::{Digest, Entry};
use crate::words::Side;

/// The records of one key that are missing on one side, and what is known of them.
#[derive(Debug, Clone, Copy)]
struct Missing {
    /// The first of them.
    first: i64,
    record: Digest,
    /// How many they are.
    count: u64,
    /// The newest of them: only what comes after it supersedes them all.
    last: i64,
    /// The side that has them ends the key with a tombstone.
    ends_with_tombstone: bool,
    /// An older record of the key stands where they are missing.
    older_stands: bool,
}

/// A difference that is left when everything was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) missing_at: Side,
    pub(super) offset: i64,
    pub(super) record: Digest,
    /// Records of this key.
    pub(super) count: u64,
}

/// The keys that are held. Bounded: what does not fit is counted and never called equal.
#[derive(Debug)]
pub(super) struct Held {
    keys: HashMap<(Side, Digest), Missing>,
    keys_max: usize,
    /// Gone where a later record of the key stands.
    pub(super) superseded: u64,
    /// Gone as cleaners take them without a later record: tombstones, and records without a key.
    pub(super) cleaned: u64,
    /// Records for which there was no room.
    pub(super) unresolved: u64,
    /// The first of them.
    first_unresolved: Option<i64>,
}

impl Held {
    pub(super) fn new(keys_max: usize) -> Self {
        Self {
            keys: HashMap::new(),
            keys_max,
            superseded: 0,
            cleaned: 0,
            unresolved: 0,
            first_unresolved: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a side is to be looked through for older records of keys that end with a tombstone; up to which offset.
    pub(super) fn tombstones_until(&self, side: Side) -> Option<i64> {
        let missing = self.keys.iter().filter(|((at, _), _)| *at == side);
        let tombstones = missing.filter(|(_, missing)| missing.ends_with_tombstone);
        tombstones.map(|(_, missing)| missing.last).max()
    }

    /// Below this nothing is open.
    pub(super) fn resolved_until(&self) -> Option<i64> {
        let open = self.keys.values().map(|missing| missing.first);
        open.chain(self.first_unresolved).min()
    }

    /// A record that stands on a side: it supersedes what is missing there.
    pub(super) fn stands(&mut self, side: Side, entry: &Entry) {
        let Some(key) = entry.key.filter(|_| !self.keys.is_empty()) else {
            return;
        };
        let here = (side, key);
        if self
            .keys
            .get(&here)
            .is_some_and(|missing| missing.last < entry.offset)
            && let Some(missing) = self.keys.remove(&here)
        {
            self.superseded += missing.count;
        }
        if let Some(missing) = self.keys.get_mut(&(side.other(), key))
            && missing.last < entry.offset
        {
            missing.ends_with_tombstone = entry.tombstone;
        }
    }

    /// A record that is missing on a side while it stands on the other.
    pub(super) fn missing(&mut self, missing_at: Side, entry: &Entry) {
        self.stands(missing_at.other(), entry);
        let Some(key) = entry.key else {
            self.cleaned += 1;
            return;
        };
        let full = self.keys.len() >= self.keys_max;
        match self.keys.entry((missing_at, key)) {
            std::collections::hash_map::Entry::Occupied(mut known) => {
                let missing = known.get_mut();
                missing.count += 1;
                missing.last = entry.offset;
                missing.ends_with_tombstone = entry.tombstone;
            }
            std::collections::hash_map::Entry::Vacant(_) if full => {
                self.unresolved += 1;
                self.first_unresolved.get_or_insert(entry.offset);
            }
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(Missing {
                    first: entry.offset,
                    record: entry.record,
                    count: 1,
                    last: entry.offset,
                    ends_with_tombstone: entry.tombstone,
                    older_stands: false,
                });
            }
        }
    }

    /// A record that was found when a side was looked through again, from its log start on.
    pub(super) fn found_behind(&mut self, side: Side, entry: &Entry) {
        if let Some(key) = entry.key
            && let Some(missing) = self.keys.get_mut(&(side, key))
            && entry.offset < missing.last
        {
            missing.older_stands = true;
        }
    }

    /// The side's log starts here now: what was missing below is no difference. Returns how many records that were.
    pub(super) fn starts_at(&mut self, side: Side, start: i64) -> u64 {
        let mut gone = 0;
        self.keys.retain(|(at, _), missing| {
            let retired = *at == side && missing.last < start;
            gone += if retired { missing.count } else { 0 };
            !retired
        });
        gone
    }

    /// Everything was looked at: what is left and is not a tombstone that may be gone is lost. In order of offsets.
    pub(super) fn conclude(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        for ((missing_at, _), missing) in self.keys.drain() {
            if missing.ends_with_tombstone && !missing.older_stands {
                self.cleaned += missing.count;
                continue;
            }
            lost.push(Lost {
                missing_at,
                offset: missing.first,
                record: missing.record,
                count: missing.count,
            });
        }
        lost.sort_unstable_by_key(|lost| lost.offset);
        lost
    }
}
