//! The comparison of two logs: first batch by batch as bytes, and record by record where the batches differ.
//!
//! Equal bytes prove equal records without decompressing anything; merged or split batches are no difference
//! as long as every offset holds the same record.

use anyhow::Result;

use super::batch::RawBatch;
use super::read::{Record, read_batches, read_records};
use crate::kafka::Cluster;

/// At most this many offsets of one partition are named; all of them are counted.
const NAMED_OFFSETS: usize = 5;

/// What differs in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// How many offsets differ.
    pub count: u64,
    /// What differs at the first of them.
    pub examples: Vec<String>,
}

/// Compares one partition from `from` to before `to` on both clusters; `None` when every offset is equal.
///
/// # Errors
/// When one of the logs cannot be read over that range.
pub async fn compare(
    source: &Cluster,
    destination: &Cluster,
    topic: &str,
    partition: i32,
    from: i64,
    to: i64,
) -> Result<Option<Difference>> {
    let left = read_batches(&source.admin(), topic, partition, from, to).await?;
    let right = read_batches(&destination.admin(), topic, partition, from, to).await?;
    if same_batches(&left, &right) {
        return Ok(None);
    }
    let left = read_records(&source.bootstrap(), topic, partition, from, to).await?;
    let right = read_records(&destination.bootstrap(), topic, partition, from, to).await?;
    let (count, examples) = compare_records(&left, &right);
    Ok((count > 0).then(|| Difference {
        topic: topic.to_owned(),
        partition,
        count,
        examples,
    }))
}

/// Compares every partition of a topic over what the source holds; a destination that ends earlier or starts
/// elsewhere is a difference too.
///
/// # Errors
/// When a log cannot be read.
pub async fn compare_topic(
    source: &Cluster,
    destination: &Cluster,
    topic: &str,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let lefts = source.admin().log_ranges(topic).await?;
    let rights = destination.admin().log_ranges(topic).await?;
    if lefts.len() != rights.len() {
        let what = format!(
            "{} partitions at the source, {} at the destination",
            lefts.len(),
            rights.len()
        );
        return Ok(vec![Difference {
            topic: topic.to_owned(),
            partition: -1,
            count: 1,
            examples: vec![what],
        }]);
    }
    for (index, (left, right)) in lefts.iter().zip(&rights).enumerate() {
        let partition = index as i32;
        if left.start != right.start || right.end < left.end {
            let count = left.start.abs_diff(right.start)
                + left.end.saturating_sub(right.end).max(0).unsigned_abs();
            let what = format!(
                "source holds {}..{}, destination {}..{}",
                left.start, left.end, right.start, right.end
            );
            differences.push(Difference {
                topic: topic.to_owned(),
                partition,
                count,
                examples: vec![what],
            });
        }
        let (from, to) = (left.start.max(right.start), left.end.min(right.end));
        if from < to {
            differences.extend(compare(source, destination, topic, partition, from, to).await?);
        }
    }
    Ok(differences)
}

fn same_batches(left: &[RawBatch], right: &[RawBatch]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(left, right)| left.reads_like(right))
}

/// Both are in offset order; an offset that only one of them holds counts once.
fn compare_records(left: &[Record], right: &[Record]) -> (u64, Vec<String>) {
    let (mut l, mut r) = (0, 0);
    let (mut count, mut examples) = (0, Vec::new());
    let mut differs = |what: String| {
        count += 1;
        if examples.len() < NAMED_OFFSETS {
            examples.push(what);
        }
    };
    loop {
        match (left.get(l), right.get(r)) {
            (None, None) => break,
            (Some(a), Some(b)) if a.offset == b.offset => {
                if a != b {
                    differs(format!(
                        "offset {}: source {a:?}, destination {b:?}",
                        a.offset
                    ));
                }
                (l, r) = (l + 1, r + 1);
            }
            (Some(a), b) if b.is_none_or(|b| a.offset < b.offset) => {
                differs(format!("offset {} is missing at the destination", a.offset));
                l += 1;
            }
            (_, Some(b)) => {
                differs(format!("offset {} is missing at the source", b.offset));
                r += 1;
            }
            // Unreachable by the arms above; ending is right if a later edit makes it reachable.
            (Some(_), None) => break,
        }
    }
    (count, examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, value: &str) -> Record {
        let value = Some(value.as_bytes().to_vec());
        Record {
            offset,
            timestamp: Some(1),
            key: None,
            value,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_missing_and_a_changed_record_are_counted() {
        let left = [record(1, "a"), record(2, "b"), record(3, "c")];
        let right = [record(1, "a"), record(3, "x"), record(4, "d")];
        let (count, examples) = compare_records(&left, &right);
        assert_eq!((count, examples.len()), (3, 3));
        assert!(examples[0].contains("offset 2 is missing at the destination"));
        assert!(examples[2].contains("offset 4 is missing at the source"));
    }

    #[test]
    fn headers_and_timestamps_are_compared() {
        let mut other = record(1, "a");
        other.headers.push(("h".to_owned(), None));
        assert_eq!(compare_records(&[record(1, "a")], &[other]).0, 1);
        let mut other = record(1, "a");
        other.timestamp = Some(2);
        assert_eq!(compare_records(&[record(1, "a")], &[other]).0, 1);
    }
}
