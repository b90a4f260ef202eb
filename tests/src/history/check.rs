//! Pure: finds lost, duplicated and reordered records in a collected history.
//!
//! A topic is looked at through several *views*: what each group read, and the final log where it was read.
//! Each view must show every acknowledged value once, at its acknowledged offset, in its producer's order.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use super::record::{Entry, History, Key, Topic};

/// The view of the final log; what lies there was not read by anybody.
const LOG: &str = "log";
/// At most this many findings are described; all are counted.
const DESCRIBED: usize = 20;

/// Numbers for one client, one group, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records read.
    pub read: u64,
    /// Acknowledged and not seen in a view.
    pub lost: u64,
    /// Seen more than once in a view.
    pub duplicated: u64,
    /// Seen after a later record of the same producer and partition.
    pub reordered: u64,
    /// Seen elsewhere than where it was acknowledged.
    pub misplaced: u64,
}

impl Counts {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.misplaced == 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.misplaced += other.misplaced;
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Over all views.
    pub total: Counts,
    /// By producer (the first part of its values).
    pub producers: BTreeMap<String, Counts>,
    /// By group; the view of the final log is called `log`.
    pub groups: BTreeMap<String, Counts>,
    /// Values that no test client sends.
    pub foreign: u64,
    /// The first findings in words.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.total.is_clean() && self.foreign == 0
    }
}

/// Where a value was first seen in a view.
type Seen = HashMap<Key, (i32, i64)>;

impl History {
    /// Checks everything collected so far. Every group is expected to have read its topics to the end.
    #[must_use]
    pub fn check(&self) -> Findings {
        let collected = self.lock();
        let mut check = Check {
            names: &collected.producers,
            findings: Findings::default(),
        };
        check.findings.foreign = collected.foreign;
        for (name, topic) in &collected.topics {
            check.acknowledged(topic);
            for (group, partitions) in &topic.read {
                let mut partitions = partitions.clone();
                for entries in partitions.values_mut() {
                    // Members' outputs arrive by separate pipes; within one member the sort keeps the order.
                    entries.sort_by_key(|entry| entry.at_ms);
                }
                check.view(name, topic, group, &partitions);
            }
            if !topic.log.is_empty() {
                check.view(name, topic, LOG, &topic.log);
            }
        }
        check.findings
    }
}

struct Check<'a> {
    names: &'a [String],
    findings: Findings,
}

impl Check<'_> {
    fn acknowledged(&mut self, topic: &Topic) {
        for entry in topic.acknowledged.values().flatten() {
            self.count(
                entry.key,
                None,
                Counts {
                    acknowledged: 1,
                    ..Counts::default()
                },
                None,
            );
        }
    }

    fn view(
        &mut self,
        topic: &str,
        known: &Topic,
        view: &str,
        partitions: &BTreeMap<i32, Vec<Entry>>,
    ) {
        let mut seen = Seen::new();
        let read = u64::from(view != LOG);
        for (partition, entries) in partitions {
            let mut furthest: HashMap<u32, u64> = HashMap::new();
            for entry in entries {
                let place = || format!("{topic}-{partition}@{}", entry.offset);
                if let Some(first) = seen.get(&entry.key) {
                    let what = format!(
                        "{view}: duplicated {} at {}, first at {first:?}",
                        self.value(entry.key),
                        place()
                    );
                    self.count(
                        entry.key,
                        Some(view),
                        Counts {
                            read,
                            duplicated: 1,
                            ..Counts::default()
                        },
                        Some(what),
                    );
                    continue;
                }
                seen.insert(entry.key, (*partition, entry.offset));
                let last = furthest
                    .entry(entry.key.producer)
                    .or_insert(entry.key.counter);
                let reordered = entry.key.counter < *last;
                *last = entry.key.counter.max(*last);
                let what = reordered
                    .then(|| format!("{view}: reordered {} at {}", self.value(entry.key), place()));
                let counts = Counts {
                    read,
                    reordered: u64::from(reordered),
                    ..Counts::default()
                };
                self.count(entry.key, Some(view), counts, what);
            }
        }
        self.expected(topic, known, view, &seen);
    }

    /// Every acknowledged value that was not deleted must have been seen, where it was acknowledged.
    fn expected(&mut self, topic: &str, known: &Topic, view: &str, seen: &Seen) {
        for (partition, acknowledged) in &known.acknowledged {
            let start = known.deleted_before.get(partition).copied().unwrap_or(0);
            for entry in acknowledged.iter().filter(|entry| entry.offset >= start) {
                let place = (*partition, entry.offset);
                let (counts, what) = match seen.get(&entry.key) {
                    None => (
                        Counts {
                            lost: 1,
                            ..Counts::default()
                        },
                        "lost",
                    ),
                    Some(found) if *found != place => (
                        Counts {
                            misplaced: 1,
                            ..Counts::default()
                        },
                        "misplaced",
                    ),
                    Some(_) => continue,
                };
                let what = format!(
                    "{view}: {what} {} of {topic}-{partition}@{}",
                    self.value(entry.key),
                    entry.offset
                );
                self.count(entry.key, Some(view), counts, Some(what));
            }
        }
    }

    fn value(&self, key: Key) -> String {
        format!("{}.{}", self.names[key.producer as usize], key.counter)
    }

    fn count(&mut self, key: Key, view: Option<&str>, counts: Counts, what: Option<String>) {
        let findings = &mut self.findings;
        findings.total += counts;
        let name = &self.names[key.producer as usize];
        match findings.producers.get_mut(name) {
            Some(sum) => *sum += counts,
            None => drop(findings.producers.insert(name.clone(), counts)),
        }
        if let Some(view) = view {
            match findings.groups.get_mut(view) {
                Some(sum) => *sum += counts,
                None => drop(findings.groups.insert(view.to_owned(), counts)),
            }
        }
        findings
            .examples
            .extend(what.filter(|_| findings.examples.len() < DESCRIBED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two producers, two partitions, everything read once and in order.
    fn clean() -> History {
        let history = History::default();
        for partition in 0..2 {
            for offset in 0..10_i64 {
                let value = format!(
                    "{}.{}",
                    if offset % 2 == 0 { "a" } else { "b" },
                    100 * i64::from(partition) + offset
                );
                history.acknowledged("t", partition, offset, &value, offset);
                history.read("g", "t", partition, offset, &value, offset);
            }
        }
        history
    }

    #[test]
    fn a_clean_history_is_clean() {
        let findings = clean().check();
        assert!(findings.is_clean(), "{:?}", findings.examples);
        assert_eq!((findings.total.acknowledged, findings.total.read), (20, 20));
        assert_eq!(findings.producers["a"].acknowledged, 10);
    }

    #[test]
    fn a_planted_lost_record_is_found() {
        let history = clean();
        history.acknowledged("t", 0, 10, "a.10", 10);
        history.acknowledged("t", 0, 11, "a.12", 11);
        history.read("g", "t", 0, 11, "a.12", 11);
        let findings = history.check();
        assert_eq!(
            (
                findings.total.lost,
                findings.total.duplicated,
                findings.total.reordered
            ),
            (1, 0, 0)
        );
        assert_eq!(
            (findings.producers["a"].lost, findings.groups["g"].lost),
            (1, 1)
        );
        assert!(findings.examples[0].contains("lost a.10 of t-0@10"));
    }

    #[test]
    fn a_planted_second_reading_is_found() {
        let history = clean();
        history.read("g", "t", 1, 4, "a.104", 20);
        let total = history.check().total;
        assert_eq!((total.lost, total.duplicated, total.reordered), (0, 1, 0));
    }

    #[test]
    fn a_value_written_twice_is_found_in_the_log_and_by_its_reader() {
        let history = clean();
        history.in_log("t", 0, 0, "a.0");
        history.in_log("t", 0, 10, "a.0");
        history.read("g", "t", 0, 10, "a.0", 20);
        let findings = history.check();
        assert_eq!(
            (
                findings.groups["log"].duplicated,
                findings.groups["g"].duplicated
            ),
            (1, 1)
        );
    }

    #[test]
    fn a_planted_reordering_is_found() {
        let history = History::default();
        for (offset, value) in [(0, "a.0"), (1, "a.2"), (2, "a.1"), (3, "a.3")] {
            history.acknowledged("t", 0, offset, value, offset);
            history.read("g", "t", 0, offset, value, offset);
        }
        let total = history.check().total;
        assert_eq!((total.lost, total.duplicated, total.reordered), (0, 0, 1));
    }

    #[test]
    fn reading_order_that_goes_back_is_found_across_members() {
        let history = History::default();
        for offset in 0..4 {
            history.acknowledged("t", 0, offset, &format!("a.{offset}"), 0);
        }
        // Arrival differs from the clock: the second member's line came first through its pipe.
        for (offset, at_ms) in [(2, 30), (0, 10), (3, 31), (1, 40)] {
            history.read("g", "t", 0, offset, &format!("a.{offset}"), at_ms);
        }
        assert_eq!(history.check().total.reordered, 1);
    }

    #[test]
    fn an_answer_with_the_wrong_offset_is_found() {
        let history = clean();
        history.acknowledged("t", 0, 50, "a.50", 50);
        history.read("g", "t", 0, 51, "a.50", 50);
        assert_eq!(history.check().total.misplaced, 1);
    }

    #[test]
    fn deleted_records_are_not_expected() {
        let history = History::default();
        history.acknowledged("t", 0, 0, "h.0", 0);
        history.acknowledged("t", 0, 1, "h.1", 0);
        history.deleted_before("t", 0, 1);
        history.read("g", "t", 0, 1, "h.1", 0);
        assert!(history.check().is_clean());
    }
}
