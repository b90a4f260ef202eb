//! One verification: what was asked, how far it is, how it ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::compare::Compare;
use super::difference::Difference;
use super::range::Planned;
use super::read::Meter;
use super::record::Digest;
use super::request::{Asked, Pace, Stretch};
use crate::error::{Error, Kind};
use crate::flip::{OperationId, OperationState, now_ms};
use crate::words::Side;

/// What a verification that came to its end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every record was compared and is equal.
    Equal,
    /// At least one is not.
    Differs,
    /// None was found to differ, but of a compacted topic more keys had to be held than fit.
    Unresolved,
}

/// Where one partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionState {
    /// Its turn has not come.
    Waiting,
    /// It is compared.
    Running,
    /// It was compared.
    Done,
    /// It could not be; the reason says why.
    Failed,
    /// The operation ended before it had.
    Interrupted,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionView {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where it stands.
    pub state: PartitionState,
    /// Its cleaner takes records on one side at least.
    pub compacted: bool,
    /// The first offset of the range; as asked until the range is settled.
    pub from: Option<i64>,
    /// The offset behind the last.
    pub to: Option<i64>,
    /// Up to here both sides have been walked.
    pub position: Option<i64>,
    /// Up to here they were equal.
    pub equal_to: Option<i64>,
    /// Records that both sides have.
    pub records: u64,
    /// Of the source's records in the range up to `position`.
    pub source_digest: Option<Digest>,
    /// Of the destination's.
    pub destination_digest: Option<Digest>,
    /// Offsets that differ.
    pub differences: u64,
    /// The first of them.
    pub first_difference: Option<Difference>,
    /// On compacted topics: records of one side that a later one of their key supersedes on the other.
    pub superseded: u64,
    /// The same where cleaners need no later record: old tombstones, records without a key.
    pub cleaned: u64,
    /// The same where the bound of held keys left no room to tell.
    pub unresolved: u64,
    /// Records of one side that the other's log start passed while they were compared.
    pub retired: u64,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// A verification as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyView {
    /// Its name.
    pub id: OperationId,
    /// Always `verify`.
    pub kind: &'static str,
    /// Where it stands.
    pub state: OperationState,
    /// What it says, once it is done.
    pub outcome: Option<Outcome>,
    /// Why it failed.
    pub reason: Option<String>,
    /// It failed since a cluster could not be reached: it can be gone on with.
    pub unreachable: bool,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: u64,
    /// How long it has taken.
    pub took_ms: u64,
    /// The bound of both sides' bytes.
    pub max_bytes_per_second: u64,
    /// Partitions at the same time.
    pub parallel: usize,
    /// Batches with the same bytes were not opened.
    pub fast: bool,
    /// Partitions that are done.
    pub partitions_done: usize,
    /// All partitions.
    pub partitions_total: usize,
    /// Offsets walked.
    pub offsets_done: i64,
    /// All offsets of the ranges.
    pub offsets_total: i64,
    /// Records that both sides have.
    pub records: u64,
    /// Bytes fetched, both sides together.
    pub bytes: u64,
    /// The mean of that.
    pub mb_per_second: f64,
    /// Offsets that differ.
    pub differences: u64,
    /// The first of them, in order of partitions.
    pub first_difference: Option<Difference>,
    /// Each partition.
    pub partitions: Vec<PartitionView>,
    /// What is still to be compared: `partitions` of a request that goes on with it.
    pub left: Vec<Stretch>,
}

#[derive(Debug)]
struct Record {
    state: OperationState,
    reason: Option<String>,
    unreachable: bool,
    took: Option<Duration>,
    partitions: Vec<PartitionView>,
}

/// One verification.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: OperationId,
    pub(super) pace: Pace,
    pub(super) asked: Vec<Asked>,
    pub(super) meter: Arc<Meter>,
    pub(super) cancelled: watch::Sender<bool>,
    started_ms: u64,
    record: Mutex<Record>,
}

impl Operation {
    pub(super) fn new(asked: Vec<Asked>, pace: Pace) -> Arc<Self> {
        let partitions = asked.iter().map(waiting).collect();
        Arc::new(Self {
            id: OperationId(uuid::Uuid::new_v4().to_string()),
            meter: Arc::new(Meter::new(pace.bytes_per_second)),
            pace,
            asked,
            cancelled: watch::Sender::new(false),
            started_ms: now_ms(),
            record: Mutex::new(Record {
                state: OperationState::Running,
                reason: None,
                unreachable: false,
                took: None,
                partitions,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // Critical sections are assignments.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().state == OperationState::Running
    }

    pub(super) fn left(&self) -> Vec<Stretch> {
        left(&self.lock().partitions)
    }

    fn edit(&self, index: usize, edit: impl FnOnce(&mut PartitionView)) {
        if let Some(partition) = self.lock().partitions.get_mut(index) {
            edit(partition);
        }
    }

    /// The range is settled.
    pub(super) fn planned(&self, index: usize, planned: &Planned) {
        let range = &planned.range;
        self.edit(index, |partition| {
            (partition.from, partition.to) = (Some(range.start), Some(range.end));
            (partition.position, partition.equal_to) = (Some(range.start), Some(range.start));
            partition.notes.clone_from(&planned.notes);
        });
    }

    pub(super) fn began(&self, index: usize, compacted: bool) {
        self.edit(index, |partition| {
            partition.state = PartitionState::Running;
            partition.compacted = compacted;
        });
    }

    /// Takes over what a comparison has found so far.
    pub(super) fn found(&self, index: usize, compare: &Compare) {
        let [source, destination] = match compare.digests() {
            Some(digests) => digests.map(Some),
            None => [None; 2],
        };
        let equal_to = compare.equal_to();
        let (found, held) = (&compare.found, &compare.held);
        self.edit(index, |partition| {
            let before = partition.differences;
            metrics::counter!("lockgate_verify_differences_total")
                .increment(found.differences.saturating_sub(before));
            metrics::counter!("lockgate_verified_records_total")
                .increment(found.records.saturating_sub(partition.records));
            partition.position = Some(compare.position());
            partition.equal_to = Some(equal_to);
            partition.records = found.records;
            (partition.source_digest, partition.destination_digest) = (source, destination);
            partition.differences = found.differences;
            partition.first_difference.clone_from(&found.first);
            partition.superseded = held.superseded;
            partition.cleaned = held.cleaned;
            partition.unresolved = held.unresolved;
            partition.retired = found.retired;
        });
    }

    pub(super) fn note(&self, index: usize, note: String) {
        self.edit(index, |partition| partition.notes.push(note));
    }

    pub(super) fn done(&self, index: usize) {
        self.edit(index, |partition| partition.state = PartitionState::Done);
    }

    pub(super) fn failed(&self, index: usize, error: &Error) {
        tracing::warn!(operation = %self.id, partition = %self.asked[index].at, %error, "not verified");
        self.blame(error);
        let mut record = self.lock();
        if let Some(partition) = record.partitions.get_mut(index) {
            partition.state = PartitionState::Failed;
            partition.reason = Some(error.to_string());
        }
    }

    /// Notes whether it is for want of a cluster that something failed.
    pub(super) fn blame(&self, error: &Error) {
        self.lock().unreachable |= matches!(error.kind, Kind::Disconnected | Kind::TimedOut);
    }

    /// Ends the operation; without a reason given, the first partition that failed has one.
    pub(super) fn end(&self, reason: Option<String>) {
        let mut record = self.lock();
        if record.state != OperationState::Running {
            return;
        }
        let failed: Vec<_> = record
            .partitions
            .iter()
            .filter(|one| one.reason.is_some())
            .collect();
        let first = failed.first().map(|first| {
            let why = first.reason.as_deref().unwrap_or_default();
            format!(
                "{}-{}: {why} ({} of {} partitions could not be verified)",
                first.topic,
                first.partition,
                failed.len(),
                record.partitions.len()
            )
        });
        record.reason = reason.or(first);
        record.state = match record.reason {
            None => OperationState::Done,
            Some(_) => OperationState::Failed,
        };
        record.took = Some(self.meter.elapsed());
        for partition in &mut record.partitions {
            if partition.state == PartitionState::Running {
                partition.state = PartitionState::Interrupted;
            }
        }
        let (state, reason) = (record.state.as_str(), record.reason.as_deref());
        let differences: u64 = record.partitions.iter().map(|one| one.differences).sum();
        tracing::info!(operation = %self.id, state, reason, differences, "verification ended");
    }

    /// The operation now.
    pub(super) fn view(&self) -> VerifyView {
        let record = self.lock();
        let partitions = record.partitions.clone();
        let sum = |of: fn(&PartitionView) -> u64| partitions.iter().map(of).sum::<u64>();
        let offsets = |of: fn(&PartitionView) -> Option<i64>| {
            let ends = partitions.iter().map(|one| of(one).zip(one.from));
            ends.flatten().map(|(end, from)| end - from).sum::<i64>()
        };
        let took = record.took.unwrap_or_else(|| self.meter.elapsed());
        let bytes = self.meter.bytes();
        let (differences, unresolved) = (sum(|one| one.differences), sum(|one| one.unresolved));
        let ended = record.state != OperationState::Running;
        let outcome = match record.state {
            _ if ended && differences > 0 => Some(Outcome::Differs),
            OperationState::Done if unresolved > 0 => Some(Outcome::Unresolved),
            OperationState::Done => Some(Outcome::Equal),
            _ => None,
        };
        let done = |one: &&PartitionView| one.state == PartitionState::Done;
        VerifyView {
            id: self.id.clone(),
            kind: "verify",
            state: record.state,
            outcome,
            reason: record.reason.clone(),
            unreachable: record.unreachable,
            started_ms: self.started_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            max_bytes_per_second: self.pace.bytes_per_second,
            parallel: self.pace.parallel,
            fast: self.pace.fast,
            partitions_done: partitions.iter().filter(done).count(),
            partitions_total: partitions.len(),
            offsets_done: offsets(|one| one.position),
            offsets_total: offsets(|one| one.to),
            records: sum(|one| one.records),
            bytes,
            mb_per_second: (bytes as f64 / took.as_secs_f64().max(0.001) / 1e4).round() / 100.0,
            differences,
            first_difference: partitions
                .iter()
                .find_map(|one| one.first_difference.clone()),
            left: left(&partitions),
            partitions,
        }
    }
}

fn left(partitions: &[PartitionView]) -> Vec<Stretch> {
    let open = partitions
        .iter()
        .filter(|one| one.state != PartitionState::Done);
    open.map(|one| Stretch {
        topic: one.topic.clone(),
        partition: one.partition,
        from: one.equal_to.or(one.from),
        to: one.to,
    })
    .collect()
}

fn waiting(asked: &Asked) -> PartitionView {
    let absent = |side: Side| {
        format!(
            "the {side} has no partition {} of topic {:?}",
            asked.at.partition, asked.at.topic
        )
    };
    PartitionView {
        topic: asked.at.topic.to_string(),
        partition: asked.at.partition,
        state: match asked.absent_at {
            None => PartitionState::Waiting,
            Some(_) => PartitionState::Failed,
        },
        compacted: false,
        from: asked.from,
        to: asked.to,
        position: None,
        equal_to: None,
        records: 0,
        source_digest: None,
        destination_digest: None,
        differences: 0,
        first_difference: None,
        superseded: 0,
        cleaned: 0,
        unresolved: 0,
        retired: 0,
        notes: Vec::new(),
        reason: asked.absent_at.map(absent),
    }
}
