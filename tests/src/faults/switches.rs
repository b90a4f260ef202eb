//! What a relay does with what passes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

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
}

type Predicate = Box<dyn FnMut(&Frame<'_>) -> Verdict + Send>;

/// The switches of one relay.
pub(super) struct Switches {
    refuse: AtomicBool,
    delay_us: AtomicU64,
    frozen: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
    swallow: Mutex<VecDeque<i16>>,
    swallowed: AtomicU64,
    happened: Notify,
    predicate: Mutex<Option<Predicate>>,
}

impl Switches {
    pub(super) fn new() -> Self {
        Self {
            refuse: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            frozen: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            swallow: Mutex::new(VecDeque::new()),
            swallowed: AtomicU64::new(0),
            happened: Notify::new(),
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

    pub(super) fn swallow_next(&self, api_key: i16) {
        lock(&self.swallow).push_back(api_key);
    }

    pub(super) fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Acquire)
    }

    pub(super) fn set_predicate(&self, predicate: Option<Predicate>) {
        *lock(&self.predicate) = predicate;
    }

    /// Waits until at least `count` answers were swallowed.
    pub(super) async fn wait_swallowed(&self, count: u64) {
        loop {
            let happened = self.happened.notified();
            if self.swallowed() >= count {
                return;
            }
            happened.await;
        }
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
        if frame.is_answer && self.take_swallow(frame.api_key) {
            self.swallowed.fetch_add(1, Ordering::AcqRel);
            self.happened.notify_waiters();
            return Verdict::Cut;
        }
        lock(&self.predicate)
            .as_mut()
            .map_or(Verdict::Pass, |predicate| predicate(frame))
    }

    fn take_swallow(&self, api_key: i16) -> bool {
        let mut swallow = lock(&self.swallow);
        let place = swallow.iter().position(|wanted| *wanted == api_key);
        place.is_some_and(|place| swallow.remove(place).is_some())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values are replaced whole, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
