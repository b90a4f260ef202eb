//! Planted differences of every kind are found at their offset, whatever the batches look like; logs that hold the same
//! are equal; cleaners that run apart make no difference unless a key's last record is gone.

use std::collections::{BTreeMap, HashSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::logs::{Log, Row, Shape, log_append_time};
use super::*;

const RUNS: u64 = 150;
const KEYS_MAX: usize = 1_000;
const PLAIN: Mode = Mode {
    compacted: false,
    fast: false,
};
const FAST: Mode = Mode {
    compacted: false,
    fast: true,
};
const COMPACTED: Mode = Mode {
    compacted: true,
    fast: false,
};

fn shape(batch_max: usize, aborts: bool) -> Shape {
    Shape { batch_max, aborts }
}

fn feed(compare: &mut Compare, pieces: [Vec<Piece>; 2]) {
    let mut pieces = pieces.map(VecDeque::from);
    while let Need::Piece(side) = compare.run().unwrap() {
        let piece = pieces[side.index()].pop_front().unwrap();
        compare.give(side, piece).unwrap();
    }
}

/// All passes, as the runner makes them.
fn compare(logs: [&Log; 2], range: Range<i64>, end: i64, mode: Mode, keys_max: usize) -> Compare {
    let random = &mut StdRng::seed_from_u64(1);
    let at = TopicPartition::new("t", 0);
    let mut compare = Compare::new(at, range.clone(), mode, keys_max, Arc::default());
    feed(
        &mut compare,
        logs.map(|log| log.pieces(range.clone(), random)),
    );
    if !compare.held.is_empty() {
        let ranges = [range.end..end, range.end..end];
        compare.begin(Pass::Ahead, ranges.clone());
        feed(
            &mut compare,
            logs.map(|log| log.pieces(range.end..end, random)),
        );
        let until = Side::BOTH.map(|side| 0..compare.held.tombstones_until(side).unwrap_or(0));
        compare.begin(Pass::Behind, until.clone());
        let [source, destination] = until;
        let pieces = [
            logs[0].pieces(source, random),
            logs[1].pieces(destination, random),
        ];
        feed(&mut compare, pieces);
    }
    compare.conclude();
    compare
}

fn row(offset: i64, random: &mut StdRng) -> Row {
    let mut bytes = |most: usize| {
        let length = random.random_range(0..most);
        (0..length)
            .map(|_| random.random_range(b'a'..b'f'))
            .collect()
    };
    let (key, value, header): (Vec<u8>, Vec<u8>, Vec<u8>) = (bytes(9), bytes(300), bytes(9));
    Row {
        offset,
        timestamp: 1_700_000_000_000 + random.random_range(-500..500),
        key: Some(key).filter(|_| random.random_bool(0.8)),
        value: Some(value).filter(|_| random.random_bool(0.9)),
        headers: vec![
            ("twice".to_owned(), Some(header)),
            ("twice".to_owned(), None),
        ],
    }
}

fn rows(random: &mut StdRng) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut offset = random.random_range(0..50);
    for _ in 0..random.random_range(2..60) {
        rows.push(row(offset, random));
        offset += if random.random_bool(0.85) {
            1
        } else {
            random.random_range(2..9)
        };
    }
    rows
}

/// Everything that can be wrong with one record.
fn plant(kind: usize, rows: &mut Vec<Row>, index: usize) -> Vec<What> {
    let row = &mut rows[index];
    match kind {
        0 => {
            row.value = Some([row.value.as_deref().unwrap_or_default(), b"!"].concat());
            vec![What::Value]
        }
        1 => {
            row.key = match &row.key {
                None => Some(Vec::new()),
                Some(_) => None,
            };
            vec![What::Key]
        }
        2 => {
            row.headers.reverse();
            vec![What::Headers]
        }
        3 => {
            row.headers.truncate(1);
            row.timestamp += 1;
            vec![What::Timestamp, What::Headers]
        }
        4 => {
            row.value = match &row.value {
                None => Some(Vec::new()),
                Some(_) => None,
            };
            vec![What::Value]
        }
        _ => {
            rows.remove(index);
            vec![What::Missing]
        }
    }
}

#[test]
fn the_same_records_are_equal_in_whatever_batches_they_come() {
    for seed in 0..RUNS {
        let random = &mut StdRng::seed_from_u64(seed);
        let rows = rows(random);
        let one = Log::of(&rows, shape(9, true), random);
        let other = Log::of(&rows, shape(5, false), random);
        let end = rows[rows.len() - 1].offset + 1;
        let from = random.random_range(0..=end);
        let inside = rows.iter().filter(|row| row.offset >= from).count() as u64;
        let mut digests = HashSet::new();
        for logs in [[&one, &other], [&other, &one], [&one, &one]] {
            let found = compare(logs, from..end, end, PLAIN, KEYS_MAX);
            assert_eq!(
                (found.found.differences, found.found.records),
                (0, inside),
                "seed {seed}"
            );
            assert_eq!((found.equal_to(), found.position()), (end, end));
            digests.extend(found.digests().unwrap());
            let fast = compare(logs, from..end, end, FAST, KEYS_MAX);
            assert_eq!((fast.found.differences, fast.found.records), (0, inside));
            assert_eq!(fast.digests(), None);
        }
        assert_eq!(digests.len(), 1, "seed {seed}");
    }
}

#[test]
fn every_planted_difference_is_found_at_its_offset() {
    for seed in 0..RUNS {
        for kind in 0..6 {
            let random = &mut StdRng::seed_from_u64(seed);
            let good = rows(random);
            let index = random.random_range(0..good.len());
            let offset = good[index].offset;
            let mut bad = good.clone();
            let what = plant(kind, &mut bad, index);
            let end = good[good.len() - 1].offset + 1;
            let one = Log::of(&good, shape(6, true), random);
            let other = Log::of(&bad, shape(6, random.random()), random);
            for (logs, at) in [
                ([&one, &other], Side::Destination),
                ([&other, &one], Side::Source),
            ] {
                for mode in [PLAIN, FAST] {
                    let found = compare(logs, 0..end, end, mode, KEYS_MAX);
                    let first = found.found.first.clone().unwrap();
                    assert_eq!(found.found.differences, 1, "seed {seed} kind {kind}");
                    assert_eq!((first.offset, &first.what), (offset, &what));
                    let missing = (kind == 5).then_some(at);
                    assert_eq!(first.missing_at, missing);
                    assert_eq!(first.source.is_none(), missing == Some(Side::Source));
                    assert_eq!(found.equal_to(), offset);
                    if let Some([source, destination]) = found.digests() {
                        assert_ne!(source, destination);
                    }
                }
            }
        }
    }
}

#[test]
fn the_brokers_timestamp_counts_where_its_clock_gave_it() {
    let random = &mut StdRng::seed_from_u64(3);
    let rows: Vec<Row> = (0..3).map(|offset| row(offset, random)).collect();
    let newest = rows.iter().map(|row| row.timestamp).max().unwrap();
    let stamped: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            timestamp: newest,
            ..row.clone()
        })
        .collect();
    let mut by_broker = Log::of(&rows, shape(1, false), random);
    by_broker = by_broker.map(|batch| log_append_time(&batch));
    // One record a batch: each has its own timestamp, which the broker's bit does not change.
    let rebuilt = Log::of(&rows, shape(1, false), random);
    let found = compare([&by_broker, &rebuilt], 0..3, 3, PLAIN, KEYS_MAX);
    assert_eq!(found.found.differences, 0);
    let by_broker = Log::one_batch(&rows).map(|batch| log_append_time(&batch));
    let rebuilt = Log::one_batch(&stamped);
    let found = compare([&by_broker, &rebuilt], 0..3, 3, PLAIN, KEYS_MAX);
    assert_eq!(found.found.differences, 0);
    let found = compare(
        [&by_broker, &Log::one_batch(&rows)],
        0..3,
        3,
        PLAIN,
        KEYS_MAX,
    );
    assert_eq!(found.found.first.unwrap().what, [What::Timestamp]);
}

#[test]
fn what_a_log_start_has_passed_is_no_difference() {
    let random = &mut StdRng::seed_from_u64(4);
    let rows: Vec<Row> = (0..20).map(|offset| row(offset, random)).collect();
    let whole = Log::of(&rows, shape(4, false), random);
    let later = Log::of(&rows[12..], shape(4, false), random);
    let mut pieces = later.pieces(12..20, random);
    pieces.insert(0, Piece::StartsAt(12));
    let at = TopicPartition::new("t", 0);
    let mut compare = Compare::new(at, 0..20, PLAIN, KEYS_MAX, Arc::default());
    feed(&mut compare, [whole.pieces(0..20, random), pieces]);
    assert_eq!((compare.found.differences, compare.found.retired), (0, 12));
    assert_eq!(compare.found.records, 8);
}

#[test]
fn hostile_bytes_are_named_with_their_side() {
    let at = TopicPartition::new("t", 0);
    let mut compare = Compare::new(at, 0..9, PLAIN, KEYS_MAX, Arc::default());
    compare.give(Side::Source, Piece::End).unwrap();
    let records = Bytes::from(vec![0xff; 200]);
    let aborted = Vec::new();
    let given = compare.give(Side::Destination, Piece::Records { records, aborted });
    let refused = given.and_then(|()| compare.run());
    assert_eq!(refused.unwrap_err().side, Side::Destination);
}

#[test]
fn a_header_that_is_damaged_is_named_where_the_records_are_the_same() {
    let random = &mut StdRng::seed_from_u64(5);
    let rows: Vec<Row> = (0..9).map(|offset| row(offset, random)).collect();
    let damaged = || {
        Log::one_batch(&rows).map(|batch| {
            let mut bytes = batch.to_vec();
            // A byte of the producer's id.
            bytes[45] ^= 1;
            bytes.into()
        })
    };
    for mode in [PLAIN, FAST] {
        for side in Side::BOTH {
            let mut logs = [Log::one_batch(&rows), Log::one_batch(&rows)];
            logs[side.index()] = damaged();
            let at = TopicPartition::new("t", 0);
            let mut compare = Compare::new(at, 0..9, mode, KEYS_MAX, Arc::default());
            for (given, log) in Side::BOTH.into_iter().zip(&logs) {
                for piece in log.pieces(0..9, random) {
                    compare.give(given, piece).unwrap();
                }
            }
            let refused = compare.run().unwrap_err();
            assert_eq!(refused.side, side);
            assert!(refused.what.contains("checksum"), "{}", refused.what);
        }
    }
}

/// The updates of some keys, tombstones among them.
fn updates(random: &mut StdRng) -> Vec<Row> {
    (0..random.random_range(1..70))
        .map(|offset| Row {
            offset,
            timestamp: offset,
            key: Some(vec![random.random_range(b'a'..b'k')]),
            value: random.random_bool(0.7).then(|| vec![random.random()]),
            headers: Vec::new(),
        })
        .collect()
}

/// What a cleaner leaves that has worked up to an offset, and dropped tombstones below another.
fn cleaned(rows: &[Row], until: i64, tombstones_until: i64) -> Vec<Row> {
    let mut newest = BTreeMap::new();
    for row in rows.iter().filter(|row| row.offset < until) {
        newest.insert(row.key.clone(), row.offset);
    }
    let stays = |row: &&Row| {
        let last = newest.get(&row.key).is_none_or(|last| *last == row.offset);
        let expired = row.value.is_none() && row.offset < tombstones_until.min(until);
        row.offset >= until || (last && !expired)
    };
    rows.iter().filter(stays).cloned().collect()
}

#[test]
fn cleaners_that_run_apart_make_no_difference() {
    for seed in 0..RUNS {
        let random = &mut StdRng::seed_from_u64(seed);
        let all = updates(random);
        let end = all.len() as i64;
        let sides: [Vec<Row>; 2] = std::array::from_fn(|_| {
            let (until, tombstones) = (random.random_range(0..=end), random.random_range(0..=end));
            cleaned(&all, until, tombstones)
        });
        let logs = sides
            .each_ref()
            .map(|rows| Log::of(rows, shape(4, false), random));
        let to = random.random_range(0..=end);
        let found = compare([&logs[0], &logs[1]], 0..to, end, COMPACTED, KEYS_MAX);
        let first = &found.found.first;
        assert_eq!(found.found.differences, 0, "seed {seed}: {first:?}");
        let [source, destination] = found.digests().unwrap();
        assert_eq!(source, destination);
        let below = |rows: &[Row]| rows.iter().filter(|row| row.offset < to).count() as u64;
        let one_sided = found.held.superseded + found.held.cleaned;
        assert_eq!(
            below(&sides[0]) + below(&sides[1]),
            2 * found.found.records + one_sided
        );
    }
}

/// What must not happen to a compacted log: the last value of a key is gone, or its tombstone before older values are.
#[test]
fn a_key_that_lost_its_last_record_is_found() {
    let mut planted = 0;
    for seed in 0..RUNS {
        let random = &mut StdRng::seed_from_u64(seed);
        let all = updates(random);
        let end = all.len() as i64;
        let good = cleaned(&all, random.random_range(0..=end), 0);
        let mut bad = cleaned(&all, random.random_range(0..=end), 0);
        let key = all[random.random_range(0..all.len())].key.clone();
        let of_key: Vec<usize> = (0..bad.len()).filter(|at| bad[*at].key == key).collect();
        let last = of_key[of_key.len() - 1];
        if bad[last].value.is_none() && of_key.len() == 1 {
            // Nothing older stands: the tombstone may go.
            continue;
        }
        planted += 1;
        let gone = bad.remove(last);
        let logs = [&good, &bad].map(|rows| Log::of(rows, shape(4, false), random));
        for (pair, side) in [
            ([&logs[0], &logs[1]], Side::Destination),
            ([&logs[1], &logs[0]], Side::Source),
        ] {
            let found = compare(pair, 0..end, end, COMPACTED, KEYS_MAX);
            let first = found.found.first.clone().unwrap();
            assert_eq!(first.missing_at, Some(side), "seed {seed}");
            // Older records of the key that only the other side still has are as unsuperseded as the last one.
            assert!(first.offset <= gone.offset && found.found.differences > 0);
            assert_eq!(found.equal_to(), first.offset);
        }
    }
    assert!(planted > RUNS / 2, "{planted}");
}

#[test]
fn keys_beyond_the_bound_are_unresolved_and_not_equal() {
    let random = &mut StdRng::seed_from_u64(9);
    let all: Vec<Row> = (0..40u8)
        .map(|number| Row {
            offset: number.into(),
            timestamp: 0,
            key: Some(vec![number % 20]),
            value: Some(vec![number]),
            headers: Vec::new(),
        })
        .collect();
    let whole = Log::of(&all, shape(4, false), random);
    let clean = Log::of(&cleaned(&all, 40, 0), shape(4, false), random);
    let found = compare([&whole, &clean], 0..40, 40, COMPACTED, 5);
    assert_eq!(found.found.differences, 0);
    assert_eq!((found.held.superseded, found.held.unresolved), (5, 15));
    assert_eq!(found.equal_to(), 5);
    let found = compare([&whole, &clean], 0..40, 40, COMPACTED, 20);
    assert_eq!((found.held.superseded, found.held.unresolved), (20, 0));
    assert_eq!(found.equal_to(), 40);
}
