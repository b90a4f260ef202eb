//! Permits: proof that no request decided under an older snapshot is still on its way.
//!
//! A Produce takes a permit of the snapshot it is decided under, and gives it back when it is answered. A fence
//! replaces the pool; its drain ends when the old pool has no permits left. One load per request without the permit
//! would be a race: loaded before the fence, written after it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a loss is told to the fences that follow: far beyond the time for which a broker may still hold a request
/// of a connection that is gone.
const LOSS_TOLD: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Pool {
    out: AtomicU64,
    last_loss: Mutex<Option<Instant>>,
    returned: Notify,
}

/// One pool of permits; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Permits(Arc<Pool>);

/// One request on its way. Dropping it without [`Permit::answered`] says that its outcome is unknown.
#[derive(Debug)]
pub struct Permit {
    pool: Permits,
    answered: bool,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered.
    Answered,
    /// Every permit is back, but at least one request lost its connection unanswered: a broker may still execute it
    /// (trap 25), so the true ends must stand still before they are believed.
    WithLosses {
        /// When the last one was lost.
        last: Instant,
    },
}

impl Permits {
    /// Takes a permit. Valid only if the pool is still the current snapshot's after this call.
    #[must_use]
    pub fn take(&self) -> Permit {
        // SeqCst pairs with the publisher: it publishes the new pool first and reads `out` afterwards, so either it
        // sees this permit or the taker sees the new snapshot.
        self.0.out.fetch_add(1, Ordering::SeqCst);
        Permit {
            pool: self.clone(),
            answered: false,
        }
    }

    /// Whether both handles mean the same pool.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Permits that are out.
    #[must_use]
    pub fn out(&self) -> u64 {
        self.0.out.load(Ordering::SeqCst)
    }

    fn last_loss(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // One assignment under the lock; a panic cannot leave it half done.
        self.0
            .last_loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a later fence still has to hear of this pool.
    fn counts(&self) -> bool {
        let lost = || self.last_loss().is_some_and(|at| at.elapsed() < LOSS_TOLD);
        self.out() > 0 || lost()
    }

    /// Waits until no permit is out; none when that takes longer than `within`.
    pub async fn drained(&self, within: Duration) -> Option<Drained> {
        let all_back = async {
            loop {
                let returned = self.0.returned.notified();
                tokio::pin!(returned);
                returned.as_mut().enable();
                if self.out() == 0 {
                    return;
                }
                returned.await;
            }
        };
        tokio::time::timeout(within, all_back).await.ok()?;
        Some(match *self.last_loss() {
            Some(last) => Drained::WithLosses { last },
            None => Drained::Answered,
        })
    }
}

/// The pools that a fence has to wait for: the one it replaced, and earlier ones that still have permits out (a
/// fence that was lifted may leave some behind) or have lost a request lately (all routes share a pool, so the fence
/// that replaced it may have been another route's).
#[derive(Debug, Clone, Default)]
pub struct Drain(Vec<Permits>);

impl Drain {
    pub(super) fn add(&mut self, pool: Permits) {
        self.0.retain(Permits::counts);
        self.0.push(pool);
    }

    /// Permits that are out.
    #[must_use]
    pub fn out(&self) -> u64 {
        self.0.iter().map(Permits::out).sum()
    }

    /// Whether permits of this pool are waited for.
    #[must_use]
    pub fn awaits(&self, pool: &Permits) -> bool {
        self.0.iter().any(|waited_for| waited_for.same(pool))
    }

    /// Waits until no permit is out; none when that takes longer than `within`.
    pub async fn drained(&self, within: Duration) -> Option<Drained> {
        let deadline = Instant::now() + within;
        let mut outcome = Drained::Answered;
        for pool in &self.0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match (pool.drained(left).await?, outcome) {
                (Drained::Answered, _) => {}
                (Drained::WithLosses { last }, Drained::WithLosses { last: other }) => {
                    outcome = Drained::WithLosses {
                        last: last.max(other),
                    };
                }
                (losses, Drained::Answered) => outcome = losses,
            }
        }
        Some(outcome)
    }
}

impl Permit {
    /// The pool it is out of.
    #[must_use]
    pub fn pool(&self) -> &Permits {
        &self.pool
    }

    /// Gives the permit back: the broker answered, or the request was never written.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.answered {
            *self.pool.last_loss() = Some(Instant::now());
        }
        if self.pool.0.out.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.pool.0.returned.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_every_permit_and_tells_losses() {
        let pool = Permits::default();
        let (first, second) = (pool.take(), pool.take());
        assert_eq!(pool.drained(Duration::from_millis(5)).await, None);
        first.answered();
        second.answered();
        assert_eq!(
            pool.drained(Duration::from_millis(5)).await,
            Some(Drained::Answered)
        );
        drop(pool.take());
        let drained = pool.drained(Duration::from_millis(5)).await;
        assert!(matches!(drained, Some(Drained::WithLosses { .. })));
    }

    #[tokio::test]
    async fn a_loss_is_told_to_the_fences_that_follow_too() {
        let mut drain = Drain::default();
        let lost_in = Permits::default();
        drop(lost_in.take());
        drain.add(lost_in);
        // The fence of another route replaces the pool, a moment later comes the one that the loss matters to.
        drain.add(Permits::default());
        let drained = drain.drained(Duration::from_millis(5)).await;
        assert!(matches!(drained, Some(Drained::WithLosses { .. })));
    }
}
