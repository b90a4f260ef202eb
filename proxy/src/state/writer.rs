//! The one task that writes: it owns both copies, gives every key its next version, and opens a lost copy again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::copy::{Copy, WriteError};
use super::entry::{Entries, Versioned};
use super::identity::{self, Identity};
use super::keys::Key;
use super::start::{UNSEEN_STRIDE, bring_level};
use super::store::{CopyOrder, Shared};
use super::topic;
use super::transaction::{Writer, is_fenced};
use crate::error::{Error, Kind, Result};
use crate::upstream::Cluster;
use crate::words::Side;

/// Puts that may wait.
pub(super) const QUEUE_MAX: usize = 1024;
/// Puts that share one transaction, at most.
const TOGETHER_MAX: usize = 256;
/// How often a lost copy is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(2);
/// How long a put waits for a copy that is just being opened again.
const REOPEN_WAIT: Duration = Duration::from_secs(2);

/// One put on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) values: BTreeMap<Key, Option<Value>>,
    pub(super) order: CopyOrder,
    pub(super) done: oneshot::Sender<Result<()>>,
}

/// Serves puts until the store is dropped.
pub(super) async fn run(
    shared: Arc<Shared>,
    me: Uuid,
    copies: [Option<Copy>; 2],
    mut queue: mpsc::Receiver<Job>,
) {
    let mut task = Task {
        me,
        attempted: BTreeMap::new(),
        unseen: copies.iter().any(Option::is_none),
        previous: copies
            .each_ref()
            .map(|copy| copy.as_ref().map(Copy::writer)),
        copies,
        shared,
        reopening: [None, None],
        put_back: None,
    };
    loop {
        task.begin_reopening();
        let job = match task.put_back.take() {
            Some(job) => Some(job),
            None => tokio::select! {
                job = queue.recv() => job,
                (side, opened) = reopened(&mut task.reopening) => {
                    task.take_back(side, opened).await;
                    continue;
                }
            },
        };
        let Some(job) = job else {
            return;
        };
        task.serve(job, &mut queue).await;
    }
}

type Reopening = JoinHandle<Result<Copy>>;

struct Task {
    me: Uuid,
    shared: Arc<Shared>,
    copies: [Option<Copy>; 2],
    /// The last right to write each copy, for coming back without fencing a successor.
    previous: [Option<Writer>; 2],
    reopening: [Option<Reopening>; 2],
    /// The highest version that was ever sent, written or not.
    attempted: BTreeMap<Key, u64>,
    unseen: bool,
    /// A job of another order that ended the last batch.
    put_back: Option<Job>,
}

/// Waits for the first copy that comes back; for ever where none is being opened.
async fn reopened(reopening: &mut [Option<Reopening>; 2]) -> (Side, Result<Copy>) {
    async fn one(handle: &mut Option<Reopening>) -> Result<Copy> {
        match handle {
            None => std::future::pending().await,
            Some(running) => {
                let outcome = running.await;
                *handle = None;
                outcome.unwrap_or_else(|cause| {
                    Err(Error::internal("opening a copy of the state failed").because(cause))
                })
            }
        }
    }
    let [source, destination] = reopening;
    tokio::select! {
        opened = one(source) => (Side::Source, opened),
        opened = one(destination) => (Side::Destination, opened),
    }
}

impl Task {
    fn begin_reopening(&mut self) {
        for side in Side::BOTH {
            let at = side.index();
            if self.copies[at].is_some() || self.reopening[at].is_some() {
                continue;
            }
            let cluster = self.shared.clusters.on(side).clone();
            let (me, previous) = (self.me, self.previous[at]);
            let identity = self.shared.identity.clone();
            self.reopening[at] = Some(tokio::spawn(async move {
                loop {
                    tokio::time::sleep(REOPEN_EVERY).await;
                    match reopen(&cluster, previous, &identity, me).await {
                        Err(error) if error.is_retriable() => {
                            tracing::debug!(%side, %error, "the copy of the state is still away");
                        }
                        outcome => return outcome,
                    }
                }
            }));
        }
    }

    /// Takes a copy back that was opened again, and brings both level before anything else is written.
    async fn take_back(&mut self, side: Side, opened: Result<Copy>) {
        let copy = match opened {
            Ok(copy) => copy,
            Err(error) if is_fenced(&error) => return self.fenced(&error),
            Err(error) => {
                tracing::error!(%side, %error, "the copy of the state cannot be used");
                return;
            }
        };
        self.previous[side.index()] = Some(copy.writer());
        self.copies[side.index()] = Some(copy);
        match bring_level(&mut self.copies).await {
            Ok(entries) => {
                self.shared.learn(&entries);
                self.unseen &= self.copies.iter().any(Option::is_none);
                for side in Side::BOTH {
                    self.shared
                        .set_holds(side, self.copies[side.index()].is_some());
                }
                tracing::info!(%side, "the copy of the state is open again and level");
            }
            Err(error) => {
                tracing::error!(%side, %error, "the copies of the state cannot be brought level");
                self.lose(side);
            }
        }
    }

    fn lose(&mut self, side: Side) {
        if let Some(copy) = self.copies[side.index()].take() {
            self.previous[side.index()] = Some(copy.writer());
        }
        self.shared.set_holds(side, false);
    }

    fn fenced(&self, error: &Error) {
        tracing::error!(%error, "another Lockgate has taken over the state; this one must stop");
        self.shared.fenced.send_replace(true);
    }

    async fn serve(&mut self, first: Job, queue: &mut mpsc::Receiver<Job>) {
        let order = first.order;
        let mut entries = self.versioned(first.values);
        let mut waiting = vec![first.done];
        while waiting.len() < TOGETHER_MAX {
            let Ok(job) = queue.try_recv() else { break };
            // Two values of one key need two versions, so two writes.
            if job.order != order || job.values.keys().any(|key| entries.contains_key(key)) {
                self.put_back = Some(job);
                break;
            }
            entries.extend(self.versioned(job.values));
            waiting.push(job.done);
        }
        let tell = |outcome: Result<(), Error>| {
            let shared_outcome = outcome.map_err(|error| (error.origin, error.kind, error.what));
            for done in waiting {
                let outcome = shared_outcome.clone();
                // Whoever stopped waiting does not want to know.
                let _ = done.send(outcome.map_err(|(origin, kind, what)| Error {
                    origin,
                    kind,
                    what,
                    cause: None,
                }));
            }
        };
        let began = Instant::now();
        self.write(&entries, order, tell).await;
        metrics::histogram!("lockgate_state_write_seconds").record(began.elapsed().as_secs_f64());
    }

    fn versioned(&mut self, values: BTreeMap<Key, Option<Value>>) -> Entries {
        let known = self.shared.known();
        let stride = if self.unseen { UNSEEN_STRIDE } else { 0 };
        values
            .into_iter()
            .map(|(key, value)| {
                let known = known.get(&key).map_or(0, |versioned| versioned.version) + stride;
                let last = self.attempted.get(&key).copied().unwrap_or_default();
                let version = known.max(last) + 1;
                self.attempted.insert(key.clone(), version);
                (key, Versioned { version, value })
            })
            .collect()
    }

    async fn write(&mut self, entries: &Entries, order: CopyOrder, tell: impl FnOnce(Result<()>)) {
        if *self.shared.fenced.borrow() {
            return tell(Err(Error::refused(
                "another Lockgate has taken over the state",
            )));
        }
        match order {
            CopyOrder::Both => {
                for side in Side::BOTH {
                    if let Err(error) = self.present(side).await {
                        return tell(Err(error));
                    }
                }
                let [source, destination] = &mut self.copies;
                let outcomes = tokio::join!(
                    write_one(source.as_mut(), entries),
                    write_one(destination.as_mut(), entries)
                );
                let source = self.judge(Side::Source, outcomes.0);
                let destination = self.judge(Side::Destination, outcomes.1);
                let outcome = source.and(destination);
                if outcome.is_ok() {
                    self.shared.learn(entries);
                }
                tell(outcome);
            }
            CopyOrder::First(first) => {
                for side in [first, first.other()] {
                    if let Err(error) = self.write_side(side, entries).await {
                        return tell(Err(error));
                    }
                    if side == first {
                        crate::faults::point("first-copy");
                    }
                }
                self.shared.learn(entries);
                tell(Ok(()));
            }
            CopyOrder::Enough(side) => {
                let outcome = self.write_side(side, entries).await;
                let counts = outcome.is_ok();
                if counts {
                    self.shared.learn(entries);
                }
                tell(outcome);
                if counts && self.copies[side.other().index()].is_some() {
                    // Best effort: what it misses is written when it is brought level.
                    let _ = self.write_side(side.other(), entries).await;
                }
            }
        }
    }

    async fn write_side(&mut self, side: Side, entries: &Entries) -> Result<()> {
        self.present(side).await?;
        let outcome = write_one(self.copies[side.index()].as_mut(), entries).await;
        self.judge(side, outcome)
    }

    /// Waits a little for a copy that is being opened again.
    async fn present(&mut self, side: Side) -> Result<()> {
        let deadline = Instant::now() + REOPEN_WAIT;
        while self.copies[side.index()].is_none() {
            self.begin_reopening();
            let Ok((back, opened)) =
                tokio::time::timeout_at(deadline, reopened(&mut self.reopening)).await
            else {
                return Err(Error::new(
                    side,
                    Kind::Failed,
                    format!(
                        "the copy of the state at the {side} cannot be reached; nothing was written"
                    ),
                ));
            };
            self.take_back(back, opened).await;
        }
        Ok(())
    }

    fn judge(&mut self, side: Side, outcome: Result<(), WriteError>) -> Result<()> {
        let Err(error) = outcome else {
            return Ok(());
        };
        match &error {
            WriteError::NotWritten(_) => {}
            WriteError::Unknown(_) => self.lose(side),
            WriteError::Fenced(cause) => self.fenced(cause),
        }
        Err(error.into_error(side))
    }
}

async fn write_one(copy: Option<&mut Copy>, entries: &Entries) -> Result<(), WriteError> {
    match copy {
        Some(copy) => copy.write(entries).await,
        None => Err(WriteError::NotWritten(Error::internal(
            "the copy is not open",
        ))),
    }
}

/// Opens a copy again; it must still be the one that was lost.
async fn reopen(
    cluster: &Arc<Cluster>,
    previous: Option<Writer>,
    identity: &Identity,
    me: Uuid,
) -> Result<Copy> {
    let side = cluster.side();
    if !topic::exists(cluster).await? {
        return Err(Error::new(
            side,
            Kind::Disconnected,
            "the state topic is missing",
        ));
    }
    let copy = Copy::open(cluster.clone(), previous, me).await?;
    let found = copy.entries().get(&identity::key());
    let found = found.and_then(|versioned| versioned.value.clone());
    match found.map(serde_json::from_value::<Identity>) {
        Some(Ok(found)) if found == *identity => Ok(copy),
        _ => Err(Error::refused(format!(
            "the copy of the state at the {side} is empty or of another identity; \
             `lockgate state copy` restores it"
        ))),
    }
}
