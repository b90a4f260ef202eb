//! What a frame costs in the wire crate alone: the walk of a Produce, the patching of a Fetch response.

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lockgate_wire::fetch_stream::FetchStream;
use lockgate_wire::produce;

/// The read buffer of a session.
const CHUNK_BYTES: usize = 64 << 10;
const BATCH_BYTES: usize = 16 << 10;
const PARTITIONS: usize = 8;

/// A batch as far as a walker looks at it: a header of magic 2 and a payload.
fn batch(bytes: usize) -> Vec<u8> {
    let mut batch = vec![0_u8; bytes];
    batch[8..12].copy_from_slice(&((bytes - 12) as i32).to_be_bytes());
    batch[16] = 2;
    batch[43..51].copy_from_slice(&(1_i64 << 62).to_be_bytes());
    batch
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

/// A version 8 Produce body with one topic.
fn produce_body() -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i16(-1);
    body.put_i16(-1);
    body.put_i32(30_000);
    body.put_i32(1);
    put_string(&mut body, "orders");
    body.put_i32(PARTITIONS as i32);
    for index in 0..PARTITIONS {
        body.put_i32(index as i32);
        body.put_i32(BATCH_BYTES as i32);
        body.put_slice(&batch(BATCH_BYTES));
    }
    body
}

/// A version 11 Fetch response with one topic, its header included.
fn fetch_body(batches: usize) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i32(7);
    body.put_i32(0);
    body.put_i16(0);
    body.put_i32(0);
    body.put_i32(1);
    put_string(&mut body, "orders");
    body.put_i32(PARTITIONS as i32);
    for index in 0..PARTITIONS {
        body.put_i32(index as i32);
        body.put_i16(0);
        body.put_i64(1_000_000);
        body.put_i64(1_000_000);
        body.put_i64(0);
        body.put_i32(-1);
        body.put_i32(-1);
        body.put_i32((batches * BATCH_BYTES) as i32);
        for _ in 0..batches {
            body.put_slice(&batch(BATCH_BYTES));
        }
    }
    body
}

fn walk_produce(criterion: &mut Criterion) {
    let body = produce_body();
    let mut request = produce::Request::default();
    let mut group = criterion.benchmark_group("produce");
    group.bench_function("walk 8 partitions", |bencher| {
        bencher.iter(|| {
            request
                .walk(8, black_box(&body))
                .map(|()| request.partitions.len())
        });
    });
    group.finish();
}

fn stream_fetch(criterion: &mut Criterion) {
    let body = fetch_body(16);
    let mut group = criterion.benchmark_group("fetch");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("patch 128 batches of 16 KiB in 64 KiB chunks", |bencher| {
        bencher.iter_batched(
            || body.clone(),
            |mut body| {
                let mut stream =
                    FetchStream::new(11, body.len()).expect("a version the walker knows");
                let mut start = 0;
                let mut end = CHUNK_BYTES.min(body.len());
                while start < body.len() {
                    // What the walker withholds is fed again with the next chunk.
                    start += stream
                        .feed(&mut body[start..end])
                        .expect("a well-formed body");
                    end = (start + CHUNK_BYTES).min(body.len());
                }
                stream.counters().batches
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(wire, walk_produce, stream_fetch);
criterion_main!(wire);
