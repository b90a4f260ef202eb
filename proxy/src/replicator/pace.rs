//! How fast the replicator may copy: limits in bytes per second as they are fetched, for everything and for catching up
//! alone, changed while it runs. Each limit is an account that fills with time and is debited when an answer has come;
//! while it is overdrawn its lanes wait. Answers are kept small under small limits, so that no lane waits for long.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lane::Lane;

/// Unused allowance is kept for so long: the burst after a pause.
const BURST_MS: u64 = 200;
/// An answer holds about this share of a second's allowance.
const ANSWERS_PER_S: u64 = 10;
/// The least that is asked for: one ordinary batch. Brokers answer with one batch in any case, however large.
const ANSWER_BYTES_MIN: u64 = 16 << 10;
/// How often a waiting lane looks whether the limits have changed.
const LOOK_MS: u64 = 500;

/// Bytes per second; none is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Everything that is copied.
    pub bytes_per_s_max: Option<u64>,
    /// Partitions that are far behind, all together.
    pub catch_up_bytes_per_s_max: Option<u64>,
}

impl Limits {
    /// Refuses limits that would stop everything.
    pub fn check(&self) -> Result<(), String> {
        let zero = [
            ("bytes_per_s_max", self.bytes_per_s_max),
            ("catch_up_bytes_per_s_max", self.catch_up_bytes_per_s_max),
        ]
        .into_iter()
        .find(|(_, limit)| *limit == Some(0));
        match zero {
            Some((name, _)) => Err(format!("{name} is 0: leave it out for no limit")),
            None => Ok(()),
        }
    }
}

/// The limits and their accounts.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    limits: Limits,
    all: Account,
    catching_up: Account,
}

#[derive(Debug, Default)]
struct Account {
    /// Thousandths of a byte; below zero it is overdrawn.
    balance: i128,
    at_ms: u64,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Mutex::new(Accounts {
            limits,
            ..Accounts::default()
        }))
    }

    pub(super) fn limits(&self) -> Limits {
        self.accounts().limits
    }

    pub(super) fn limit(&self, limits: Limits) {
        self.accounts().limits = limits;
    }

    /// How long a lane has to wait now; none if it may ask.
    pub(super) fn wait(&self, lane: Lane, now_ms: u64) -> Option<Duration> {
        let accounts = &mut *self.accounts();
        let Limits {
            bytes_per_s_max,
            catch_up_bytes_per_s_max,
        } = accounts.limits;
        let mut wait_ms = accounts.all.wait_ms(bytes_per_s_max, now_ms);
        if lane != Lane::Near {
            let catching_up = accounts
                .catching_up
                .wait_ms(catch_up_bytes_per_s_max, now_ms);
            wait_ms = wait_ms.max(catching_up);
        }
        (wait_ms > 0).then(|| Duration::from_millis(wait_ms.min(LOOK_MS)))
    }

    /// The most that a lane should ask for at once.
    pub(super) fn answer_bytes_max(&self, lane: Lane, at_most: i32) -> i32 {
        let limits = self.limits();
        let catching_up = limits
            .catch_up_bytes_per_s_max
            .filter(|_| lane != Lane::Near);
        let limit = [limits.bytes_per_s_max, catching_up]
            .into_iter()
            .flatten()
            .min();
        let share = limit.map(|limit| (limit / ANSWERS_PER_S).max(ANSWER_BYTES_MIN));
        share.map_or(at_most, |share| {
            i32::try_from(share).map_or(at_most, |share| share.min(at_most))
        })
    }

    /// An answer of so many bytes has come.
    pub(super) fn took(&self, lane: Lane, bytes: usize) {
        let accounts = &mut *self.accounts();
        let thousandths = bytes as i128 * 1_000;
        accounts.all.balance -= thousandths;
        if lane != Lane::Near {
            accounts.catching_up.balance -= thousandths;
        }
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, Accounts> {
        // Every critical section is arithmetic that does not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn wait_ms(&mut self, limit: Option<u64>, now_ms: u64) -> u64 {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = now_ms;
        let Some(limit) = limit else {
            // What was copied without a limit is no debt.
            self.balance = 0;
            return 0;
        };
        let limit = i128::from(limit.max(1));
        // Bytes per second are thousandths of a byte per millisecond.
        let filled = self.balance + limit * i128::from(passed);
        self.balance = filled.min(limit * i128::from(BURST_MS));
        if self.balance >= 0 {
            return 0;
        }
        u64::try_from(-self.balance / limit + 1).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Lane = Lane::Far(0);

    /// Bytes that a lane gets in ten seconds with answers as large as it may ask for.
    fn copied(pace: &Pace, lane: Lane, from_ms: u64) -> u64 {
        let (mut now, mut bytes) = (from_ms, 0);
        while now < from_ms + 10_000 {
            if let Some(wait) = pace.wait(lane, now) {
                now += wait.as_millis() as u64;
                continue;
            }
            let answer = pace.answer_bytes_max(lane, 8 << 20) as u64;
            pace.took(lane, answer as usize);
            bytes += answer;
            now += 1;
        }
        bytes
    }

    fn limits(all: Option<u64>, catching_up: Option<u64>) -> Limits {
        Limits {
            bytes_per_s_max: all,
            catch_up_bytes_per_s_max: catching_up,
        }
    }

    #[test]
    fn a_limit_is_kept_over_seconds_and_can_be_changed() {
        let pace = Pace::new(limits(Some(1_000_000), None));
        for (now, lane) in [(0, Lane::Near), (10_000, FAR)] {
            let bytes = copied(&pace, lane, now);
            assert!((9_500_000..10_600_000).contains(&bytes), "{bytes}");
        }
        pace.limit(limits(Some(5_000_000), None));
        let bytes = copied(&pace, FAR, 20_000);
        assert!((47_500_000..53_000_000).contains(&bytes), "{bytes}");
        pace.limit(Limits::default());
        assert!(copied(&pace, FAR, 30_000) > 10_000_000_000);
        assert_eq!(pace.wait(FAR, 40_000), None);
        pace.limit(limits(Some(1_000_000), None));
        assert_eq!(pace.wait(FAR, 40_001), None, "no debt of the time without");
    }

    #[test]
    fn catching_up_has_a_limit_of_its_own() {
        let pace = Pace::new(limits(None, Some(100_000)));
        let bytes = copied(&pace, FAR, 0);
        assert!((950_000..1_100_000).contains(&bytes), "{bytes}");
        assert_eq!(pace.wait(Lane::Near, 10_000), None);
        assert_eq!(pace.answer_bytes_max(Lane::Near, 8 << 20), 8 << 20);
    }

    #[test]
    fn zero_is_no_limit_that_anybody_wants() {
        assert!(limits(Some(0), None).check().is_err());
        assert!(limits(None, Some(1)).check().is_ok());
    }
}
