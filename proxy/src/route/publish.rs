//! The one writer of the snapshot.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::permits::{Drain, Permit, Permits};
use super::snapshot::Snapshot;

#[derive(Debug, Default)]
struct Replaced {
    produce: Drain,
    commit: Drain,
}

/// The current snapshot, and the door through which it is replaced.
#[derive(Debug)]
pub struct Routes {
    current: ArcSwap<Snapshot>,
    /// Held while a snapshot is made; keeps the pools that earlier fences replaced.
    writing: Mutex<Replaced>,
    changed: watch::Sender<u64>,
}

impl Routes {
    /// Begins with what was read from the state topic.
    #[must_use]
    pub fn new(first: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(first),
            writing: Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    /// The current snapshot: a load, no lock.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The current snapshot, to be kept.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Ticks after every change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The current snapshot together with a permit of its Produce pool.
    pub fn load_with_produce_permit(&self) -> (Guard<Arc<Snapshot>>, Permit) {
        self.load_with(|snapshot| &snapshot.produce_permits)
    }

    /// The current snapshot together with a permit of its commit pool.
    pub fn load_with_commit_permit(&self) -> (Guard<Arc<Snapshot>>, Permit) {
        self.load_with(|snapshot| &snapshot.commit_permits)
    }

    fn load_with(&self, pool: impl Fn(&Snapshot) -> &Permits) -> (Guard<Arc<Snapshot>>, Permit) {
        // Ends as soon as no fence is published between the two loads; fences are seconds apart.
        loop {
            let before = self.current.load();
            let permit = pool(&before).take();
            let after = self.current.load();
            if pool(&after).same(pool(&before)) {
                return (after, permit);
            }
            permit.answered();
        }
    }

    /// Publishes a change. The change sees the current snapshot and works on a copy.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        self.replace(|next, _| change(next));
    }

    /// Publishes a change that stops writes. The Produce pool is replaced with it; what has to be drained is returned.
    pub fn fence(&self, change: impl FnOnce(&mut Snapshot)) -> Drain {
        self.replace(|next, replaced| {
            replaced
                .produce
                .add(std::mem::take(&mut next.produce_permits));
            change(next);
            replaced.produce.clone()
        })
    }

    /// As [`Self::fence`] for requests that commit offsets.
    pub fn fence_commits(&self, change: impl FnOnce(&mut Snapshot)) -> Drain {
        self.replace(|next, replaced| {
            replaced
                .commit
                .add(std::mem::take(&mut next.commit_permits));
            change(next);
            replaced.commit.clone()
        })
    }

    fn replace<T>(&self, change: impl FnOnce(&mut Snapshot, &mut Replaced) -> T) -> T {
        let mut replaced = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&self.current.load());
        let result = change(&mut next, &mut replaced);
        self.current.store(Arc::new(next));
        self.changed.send_modify(|count| *count += 1);
        result
    }
}
