//! Pure: how far one link is behind, in records and in time.

use std::collections::VecDeque;

/// Moments kept per link; over it neighbours are merged, which can only make the lag look older.
const MARKS_MAX: usize = 64;

/// The source's end as it was seen to grow, and what of it is copied.
#[derive(Debug, Default)]
pub(super) struct Lag {
    source_end: i64,
    copied: i64,
    /// Records below the offset were first seen at the time; oldest first.
    marks: VecDeque<(i64, u64)>,
}

impl Lag {
    /// A fetch showed this end.
    pub(super) fn saw_end(&mut self, end: i64, now_ms: u64) {
        if end <= self.source_end && !(self.marks.is_empty() && end > self.copied) {
            return;
        }
        self.source_end = self.source_end.max(end);
        if end <= self.copied {
            return;
        }
        let full = self.marks.len() >= MARKS_MAX;
        match self.marks.back_mut() {
            Some(last) if full || last.1 == now_ms => last.0 = end,
            _ => self.marks.push_back((end, now_ms)),
        }
    }

    /// Records below `end` are at the destination.
    pub(super) fn copied(&mut self, end: i64, _now_ms: u64) {
        self.copied = end;
        self.source_end = self.source_end.max(end);
        while self.marks.front().is_some_and(|mark| mark.0 <= end) {
            self.marks.pop_front();
        }
    }

    /// The destination was found to end here.
    pub(super) fn restarted(&mut self, end: i64) {
        self.copied = end;
        self.source_end = self.source_end.max(end);
        self.marks.clear();
    }

    pub(super) fn source_end(&self) -> i64 {
        self.source_end
    }

    pub(super) fn records(&self) -> i64 {
        (self.source_end - self.copied).max(0)
    }

    /// How long the oldest record that is not copied has been known.
    pub(super) fn ms(&self, now_ms: u64) -> i64 {
        let oldest = self.marks.front().map(|mark| now_ms.saturating_sub(mark.1));
        oldest.map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_uncopied_record_counts() {
        let mut lag = Lag::default();
        lag.saw_end(10, 100);
        lag.saw_end(20, 200);
        assert_eq!((lag.records(), lag.ms(250)), (20, 150));
        lag.copied(10, 250);
        assert_eq!((lag.records(), lag.ms(250)), (10, 50));
        lag.copied(20, 260);
        assert_eq!((lag.records(), lag.ms(300)), (0, 0));
    }

    #[test]
    fn many_marks_merge_towards_the_older() {
        let mut lag = Lag::default();
        for n in 1..1000 {
            lag.saw_end(n, n as u64);
        }
        assert!(lag.marks.len() <= MARKS_MAX);
        lag.copied(998, 1000);
        assert_eq!(lag.records(), 1);
        assert!(lag.ms(1000) >= 1);
    }
}
