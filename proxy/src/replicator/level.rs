//! The proof before Open: the home's true end = its high watermark = the copy's high watermark for every partition,
//! twice under the same leader epochs, and the links at rest with nothing unresolved (DESIGN section 7, step 5).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::State;
use super::link::{Link, Shared, wait};
use crate::error::{Error, Kind, Origin, Result};
use crate::upstream::{LogEnd, OffsetAt};
use crate::words::{Side, TopicPartition};

/// How long a waiter waits for progress before it looks again by itself.
const LOOK: Duration = Duration::from_millis(50);

/// A topic that the home does not name now; it may lack a leader for a moment.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

type Ends = HashMap<TopicPartition, LogEnd>;

/// Waits until every link of these topics is level and sealed; the ends that were proven.
pub(super) async fn level(
    shared: &Shared,
    home: Side,
    topics: &[Arc<str>],
    still_for: Duration,
    within: Duration,
) -> Result<HashMap<TopicPartition, i64>> {
    let deadline = Instant::now() + within;
    let mut last = None;
    while Instant::now() < deadline {
        let attempt = attempt(shared, home, topics, still_for, deadline);
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, attempt).await {
            Ok(Ok(Some(ends))) => return Ok(ends),
            Ok(Ok(None)) => {}
            Ok(Err(error)) if error.is_retriable() => {
                last = Some(error);
                tokio::time::sleep(LOOK).await;
                // Failed refreshes are reported by the clusters themselves.
                for side in Side::BOTH {
                    let _ = shared.clusters.on(side).refresh().await;
                }
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => break,
        }
    }
    let behind = behind(shared, topics);
    let error = late(format!(
        "the links were not level within {within:?}; behind: {behind}"
    ));
    Err(match last {
        Some(cause) => error.because(cause),
        None => error,
    })
}

/// One try. None where an end moved between the two looks.
async fn attempt(
    shared: &Shared,
    home: Side,
    topics: &[Arc<str>],
    still_for: Duration,
    deadline: Instant,
) -> Result<Option<HashMap<TopicPartition, i64>>> {
    let links = links_of(shared, home, topics).await?;
    let partitions: Vec<TopicPartition> = links.iter().map(|link| link.at.clone()).collect();
    if partitions.is_empty() {
        return Ok(Some(HashMap::new()));
    }
    let first_at = Instant::now();
    let first = shared.clusters.on(home).true_ends(&partitions).await?;
    let ends = offsets(&first);
    copied(shared, &links, &ends, deadline).await?;
    tokio::time::sleep((first_at + still_for).saturating_duration_since(Instant::now())).await;
    // Sealed before the second look: from here on nothing is on its way from Lockgate.
    for link in &links {
        if !link.engine().seal(ends[&link.at]) {
            resume(&links);
            return Ok(None);
        }
    }
    let proven = is_level(shared, home, &partitions, &first).await;
    if !matches!(proven, Ok(true)) {
        resume(&links);
    }
    Ok(proven?.then_some(ends))
}

fn resume(links: &[Arc<Link>]) {
    for link in links {
        link.engine().resume();
    }
}

/// The second look.
async fn is_level(
    shared: &Shared,
    home: Side,
    partitions: &[TopicPartition],
    first: &Ends,
) -> Result<bool> {
    let (home, copy) = (shared.clusters.on(home), shared.clusters.on(home.other()));
    let (ends, watermarks, copies, copied) = tokio::try_join!(
        home.true_ends(partitions),
        home.list_offsets(partitions, OffsetAt::HighWatermark),
        copy.true_ends(partitions),
        copy.list_offsets(partitions, OffsetAt::HighWatermark),
    )?;
    Ok(partitions.iter().all(|at| {
        let end = ends[at].offset;
        ends[at] == first[at]
            && watermarks[at] == end
            && copies[at].offset == end
            && copied[at] == end
    }))
}

fn offsets(ends: &Ends) -> HashMap<TopicPartition, i64> {
    ends.iter()
        .map(|(at, end)| (at.clone(), end.offset))
        .collect()
}

/// The links of all partitions that these topics have at their home.
async fn links_of(shared: &Shared, home: Side, topics: &[Arc<str>]) -> Result<Vec<Arc<Link>>> {
    // A topic or partition may have been made a moment before the fence.
    let view = shared.clusters.on(home).refresh().await?;
    let mut links = Vec::new();
    for topic in topics {
        let mut found = shared.links_of(&|name| name == &**topic);
        found.retain(|link| link.home == home);
        found.iter().for_each(|link| link.check_id(home, &view));
        let partitions = view
            .topics
            .get(topic)
            .map_or(0, |topic| topic.partitions.len());
        if partitions == 0 {
            let what = format!("looking for topic {topic:?}");
            return Err(Error::kafka(home, UNKNOWN_TOPIC_OR_PARTITION, what));
        }
        if found.len() < partitions {
            // Just after a start: worth waiting for.
            return Err(late(format!(
                "topic {topic:?} has {partitions} partitions on the {home} and {} links",
                found.len()
            )));
        }
        links.extend(found);
    }
    Ok(links)
}

/// Waits until everything below `ends` is acknowledged by the copy. A link that has ended is an error.
pub(super) async fn copied(
    shared: &Shared,
    links: &[Arc<Link>],
    ends: &HashMap<TopicPartition, i64>,
    deadline: Instant,
) -> Result<()> {
    let mut progress = shared.progress.subscribe();
    loop {
        progress.borrow_and_update();
        let mut missing = None;
        for link in links {
            let engine = link.engine();
            match engine.state() {
                State::Stopped(reason) => {
                    return Err(Error::refused(format!("{} is stopped: {reason}", link.at)));
                }
                State::Retired => {
                    let what = format!("{}: its home has changed", link.at);
                    return Err(Error::refused(what));
                }
                _ => {}
            }
            let end = ends.get(&link.at).copied().unwrap_or(0);
            if engine.acknowledged() < end {
                missing = Some((link.at.clone(), engine.acknowledged(), end));
            }
        }
        let Some((at, acknowledged, end)) = missing else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(late(format!(
                "{at} is copied up to {acknowledged} of {end}"
            )));
        }
        wait(&mut progress, LOOK).await;
    }
}

/// As [`copied`], and then below the copies' high watermark: readable by every consumer.
pub(super) async fn readable(
    shared: &Shared,
    home: Side,
    ends: &HashMap<TopicPartition, i64>,
    within: Duration,
) -> Result<()> {
    let deadline = Instant::now() + within;
    let links = shared.links_of(&|_| true);
    let wanted: Vec<Arc<Link>> = links
        .into_iter()
        .filter(|link| link.home == home && ends.contains_key(&link.at))
        .collect();
    if let Some(at) = ends
        .keys()
        .find(|at| !wanted.iter().any(|link| link.at == **at))
    {
        return Err(Error::refused(format!(
            "{at} is not copied from the {home}"
        )));
    }
    copied(shared, &wanted, ends, deadline).await?;
    let partitions: Vec<TopicPartition> = ends.keys().cloned().collect();
    let copy = shared.clusters.on(home.other());
    loop {
        let missing = match copy
            .list_offsets(&partitions, OffsetAt::HighWatermark)
            .await
        {
            Ok(watermarks) => match ends.iter().find(|(at, end)| watermarks[*at] < **end) {
                None => return Ok(()),
                Some((at, end)) => late(format!(
                    "{at} is readable up to {} of {end}",
                    watermarks[at]
                )),
            },
            Err(error) if error.is_retriable() => {
                // A failed refresh is reported by the cluster itself.
                let _ = copy.refresh().await;
                error
            }
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(missing);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn late(what: String) -> Error {
    Error::new(Origin::Destination, Kind::TimedOut, what)
}

fn behind(shared: &Shared, topics: &[Arc<str>]) -> String {
    let now = shared.now_ms();
    let names: Vec<String> = shared
        .links_of(&|name| topics.iter().any(|topic| &**topic == name))
        .iter()
        .map(|link| link.status(now))
        .filter(|status| status.lag_records > 0 || status.lag_bytes > 0)
        .map(|status| format!("{} by {}", status.at(), status.lag_records))
        .collect();
    if names.is_empty() {
        "none as far as known".to_owned()
    } else {
        names.join(", ")
    }
}
