//! What happened, collected from all clients of a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A test value, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Who sent it.
    pub producer: &'a str,
    /// Its place in the order its producer sent.
    pub counter: u64,
}

impl<'a> Value<'a> {
    /// Takes `<producer>.<counter>` apart; `None` for anything else.
    #[must_use]
    pub fn parse(value: &'a str) -> Option<Self> {
        let (producer, counter) = value.rsplit_once('.')?;
        Some(Self {
            producer,
            counter: counter.parse().ok()?,
        })
    }
}

/// A value with its producer's name replaced by a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) producer: u32,
    pub(super) counter: u64,
}

/// One value at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) offset: i64,
    /// Milliseconds, by the clock of the client that saw it.
    pub(super) at_ms: i64,
}

/// What is known of one topic.
#[derive(Debug, Default, Clone)]
pub(super) struct Topic {
    pub(super) acknowledged: BTreeMap<i32, Vec<Entry>>,
    /// By group, then partition, in the order of arrival.
    pub(super) read: BTreeMap<String, BTreeMap<i32, Vec<Entry>>>,
    /// The final log, where a test has read it.
    pub(super) log: BTreeMap<i32, Vec<Entry>>,
    /// Records below are gone by intent; nobody has to read them.
    pub(super) deleted_before: BTreeMap<i32, i64>,
}

#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) producers: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Values that are not `<producer>.<counter>`; a reader that meets one read something nobody sent.
    pub(super) foreign: u64,
}

impl Collected {
    fn key(&mut self, value: &str) -> Option<Key> {
        let Some(value) = Value::parse(value) else {
            self.foreign += 1;
            return None;
        };
        let number = match self.numbers.get(value.producer) {
            Some(number) => *number,
            None => {
                let number = self.producers.len() as u32;
                self.producers.push(value.producer.to_owned());
                self.numbers.insert(value.producer.to_owned(), number);
                number
            }
        };
        Some(Key {
            producer: number,
            counter: value.counter,
        })
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        // Looked up first: the common case must not copy the name.
        if !self.topics.contains_key(name) {
            self.topics.insert(name.to_owned(), Topic::default());
        }
        self.topics.entry(name.to_owned()).or_default()
    }
}

/// The history of a run; clones share it.
#[derive(Debug, Clone, Default)]
pub struct History {
    collected: Arc<Mutex<Collected>>,
}

impl History {
    /// A value was acknowledged at a place.
    pub fn acknowledged(&self, topic: &str, partition: i32, offset: i64, value: &str, at_ms: i64) {
        let mut collected = self.lock();
        if let Some(key) = collected.key(value) {
            let entry = Entry { key, offset, at_ms };
            collected
                .topic(topic)
                .acknowledged
                .entry(partition)
                .or_default()
                .push(entry);
        }
    }

    /// A member of `group` read a value.
    pub fn read(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        value: &str,
        at_ms: i64,
    ) {
        let mut collected = self.lock();
        if let Some(key) = collected.key(value) {
            let groups = &mut collected.topic(topic).read;
            if !groups.contains_key(group) {
                groups.insert(group.to_owned(), BTreeMap::new());
            }
            let partitions = groups.entry(group.to_owned()).or_default();
            partitions
                .entry(partition)
                .or_default()
                .push(Entry { key, offset, at_ms });
        }
    }

    /// The final log holds a value at a place; to be called in offset order.
    pub fn in_log(&self, topic: &str, partition: i32, offset: i64, value: &str) {
        let mut collected = self.lock();
        if let Some(key) = collected.key(value) {
            let entry = Entry {
                key,
                offset,
                at_ms: 0,
            };
            collected
                .topic(topic)
                .log
                .entry(partition)
                .or_default()
                .push(entry);
        }
    }

    /// Records of a partition before `offset` were deleted by intent.
    pub fn deleted_before(&self, topic: &str, partition: i32, offset: i64) {
        self.lock()
            .topic(topic)
            .deleted_before
            .insert(partition, offset);
    }

    /// How many acknowledged records of a topic a group still has to read.
    #[must_use]
    pub fn unread(&self, group: &str, topic: &str) -> u64 {
        let collected = self.lock();
        let Some(topic) = collected.topics.get(topic) else {
            return 0;
        };
        let empty = BTreeMap::new();
        let read = topic.read.get(group).unwrap_or(&empty);
        let mut unread = 0;
        for (partition, acknowledged) in &topic.acknowledged {
            // Cheap on purpose (it is polled): the furthest offsets are compared, the checker compares values.
            let start = topic.deleted_before.get(partition).copied().unwrap_or(0);
            let sent = acknowledged
                .iter()
                .map(|entry| entry.offset)
                .max()
                .unwrap_or(-1);
            let seen = read
                .get(partition)
                .and_then(|entries| entries.iter().map(|entry| entry.offset).max());
            unread += (sent - seen.unwrap_or(start - 1)).max(0).unsigned_abs();
        }
        unread
    }

    /// How many records of a topic were acknowledged.
    #[must_use]
    pub fn acknowledged_count(&self, topic: &str) -> usize {
        self.lock()
            .topics
            .get(topic)
            .map_or(0, |topic| topic.acknowledged.values().map(Vec::len).sum())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Collected> {
        // A panic elsewhere leaves whole entries behind: each call pushes at most one.
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_apart_at_the_last_dot() {
        assert_eq!(
            Value::parse("orders.h.17"),
            Some(Value {
                producer: "orders.h",
                counter: 17
            })
        );
        assert_eq!(Value::parse("17"), None);
        assert_eq!(Value::parse("a.b"), None);
    }

    #[test]
    fn unread_counts_what_lies_behind_the_furthest_read() {
        let history = History::default();
        for offset in 5..10 {
            history.acknowledged("t", 0, offset, &format!("p.{offset}"), 0);
        }
        history.deleted_before("t", 0, 6);
        assert_eq!(history.unread("g", "t"), 4);
        history.read("g", "t", 0, 8, "p.8", 0);
        assert_eq!(history.unread("g", "t"), 1);
    }
}
