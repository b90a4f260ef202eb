//! One transaction under the id `lockgate-state`: the brokers see to it that only the newest coordinator writes.
//!
//! Every step may be repeated: AddPartitionsToTxn and EndTxn are idempotent under one producer epoch, and a repeated
//! Produce is recognised by its sequence. So each is retried through coordinator and leader changes until the deadline.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, ProducerId,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use lockgate_wire::records::{BatchSpec, NewRecord, Producer, batch};
use tokio::time::Instant;

use super::entry::{Entries, encode};
use super::topic;
use crate::error::{Error, Kind, Result};
use crate::route::STATE_TOPIC;
use crate::upstream::{Cluster, OwnRequest, Target};

const TRANSACTIONAL_ID: &str = "lockgate-state";
/// After this long the brokers abort a transaction that a dead coordinator left open, and take its epoch away.
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
/// How long one request may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of one batch, well below `max.message.bytes` (1 MiB by default).
const BATCH_BYTES_MAX: usize = 512 << 10;
/// What a record's lengths, deltas and count of headers take at most.
const RECORD_OVERHEAD: usize = 32;
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(200);
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const PRODUCER_FENCED: i16 = 90;

/// A record's key and value.
type Encoded = (Vec<u8>, Vec<u8>);

/// The right to write one copy, until a newer coordinator takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    producer_id: i64,
    epoch: i16,
    sequence: i32,
}

impl Writer {
    /// Fences every predecessor and ends what it left open. With `previous`, only if no other coordinator has come in
    /// between (KIP-360): a coordinator that was paused must not fence its successor.
    pub(super) async fn begin(
        cluster: &Cluster,
        previous: Option<Self>,
        deadline: Instant,
    ) -> Result<Self> {
        let (id, epoch) = previous.map_or((-1, -1), |writer| (writer.producer_id, writer.epoch));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id()))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch);
        let answer = ask(
            cluster,
            &request,
            |answer| answer.error_code,
            deadline,
            "InitProducerId",
        )
        .await?;
        Ok(Self {
            producer_id: answer.producer_id.0,
            epoch: answer.producer_epoch,
            sequence: 0,
        })
    }

    /// Writes entries in one transaction. An error leaves the outcome open.
    pub(super) async fn write(
        &mut self,
        cluster: &Cluster,
        entries: &Entries,
        now_ms: i64,
        deadline: Instant,
    ) -> Result<()> {
        let encoded = entries
            .iter()
            .map(|(key, versioned)| encode(key, versioned))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::internal)?;
        self.add_partition(cluster, deadline).await?;
        for together in batches(&encoded) {
            let records = self.batch(together, now_ms)?;
            self.produce(cluster, records, deadline).await?;
            self.sequence = self
                .sequence
                .wrapping_add(i32::try_from(together.len()).unwrap_or(i32::MAX))
                & i32::MAX;
        }
        self.end(cluster, true, deadline).await
    }

    /// Ends a transaction that may be open: the brokers take the epoch away from whoever is initialised again in the
    /// middle of one, also from its owner. Its answer decides nothing.
    pub(super) async fn abort(&self, cluster: &Cluster, deadline: Instant) {
        if let Err(error) = self.end(cluster, false, deadline).await {
            tracing::debug!(side = %cluster.side(), %error, "no transaction was aborted");
        }
    }

    async fn end(&self, cluster: &Cluster, committed: bool, deadline: Instant) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_committed(committed);
        let code = |answer: &kafka_protocol::messages::EndTxnResponse| answer.error_code;
        ask(cluster, &request, code, deadline, "EndTxn").await?;
        Ok(())
    }

    fn batch(&self, encoded: &[Encoded], now_ms: i64) -> Result<Bytes> {
        let records: Vec<NewRecord<'_>> = encoded
            .iter()
            .map(|(key, value)| NewRecord {
                timestamp: now_ms,
                key: Some(key),
                value: Some(value),
                headers: &[],
            })
            .collect();
        let spec = BatchSpec {
            producer: Some(Producer {
                id: lockgate_wire::producer_id::ProducerId::new(self.producer_id),
                epoch: self.epoch,
                base_sequence: self.sequence,
            }),
            transactional: true,
            ..BatchSpec::default()
        };
        batch(&records, spec)
            .map_err(|cause| Error::internal("a state batch cannot be built").because(cause))
    }

    async fn add_partition(&self, cluster: &Cluster, deadline: Instant) -> Result<()> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic::name())
            .with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id())
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        // One partition was asked for: its code is the answer's.
        let code = |answer: &kafka_protocol::messages::AddPartitionsToTxnResponse| {
            let results = answer.results_by_topic_v3_and_below.iter();
            let partition = results
                .flat_map(|topic| &topic.results_by_partition)
                .next()
                .map(|result| result.partition_error_code);
            partition.unwrap_or(answer.error_code)
        };
        ask(cluster, &request, code, deadline, "AddPartitionsToTxn").await?;
        Ok(())
    }

    async fn produce(&self, cluster: &Cluster, records: Bytes, deadline: Instant) -> Result<()> {
        let partition = PartitionProduceData::default()
            .with_index(0)
            .with_records(Some(records));
        let data = TopicProduceData::default()
            .with_name(topic::name())
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(transactional_id()))
            .with_acks(-1)
            .with_timeout_ms(i32::try_from(CALL_TIMEOUT.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(vec![data]);
        let mut backoff = BACKOFF_FIRST;
        loop {
            let answer = cluster
                .call_within(Target::Leader(STATE_TOPIC, 0), &request, CALL_TIMEOUT)
                .await;
            let error = match answer {
                Ok(answer) => {
                    let responses = answer.responses.iter();
                    let partition = responses
                        .flat_map(|topic| &topic.partition_responses)
                        .next();
                    match partition.map_or(-1, |partition| partition.error_code) {
                        0 | DUPLICATE_SEQUENCE_NUMBER => return Ok(()),
                        code => refusal(cluster, code, "Produce"),
                    }
                }
                Err(error) => error,
            };
            pause(error, &mut backoff, deadline).await?;
            // A broker that is gone or no longer the leader: the next attempt asks the new one.
            let _ = cluster.refresh().await;
        }
    }
}

/// What goes into one batch each: brokers refuse a larger one, and everything that waits for the state with it.
fn batches(encoded: &[Encoded]) -> impl Iterator<Item = &[Encoded]> {
    let mut left = encoded;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = left.iter().take_while(|(key, value)| {
            bytes += key.len() + value.len() + RECORD_OVERHEAD;
            bytes <= BATCH_BYTES_MAX
        });
        // A record that is too large alone is the broker's to refuse.
        let (first, rest) = left.split_at(fit.count().max(1).min(left.len()));
        left = rest;
        (!first.is_empty()).then_some(first)
    })
}

/// Whether an error says that another coordinator has taken over.
pub(super) fn is_fenced(error: &Error) -> bool {
    use kafka_protocol::ResponseError::{InvalidProducerEpoch, ProducerFenced};
    matches!(
        error.kind,
        Kind::Kafka(InvalidProducerEpoch | ProducerFenced)
    )
}

fn transactional_id() -> TransactionalId {
    TransactionalId(StrBytes::from_static_str(TRANSACTIONAL_ID))
}

fn refusal(cluster: &Cluster, code: i16, api: &str) -> Error {
    let doing = match code {
        INVALID_PRODUCER_EPOCH | PRODUCER_FENCED => {
            format!("{api} for the state: another Lockgate has taken over the state")
        }
        _ => format!("{api} for the state"),
    };
    // The same words whichever of the two codes a broker's age makes it answer.
    Error::kafka(cluster.side(), code, doing)
}

/// Asks the transaction coordinator until it answers for good or the deadline passes.
async fn ask<R: OwnRequest>(
    cluster: &Cluster,
    request: &R,
    code: impl Fn(&R::Response) -> i16,
    deadline: Instant,
    api: &str,
) -> Result<R::Response> {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let target = Target::TransactionalId(TRANSACTIONAL_ID);
        let error = match cluster.call_within(target, request, CALL_TIMEOUT).await {
            Ok(answer) => match code(&answer) {
                0 => return Ok(answer),
                code => refusal(cluster, code, api),
            },
            Err(error) => error,
        };
        pause(error, &mut backoff, deadline).await?;
    }
}

/// Waits before the next attempt; gives the error back where there is none.
async fn pause(error: Error, backoff: &mut Duration, deadline: Instant) -> Result<()> {
    let concurrent =
        matches!(error.kind, Kind::Kafka(code) if code.code() == CONCURRENT_TRANSACTIONS);
    if !(concurrent || error.is_retriable()) || Instant::now() + *backoff >= deadline {
        return Err(error);
    }
    tokio::time::sleep(*backoff).await;
    *backoff = (*backoff * 2).min(BACKOFF_MAX);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_batch_is_larger_than_brokers_take() {
        let links: Vec<Encoded> = (0..20_000).map(|_| (vec![1; 60], vec![2; 60])).collect();
        let writer = Writer {
            producer_id: 1,
            epoch: 0,
            sequence: 0,
        };
        let mut records = 0;
        for together in batches(&links) {
            records += together.len();
            assert!(writer.batch(together, 1).unwrap().len() < 1 << 20);
        }
        assert_eq!(records, links.len());
        let large: Vec<Encoded> = vec![(vec![1], vec![2; BATCH_BYTES_MAX]); 2];
        assert_eq!(batches(&large).count(), 2);
        assert_eq!(batches(&[]).count(), 0);
    }
}
