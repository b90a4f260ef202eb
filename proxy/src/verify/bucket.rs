//! Pure: the token bucket that bounds what verification takes of both clusters' bandwidth.

use std::time::Duration;

/// How many seconds' worth of bytes may be taken at once after a pause.
const BURST_SECONDS: f64 = 0.25;

/// Bytes that may be fetched; below zero what was fetched is still to be waited for.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_second: f64,
    left: f64,
    paid_at: Duration,
}

impl Bucket {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        Self {
            bytes_per_second,
            left: bytes_per_second * BURST_SECONDS,
            paid_at: Duration::ZERO,
        }
    }

    /// Pays for bytes that came at `now` (since any fixed moment); how long to wait before more are asked for.
    pub(super) fn pay(&mut self, bytes: usize, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.paid_at);
        self.paid_at = now.max(self.paid_at);
        let most = self.bytes_per_second * BURST_SECONDS;
        let filled = self.left + passed.as_secs_f64() * self.bytes_per_second;
        self.left = filled.min(most) - bytes as f64;
        Duration::try_from_secs_f64((-self.left).max(0.0) / self.bytes_per_second)
            .unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_whatever_the_size_of_the_answers() {
        for answer in [1_000, 100_000, 5_000_000] {
            let mut bucket = Bucket::new(1_000_000);
            let (mut now, mut taken) = (Duration::ZERO, 0);
            while now < Duration::from_secs(20) {
                taken += answer;
                now += bucket.pay(answer, now) + Duration::from_micros(10);
            }
            let rate = taken as f64 / now.as_secs_f64();
            assert!((900_000.0..1_020_000.0).contains(&rate), "{rate}");
        }
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let mut bucket = Bucket::new(1_000);
        assert_eq!(bucket.pay(250, Duration::from_secs(100)), Duration::ZERO);
        let wait = bucket.pay(500, Duration::from_secs(100));
        assert_eq!(wait, Duration::from_millis(500));
    }
}
