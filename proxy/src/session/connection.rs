//! What others may know of one client connection while it is open.
//!
//! `seen` counts Produce frames as their first bytes are read, also while they wait behind a parked one; `done` counts
//! those that are answered or dropped. Requests of one connection are handled in order, so `done >= n` says that the
//! first n are over.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::route::{Drain, Permit, Permits, RouteId};
use crate::words::Side;

/// One open client connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub(super) id: u64,
    pub(super) side: Side,
    opened: Instant,
    seen: AtomicU64,
    done: AtomicU64,
    closed: AtomicBool,
    /// Produces written to the session's own broker and not answered yet.
    direct: AtomicUsize,
    /// Slots that are not filled yet.
    slots: AtomicUsize,
    changed: Notify,
    /// How many permits are out for this connection, by pool: one, and around a fence two.
    held: Mutex<Vec<(Permits, usize)>>,
    abandoned: Notify,
    /// By route: milliseconds since `opened`, plus one; 0 is never.
    writes: Box<[AtomicU64]>,
    reads: Box<[AtomicU64]>,
    sticky: Mutex<HashSet<Arc<str>>>,
}

impl ConnectionState {
    pub(super) fn new(id: u64, side: Side, routes: usize) -> Arc<Self> {
        let never = || (0..routes).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            id,
            side,
            opened: Instant::now(),
            seen: AtomicU64::new(0),
            done: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            direct: AtomicUsize::new(0),
            slots: AtomicUsize::new(0),
            changed: Notify::new(),
            held: Mutex::default(),
            abandoned: Notify::new(),
            writes: never(),
            reads: never(),
            sticky: Mutex::default(),
        })
    }

    pub(super) fn saw_produce(&self) {
        self.seen.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn produces_seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    pub(super) fn has_answered(&self, seen: u64) -> bool {
        self.done.load(Ordering::SeqCst) >= seen || self.closed.load(Ordering::SeqCst)
    }

    /// Waits until the first `seen` Produces are over.
    pub(super) async fn answered(&self, seen: u64) {
        self.until(|| self.has_answered(seen)).await;
    }

    /// Waits until no Produce that was written to the session's own broker is unanswered.
    pub(super) async fn direct_answered(&self) {
        self.until(|| !self.has_direct()).await;
    }

    pub(super) fn has_direct(&self) -> bool {
        self.direct.load(Ordering::SeqCst) > 0
    }

    pub(super) fn slot_added(&self) {
        self.slots.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn slot_filled(&self) {
        self.slots.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a request has not been answered yet.
    pub(super) fn is_waited_for(&self) -> bool {
        self.slots.load(Ordering::SeqCst) > 0
    }

    async fn until(&self, over: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if over() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Follows a Produce that goes to no broker.
    pub(super) fn ticket(self: &Arc<Self>) -> Ticket {
        Ticket {
            direct: false,
            permit: None,
            connection: self.clone(),
        }
    }

    /// Follows a Produce to the session's own broker.
    pub(super) fn direct_ticket(self: &Arc<Self>, permit: Permit) -> Ticket {
        self.direct.fetch_add(1, Ordering::SeqCst);
        let mut ticket = self.forward_ticket(permit);
        ticket.direct = true;
        ticket
    }

    /// Follows a Produce to the homes of its topics.
    pub(super) fn forward_ticket(self: &Arc<Self>, permit: Permit) -> Ticket {
        let mut held = self.held();
        match held.iter_mut().find(|(pool, _)| pool.same(permit.pool())) {
            Some((_, out)) => *out += 1,
            None => {
                held.retain(|(_, out)| *out > 0);
                held.push((permit.pool().clone(), 1));
            }
        }
        Ticket {
            permit: Some(permit),
            direct: false,
            connection: self.clone(),
        }
    }

    fn give_back(&self, pool: &Permits) {
        if let Some((_, out)) = self.held().iter_mut().find(|(held, _)| held.same(pool)) {
            *out -= 1;
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<(Permits, usize)>> {
        // One count under the lock; a panic cannot leave it half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session at once if it holds up this drain; whether it does.
    pub(super) fn abandon(&self, drain: &Drain) -> bool {
        let held = self.held();
        let holds_up = held
            .iter()
            .any(|(pool, out)| *out > 0 && drain.awaits(pool));
        if holds_up {
            self.abandoned.notify_one();
        }
        holds_up
    }

    /// Waits until the session has to end at once.
    pub(super) async fn abandoned(&self) {
        self.abandoned.notified().await;
    }

    pub(super) fn wrote(&self, route: RouteId) {
        self.stamp(&self.writes, route);
    }

    pub(super) fn has_read(&self, route: RouteId) {
        self.stamp(&self.reads, route);
    }

    pub(super) fn since_write(&self, route: RouteId) -> Option<Duration> {
        self.since(&self.writes, route)
    }

    pub(super) fn since_read(&self, route: RouteId) -> Option<Duration> {
        self.since(&self.reads, route)
    }

    fn stamp(&self, times: &[AtomicU64], route: RouteId) {
        if let Some(time) = times.get(route.0) {
            time.store(self.age_ms() + 1, Ordering::Relaxed);
        }
    }

    fn since(&self, times: &[AtomicU64], route: RouteId) -> Option<Duration> {
        let at = times.get(route.0)?.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.age_ms().saturating_sub(at)))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    pub(super) fn stick(&self, topic: Arc<str>) {
        self.sticky().insert(topic);
    }

    pub(super) fn is_sticky(&self, topic: &str) -> bool {
        self.sticky().contains(topic)
    }

    fn sticky(&self) -> std::sync::MutexGuard<'_, HashSet<Arc<str>>> {
        // One set operation under the lock; a panic cannot leave it half done.
        self.sticky.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One Produce between its reading and its answer. Dropped unanswered, its permit tells a loss.
#[derive(Debug)]
pub(super) struct Ticket {
    permit: Option<Permit>,
    direct: bool,
    connection: Arc<ConnectionState>,
}

impl Ticket {
    /// The broker answered.
    pub(super) fn answered(mut self) {
        if let Some(permit) = self.permit.take() {
            self.connection.give_back(permit.pool());
            permit.answered();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.connection.give_back(permit.pool());
        }
        if self.direct {
            self.connection.direct.fetch_sub(1, Ordering::SeqCst);
        }
        self.connection.done.fetch_add(1, Ordering::SeqCst);
        self.connection.changed.notify_waiters();
    }
}
