//! A Produce that does not go to the session's own broker: split by its partitions' leaders, sent over the session's
//! side connections, answered as one.
//!
//! Refused partitions that may be written later are sent again in order, with fresh metadata, for [`RETRY_MAX`] at
//! most. A part whose answer was lost is sent again only if every batch in it is idempotent: the broker then
//! recognises its copy. Otherwise the whole request fails, and the client's connection is closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use lockgate_wire::WireError;
use lockgate_wire::produce::{self, Part, PartitionResponse, ResponseWriter};
use lockgate_wire::producer_id::ProducerIdKind;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Forwards;
use super::requests::within;
use super::slots::response_frame;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Clusters, RawRequest};
use crate::words::{Side, UpstreamNode};

/// How long refusals are tried again.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// What a broker may take for an answer beyond the request's own timeout.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Whatever a request's own timeout says.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Kafka's REQUEST_TIMED_OUT: it may have been written.
const REQUEST_TIMED_OUT: i16 = 7;
/// Kafka's NOT_LEADER_OR_FOLLOWER.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// One request on its way to the homes of its topics.
pub(super) struct Forward<'a> {
    pub(super) clusters: &'a Clusters,
    pub(super) forwards: &'a Forwards,
    pub(super) client_id: Option<Arc<str>>,
    pub(super) version: i16,
    pub(super) body: Bytes,
    pub(super) request: &'a produce::Request,
    /// By partition: its home, or why it is refused.
    pub(super) sides: Vec<Result<Side, i16>>,
}

/// How everything went.
pub(super) struct Outcome {
    /// One per partition, in the order of the request.
    pub(super) answers: Vec<PartitionResponse>,
    /// A broker may still write what is answered as refused.
    pub(super) ambiguous: bool,
}

/// One partition's way.
#[derive(Debug)]
enum Fate {
    /// Still to be written; the last refusal.
    Due { code: i16, in_doubt: bool },
    Answered {
        answer: PartitionResponse,
        in_doubt: bool,
    },
}

impl Fate {
    /// Nobody knows what became of the last try.
    const LOST: Self = Self::Due {
        code: REQUEST_TIMED_OUT,
        in_doubt: true,
    };

    /// What a broker's answer makes of it. A later refusal says nothing of an earlier try that was lost; that it is
    /// written does, since an idempotent batch is written once.
    fn answered(&self, answer: PartitionResponse, is_retriable: bool) -> Self {
        let code = answer.error_code;
        let in_doubt = code != 0 && (self.in_doubt() || code == REQUEST_TIMED_OUT);
        if is_retriable {
            Self::Due { code, in_doubt }
        } else {
            Self::Answered { answer, in_doubt }
        }
    }

    /// Whether a broker may still write it, whatever was answered last.
    fn in_doubt(&self) -> bool {
        let (Self::Due { in_doubt, .. } | Self::Answered { in_doubt, .. }) = self;
        *in_doubt
    }
}

type Parts = BTreeMap<(Side, UpstreamNode), Vec<usize>>;

impl Forward<'_> {
    /// Sends everything, and again what was refused; one answer per partition, in the order of the request.
    pub(super) async fn run(&self) -> Result<Outcome> {
        let deadline = Instant::now() + RETRY_MAX;
        let mut fates: Vec<Fate> = self
            .sides
            .iter()
            .enumerate()
            .map(|(at, side)| match side {
                Ok(_) => Fate::Due {
                    code: NOT_LEADER_OR_FOLLOWER,
                    in_doubt: false,
                },
                Err(code) => Fate::Answered {
                    answer: self.refused(at, *code),
                    in_doubt: false,
                },
            })
            .collect();
        loop {
            self.round(&mut fates).await?;
            if fates
                .iter()
                .all(|fate| matches!(fate, Fate::Answered { .. }))
            {
                break;
            }
            if Instant::now() >= deadline {
                self.give_up(&fates)?;
                break;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            self.refresh(&fates).await;
        }
        let ambiguous = fates.iter().any(Fate::in_doubt);
        let answers = fates.into_iter().enumerate().map(|(at, fate)| match fate {
            Fate::Answered { answer, .. } => answer,
            Fate::Due { code, .. } => self.refused(at, code),
        });
        Ok(Outcome {
            answers: answers.collect(),
            ambiguous,
        })
    }

    /// The answer's frame.
    pub(super) fn response(
        &self,
        correlation_id: i32,
        answers: &[PartitionResponse],
        throttle_ms: i32,
    ) -> Result<Bytes, WireError> {
        response_frame(produce::API_KEY, self.version, correlation_id, |out| {
            let topics = || answers.chunk_by(|one, next| one.topic == next.topic);
            let mut writer = ResponseWriter::new(out, self.version, topics().count())?;
            for partitions in topics() {
                let name = partitions[0].topic(&self.body);
                writer.topic(name, partitions.iter())?;
            }
            writer.finish(throttle_ms);
            Ok(())
        })
    }

    /// After the last try: what was refused is answered so. Where nothing was written at all, the client had better
    /// send the whole request again than see a refusal that reorders it (trap 8).
    fn give_up(&self, fates: &[Fate]) -> Result<()> {
        let written =
            |fate: &Fate| matches!(fate, Fate::Answered { answer, .. } if answer.error_code == 0);
        if fates.iter().any(written) || !fates.iter().any(is_reordering) {
            return Ok(());
        }
        let what = format!("no leader took it within {RETRY_MAX:?}");
        Err(Error::new(self.first_side(), Kind::TimedOut, what))
    }

    fn first_side(&self) -> Side {
        let first = self.sides.iter().find_map(|side| side.as_ref().ok());
        first.copied().unwrap_or(Side::Source)
    }

    /// One try of everything that is due: to all leaders at once, each partition once.
    async fn round(&self, fates: &mut [Fate]) -> Result<()> {
        let mut sent = Vec::new();
        for ((side, node), parts) in self.by_leader(fates) {
            // What was not sent is not ambiguous: it stays due.
            if let Ok(answer) = self.send(side, node, &parts).await {
                sent.push((side, node, parts, answer));
            }
        }
        let mut lost = None;
        for (side, node, parts, answer) in sent {
            let body = match within(self.answer_max(), answer).await {
                Some(Ok(Ok(body))) => body,
                _ if self.is_idempotent(&parts) => {
                    for at in parts {
                        fates[at] = Fate::LOST;
                    }
                    continue;
                }
                _ => {
                    let what = format!("the answer of broker {node} was lost");
                    lost = Some(Error::new(side, Kind::Disconnected, what));
                    continue;
                }
            };
            self.settle(side, &body, &parts, fates)?;
        }
        lost.map_or(Ok(()), Err)
    }

    fn by_leader(&self, fates: &[Fate]) -> Parts {
        let mut parts = Parts::new();
        let (source, destination) = (
            self.clusters.source.view(),
            self.clusters.destination.view(),
        );
        for (at, partition) in self.request.partitions.iter().enumerate() {
            let (Some(Fate::Due { .. }), Some(Ok(side))) = (fates.get(at), self.sides.get(at))
            else {
                continue;
            };
            let view = match side {
                Side::Source => &source,
                Side::Destination => &destination,
            };
            if let Some(node) = view.leader(partition.topic(&self.body), partition.index) {
                parts.entry((*side, node)).or_default().push(at);
            }
        }
        parts
    }

    async fn send(
        &self,
        side: Side,
        node: UpstreamNode,
        parts: &[usize],
    ) -> Result<oneshot::Receiver<Result<Bytes>>> {
        let connection = self.forwards.connection(side, node).await?;
        let parts: Vec<Part<'_>> = parts.iter().map(|at| self.part(*at)).collect();
        let mut body = Vec::with_capacity(parts.len() * 2 + 1);
        let acks = if self.request.acks == 0 {
            1
        } else {
            self.request.acks
        };
        produce::build_request(
            self.version,
            self.request.transactional_id(&self.body),
            acks,
            self.request.timeout_ms,
            &parts,
            bytes::BytesMut::new(),
            &mut body,
        )
        .map_err(|cause| Error::internal("a Produce could not be built").because(cause))?;
        let request = RawRequest {
            api_key: produce::API_KEY,
            version: self.version,
            client_id: self.client_id.clone(),
            body,
        };
        connection.send_raw(request).await
    }

    fn part(&self, at: usize) -> Part<'_> {
        let partition = &self.request.partitions[at];
        let records = partition.records.clone();
        Part {
            topic: partition.topic(&self.body),
            partition: partition.index,
            records: records.map_or_else(Bytes::new, |range| self.body.slice(range)),
        }
    }

    /// Takes a broker's answers over.
    fn settle(&self, side: Side, body: &Bytes, parts: &[usize], fates: &mut [Fate]) -> Result<()> {
        let mut response = produce::Response::default();
        response.walk(self.version, body).map_err(|cause| {
            Error::new(side, Kind::Malformed, "a Produce answer cannot be read").because(cause)
        })?;
        // Brokers answer in the order of the request, so the search begins behind the last find.
        let mut next = 0;
        for mut answer in response.partitions {
            let of = |at: &usize| {
                let partition = &self.request.partitions[*at];
                partition.index == answer.index
                    && partition.topic(&self.body) == answer.topic(body)
                    && matches!(fates[*at], Fate::Due { .. })
            };
            let (before, behind) = parts.split_at(next);
            let found = behind.iter().chain(before).position(of);
            let Some(found) = found.map(|found| (next + found) % parts.len()) else {
                continue;
            };
            next = (found + 1) % parts.len();
            let at = parts[found];
            answer.topic = self.request.partitions[at].topic.clone();
            let is_retriable = self.is_retriable(answer.error_code, at);
            fates[at] = fates[at].answered(answer, is_retriable);
        }
        Ok(())
    }

    /// Refusals that say that nothing was written; where it may have been, only an idempotent batch is sent again.
    fn is_retriable(&self, code: i16, at: usize) -> bool {
        match ResponseError::try_from_code(code) {
            Some(ResponseError::RequestTimedOut | ResponseError::NotEnoughReplicasAfterAppend) => {
                self.is_idempotent(&[at])
            }
            Some(error) => error.is_retriable(),
            None => false,
        }
    }

    fn is_idempotent(&self, parts: &[usize]) -> bool {
        parts.iter().all(|at| {
            let batch = self.request.partitions[*at].batch;
            batch.is_some_and(|batch| batch.producer_id.kind() != ProducerIdKind::None)
        })
    }

    fn answer_max(&self) -> Duration {
        let timeout = u64::try_from(self.request.timeout_ms).unwrap_or(0);
        (Duration::from_millis(timeout) + ANSWER_MARGIN).min(ANSWER_MAX)
    }

    async fn refresh(&self, fates: &[Fate]) {
        for side in Side::BOTH {
            let due = |(at, fate): (usize, &Fate)| {
                matches!(fate, Fate::Due { .. })
                    && matches!(self.sides[at], Ok(home) if home == side)
            };
            if fates.iter().enumerate().any(due) {
                // A cluster that cannot be reached keeps its last view; the next try finds out.
                let _ = self.clusters.on(side).refresh().await;
            }
        }
    }

    fn refused(&self, at: usize, code: i16) -> PartitionResponse {
        let partition = &self.request.partitions[at];
        PartitionResponse {
            topic: partition.topic.clone(),
            index: partition.index,
            error_code: code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
        }
    }
}

/// Refusals that a client meets by sending again, each batch by itself.
fn is_reordering(fate: &Fate) -> bool {
    matches!(fate, Fate::Due { code, .. } if *code != ResponseError::UnknownTopicOrPartition.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_settle_an_answer_that_was_lost() {
        let answer = |error_code| PartitionResponse {
            topic: 0..0,
            index: 0,
            error_code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
        };
        let refused = Fate::LOST.answered(answer(NOT_LEADER_OR_FOLLOWER), true);
        assert!(refused.in_doubt());
        assert!(!refused.answered(answer(0), false).in_doubt());
        // A refusal for good does not settle it either.
        let denied = ResponseError::TopicAuthorizationFailed.code();
        assert!(refused.answered(answer(denied), false).in_doubt());
        let due = Fate::Due {
            code: NOT_LEADER_OR_FOLLOWER,
            in_doubt: false,
        };
        assert!(
            !due.answered(answer(NOT_LEADER_OR_FOLLOWER), true)
                .in_doubt()
        );
        assert!(due.answered(answer(REQUEST_TIMED_OUT), true).in_doubt());
    }
}
