//! What a relay does with what passes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A frame on its way, as a predicate sees it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Whether it is an answer.
    pub is_answer: bool,
    /// The API key; of an answer, that of its request.
    pub api_key: i16,
    /// The API version.
    pub api_version: i16,
    /// The correlation id.
    pub correlation_id: i32,
    /// Who asked.
    pub client_id: &'a str,
    /// The frame without its length.
    pub bytes: &'a [u8],
}

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It vanishes and the connection is cut on both sides.
    Cut,
    /// It goes on, then the connection is cut on both sides.
    PassAndCut,
    /// It is kept back, and with it all behind it, until the relay swallows what it holds; then the connection is
    /// cut on both sides.
    Hold,
}

type Predicate = Box<dyn FnMut(&Frame<'_>) -> Verdict + Send>;

/// The switches of one relay.
pub(super) struct Switches {
    refuse: AtomicBool,
    delay_us: AtomicU64,
    frozen: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
    hold: Mutex<Option<(i16, String)>>,
    held: watch::Sender<u64>,
    swallows: watch::Sender<u64>,
    predicate: Mutex<Option<Predicate>>,
}

impl Switches {
    pub(super) fn new() -> Self {
        Self {
            refuse: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            frozen: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            hold: Mutex::new(None),
            held: watch::Sender::new(0),
            swallows: watch::Sender::new(0),
            predicate: Mutex::new(None),
        }
    }

    pub(super) fn refuses(&self) -> bool {
        self.refuse.load(Ordering::Acquire)
    }

    pub(super) fn set_refuse(&self, refuse: bool) {
        self.refuse.store(refuse, Ordering::Release);
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.delay_us
            .store(delay.as_micros() as u64, Ordering::Release);
    }

    pub(super) fn set_frozen(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub(super) fn cut_all(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    pub(super) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    pub(super) fn set_hold(&self, api_key: i16, client_id: &str) {
        *lock(&self.hold) = Some((api_key, client_id.to_owned()));
    }

    /// Swallows the answers held at this moment and holds no more.
    pub(super) fn swallow_held(&self) {
        *lock(&self.hold) = None;
        self.swallows.send_modify(|count| *count += 1);
    }

    pub(super) fn set_predicate(&self, predicate: Option<Predicate>) {
        *lock(&self.predicate) = predicate;
    }

    /// Waits until at least `count` answers were held.
    pub(super) async fn wait_held(&self, count: u64) {
        let mut held = self.held.subscribe();
        // The sender lives as long as this call's `self`.
        let _ = held.wait_for(|held| *held >= count).await;
    }

    /// Keeps the caller's answer until what is held is swallowed.
    pub(super) async fn stay_held(&self, mut swallows: watch::Receiver<u64>) {
        self.held.send_modify(|count| *count += 1);
        let _ = swallows.changed().await;
    }

    /// Hears of every swallow from now on.
    pub(super) fn swallows(&self) -> watch::Receiver<u64> {
        self.swallows.subscribe()
    }

    /// Holds the caller while the relay is frozen, then for its delay.
    pub(super) async fn wait_turn(&self) {
        let mut frozen = self.frozen.subscribe();
        let _ = frozen.wait_for(|frozen| !*frozen).await;
        let delay = Duration::from_micros(self.delay_us.load(Ordering::Acquire));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    pub(super) fn judge(&self, frame: &Frame<'_>) -> Verdict {
        let hold = lock(&self.hold);
        let wanted = |(api_key, client_id): &(i16, String)| {
            *api_key == frame.api_key && client_id == frame.client_id
        };
        if frame.is_answer && hold.as_ref().is_some_and(wanted) {
            return Verdict::Hold;
        }
        drop(hold);
        lock(&self.predicate)
            .as_mut()
            .map_or(Verdict::Pass, |predicate| predicate(frame))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values are replaced whole, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
