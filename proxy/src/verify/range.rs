//! The range of a partition that both sides can be compared over, settled when the operation begins.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::request::Asked;
use crate::error::Result;
use crate::upstream::{Cluster, Clusters, OffsetAt};
use crate::words::{Side, TopicPartition};

/// How long errors that may pass are borne without any progress.
pub(super) const ERRORS_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait after one.
pub(super) const BACKOFF: Duration = Duration::from_millis(300);
/// A copy that seems to end behind its home is looked at again: a new leader's high watermark may be behind for a moment.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Both sides' log starts and read_committed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) starts: [i64; 2],
    pub(super) ends: [i64; 2],
}

/// What is compared of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) range: Range<i64>,
    /// What the range leaves out, in sentences.
    pub(super) notes: Vec<String>,
    /// The copy has records behind its home's end, which begins here.
    pub(super) beyond: Option<i64>,
}

/// The range out of what was asked for and what is there.
pub(super) fn plan(asked: &Asked, ends: Ends) -> Planned {
    let [source, destination] = ends.starts;
    let low = source.max(destination);
    let high = ends.ends[0].min(ends.ends[1]);
    let start = asked.from.unwrap_or(low).max(low);
    let end = asked.to.unwrap_or(high).min(high).max(start);
    let mut notes = Vec::new();
    if source != destination && asked.from.is_none_or(|from| from < low) {
        notes.push(format!(
            "the source's log starts at offset {source}, the destination's at {destination}: what is below {low} was not compared"
        ));
    } else if asked.from.is_some_and(|from| from < low) {
        notes.push(format!("both logs start at offset {low} now"));
    }
    if let Some(to) = asked.to.filter(|to| *to > high) {
        let side = Side::BOTH[usize::from(ends.ends[1] < ends.ends[0])];
        notes.push(format!(
            "offset {to} was asked for; the {side} can be read up to {high}"
        ));
    }
    let (home, copy) = (asked.home, asked.home.other());
    let (home_end, copy_end) = (ends.ends[home.index()], ends.ends[copy.index()]);
    let beyond = copy_end > home_end && asked.to.is_none_or(|to| to > home_end);
    if beyond {
        notes.push(format!(
            "the {copy}'s log goes on to offset {copy_end} where the {home}'s ends at {home_end}"
        ));
    }
    Planned {
        range: start..end,
        notes,
        beyond: beyond.then_some(home_end),
    }
}

/// Asks until it is answered; an error that does not pass, or goes on for too long, is the answer.
pub(super) async fn insist<T, F>(cluster: &Cluster, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let since = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.is_retriable() && since.elapsed() < ERRORS_WITHIN => {
                tracing::debug!(%error, "verifying");
                tokio::time::sleep(BACKOFF).await;
                // A failed refresh is reported by the cluster itself.
                let _ = cluster.refresh().await;
            }
            answer => return answer,
        }
    }
}

/// The offsets of some partitions on one side.
pub(super) async fn offsets(
    cluster: &Cluster,
    partitions: &[TopicPartition],
    what: OffsetAt,
) -> Result<HashMap<TopicPartition, i64>> {
    insist(cluster, || cluster.list_offsets(partitions, what)).await
}

/// Both sides' starts and ends of partitions with the same home. The copy is asked first: what it has then, its home has
/// when it is asked.
pub(super) async fn ends(
    clusters: &Clusters,
    home: Side,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, Ends>> {
    let mut looks = 0;
    loop {
        let mut found: HashMap<TopicPartition, Ends> = HashMap::with_capacity(partitions.len());
        for side in [home.other(), home] {
            let cluster = clusters.on(side);
            let starts = offsets(cluster, partitions, OffsetAt::LogStart).await?;
            let ends = offsets(cluster, partitions, OffsetAt::LastStable).await?;
            for (at, start) in starts {
                let end = ends.get(&at).copied().unwrap_or(start);
                let known = found.entry(at).or_insert(Ends {
                    starts: [0; 2],
                    ends: [0; 2],
                });
                known.starts[side.index()] = start;
                known.ends[side.index()] = end;
            }
        }
        looks += 1;
        let beyond = |ends: &Ends| ends.ends[home.other().index()] > ends.ends[home.index()];
        if looks >= LOOKS || !found.values().any(beyond) {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: Option<i64>, to: Option<i64>) -> Asked {
        Asked {
            at: TopicPartition::new("t", 0),
            from,
            to,
            home: Side::Source,
            absent_at: None,
        }
    }

    fn planned(from: Option<i64>, to: Option<i64>, starts: [i64; 2], ends: [i64; 2]) -> Planned {
        plan(&asked(from, to), Ends { starts, ends })
    }

    #[test]
    fn the_range_is_what_both_sides_have() {
        let plain = planned(None, None, [10, 10], [50, 40]);
        assert_eq!(plain.range, 10..40);
        assert_eq!((plain.notes.len(), plain.beyond), (0, None));
        assert_eq!(
            planned(Some(20), Some(30), [10, 10], [50, 40]).range,
            20..30
        );
        let short = planned(None, None, [10, 12], [50, 40]);
        assert_eq!((short.range, short.notes.len()), (12..40, 1));
        let clipped = planned(Some(0), Some(45), [10, 10], [50, 40]);
        assert_eq!((clipped.range, clipped.notes.len()), (10..40, 2));
        assert!(clipped.notes[1].contains("the destination can be read up to 40"));
        assert_eq!(planned(None, None, [10, 60], [50, 70]).range, 60..60);
    }

    #[test]
    fn a_copy_that_goes_on_behind_its_home_is_seen() {
        let beyond = planned(None, None, [0, 0], [40, 43]);
        assert_eq!((beyond.range, beyond.beyond), (0..40, Some(40)));
        assert_eq!(planned(None, Some(40), [0, 0], [40, 43]).beyond, None);
        assert_eq!(planned(None, Some(41), [0, 0], [40, 43]).beyond, Some(40));
    }
}
