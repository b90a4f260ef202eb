//! The store of both copies: what everybody else sees of the state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::entry::Entries;
use super::identity::Identity;
use super::keys::{Key, Kind};
use super::start;
use super::writer::{self, Job, QUEUE_MAX};
use crate::error::{Error, Result};
use crate::upstream::Clusters;
use crate::words::Side;

/// Which copies a write needs before it counts, and in which order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOrder {
    /// Both, in any order (a fence, bookkeeping).
    Both,
    /// This side's first, then the other's; counts when both hold it (Open: the new home's first).
    First(Side),
    /// Counts when this side's copy holds it; the other's is tried (a lift: the home's copy).
    Enough(Side),
}

/// What the store and its writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) clusters: Clusters,
    known: RwLock<Entries>,
    holds: [AtomicBool; 2],
    alone: AtomicBool,
    pub(super) fenced: watch::Sender<bool>,
}

/// The state of this pair of clusters, as read back from the topic.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens both copies as the one coordinator: creates them at the first start, checks the identity, fences the
    /// predecessor's transactions, reads everything, and brings the copies level (the higher version of a key wins).
    /// With one cluster unreachable it goes on with the other copy ([`Self::holds`] tells which); the first start needs
    /// both. Whether one copy is enough to serve a route is the caller's decision.
    pub async fn open(clusters: Clusters) -> Result<Arc<Self>> {
        let opened = start::open(&clusters).await?;
        let shared = Arc::new(Shared {
            identity: opened.identity,
            clusters,
            known: RwLock::new(opened.known),
            holds: opened
                .copies
                .each_ref()
                .map(|copy| AtomicBool::new(copy.is_some())),
            alone: AtomicBool::new(false),
            fenced: watch::Sender::new(false),
        });
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(writer::run(shared.clone(), opened.me, opened.copies, queue));
        Ok(Arc::new(Self { shared, jobs }))
    }

    /// Reads both copies without writing anything (`lockgate state dump`).
    pub async fn dump(clusters: &Clusters) -> Result<Value> {
        super::dump::dump(clusters).await
    }

    /// Who this pair of clusters is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Whether this side's copy is open.
    #[must_use]
    pub fn holds(&self, side: Side) -> bool {
        self.shared.holds[side.index()].load(Ordering::SeqCst)
    }

    /// Turns true once another coordinator has taken over a copy: this process must stop acting.
    pub fn fenced(&self) -> watch::Receiver<bool> {
        self.shared.fenced.subscribe()
    }

    /// From now on the destination's copy counts alone: every route is committed there.
    pub fn destination_counts_alone(&self) {
        self.shared.alone.store(true, Ordering::SeqCst);
    }

    /// A value as last read back. An unreadable value is an error, never an absence.
    pub fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        let value = self
            .shared
            .known()
            .get(key)
            .and_then(|versioned| versioned.value.clone());
        value.map(|value| read(key, &value)).transpose()
    }

    /// All values of a kind, by name.
    pub fn list<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<(String, T)>> {
        let known = self.shared.known();
        known
            .range(Key::new(kind, "")..)
            .take_while(|(key, _)| key.kind == kind)
            .filter_map(|(key, versioned)| Some((key, versioned.value.as_ref()?)))
            .map(|(key, value)| Ok((key.name.clone(), read(key, value)?)))
            .collect()
    }

    /// Writes values in one transaction per copy and reads them back. `None` deletes a key. After an ambiguous
    /// failure the outcome is read from the log before this returns.
    ///
    /// Puts that wait at the same time share a transaction. Dropping the future does not undo a write that has begun.
    /// An error that [`Error::is_ambiguous`] says that a copy went away in the middle: the write may be in force, now
    /// or once that copy is back, until the key is written again (every attempt has a higher version than the one
    /// before). Any other error: at least one copy that counts does not hold it.
    pub async fn put<T: Serialize + Sync>(
        &self,
        entries: &[(Key, Option<T>)],
        order: CopyOrder,
    ) -> Result<()> {
        let mut values = BTreeMap::new();
        for (key, value) in entries {
            let value = value
                .as_ref()
                .map(serde_json::to_value)
                .transpose()
                .map_err(|cause| {
                    Error::internal(format!("{key} cannot be written")).because(cause)
                })?;
            values.insert(key.clone(), value);
        }
        if values.is_empty() {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        let job = Job {
            values,
            order: self.shared.effective(order),
            done,
        };
        let gone = || Error::internal("the state's writer has ended");
        self.jobs.send(job).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

impl Shared {
    pub(super) fn known(&self) -> RwLockReadGuard<'_, Entries> {
        // The map is replaced key by key with whole values; a panic cannot leave a half one.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn learn(&self, entries: &Entries) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (key, versioned) in entries {
            super::entry::apply(&mut known, key.clone(), versioned.clone());
        }
    }

    pub(super) fn set_holds(&self, side: Side, holds: bool) {
        self.holds[side.index()].store(holds, Ordering::SeqCst);
        metrics::gauge!("lockgate_state_copy_open", "side" => side.as_str())
            .set(f64::from(u8::from(holds)));
    }

    fn effective(&self, order: CopyOrder) -> CopyOrder {
        if self.alone.load(Ordering::SeqCst) {
            CopyOrder::Enough(Side::Destination)
        } else {
            order
        }
    }
}

fn read<T: DeserializeOwned>(key: &Key, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|cause| {
        Error::internal(format!("the state of {key} cannot be read")).because(cause)
    })
}
