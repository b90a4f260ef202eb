//! One Produce: walked in place, decided under a snapshot whose permit it holds, then passed on to the session's own
//! broker as it stands, parked, or forwarded.
//!
//! The races, and why they are none:
//!
//! - Between the snapshot and the write: the permit is taken before the decision and belongs to the snapshot it is
//!   decided under; a fence published meanwhile waits for it, also while the frame is half written.
//! - Behind a parked request: later frames stay in the read buffer and are decided after it, in order.
//! - From passing to forwarding on one connection: a forward waits until everything passed before is answered.
//! - Between a client's old and new connection: the first direct Produce of a topic under a generation waits for the
//!   client's requests that were read, not only decided, on the other side.

use std::time::Duration;

use bytes::Bytes;
use lockgate_wire::producer_id::ProducerIdKind;
use tokio::time::Instant;

use super::clients::{ClientKey, Unanswered};
use super::ended::{Ended, Step};
use super::forward::{Forward, Outcome};
use super::inbound::Head;
use super::metrics::{Counted, Forwarded};
use super::requests::{ClientGone, Requests, within};
use super::retire;
use super::slots::{Answer, Slot};
use super::topics::TopicIndex;
use crate::route::{Permit, Phase, RouteId, Snapshot};
use crate::words::Side;

/// Kafka's TOPIC_AUTHORIZATION_FAILED: a topic that no route may hold.
pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// Kafka's INVALID_PRODUCER_ID_MAPPING: an id of Lockgate's own range.
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
/// How long a forward waits for what was passed on before it; beyond every client's request timeout.
const DIRECT_MAX: Duration = Duration::from_secs(60);
/// Partitions for which storage is kept from request to request.
pub(super) const PARTITIONS_KEPT: usize = 1024;
/// The least time that is left to wait for, so that a wait is tried at all.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// What one request is about; storage is reused from request to request.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// By partition of the request: its topic, or why it is refused.
    pub(super) partitions: Vec<Result<TopicIndex, i16>>,
    /// Distinct topics and their routes.
    topics: Vec<(TopicIndex, RouteId)>,
    /// The number of this request on its connection.
    number: u64,
}

impl Decision {
    fn begin(&mut self) {
        self.partitions.clear();
        self.partitions.shrink_to(PARTITIONS_KEPT);
        self.topics.clear();
        self.topics.shrink_to(PARTITIONS_KEPT);
        self.number += 1;
    }
}

/// Where a request goes under one snapshot.
enum Way {
    /// To the session's own broker, as it stands.
    Direct(Permit),
    /// Nowhere now: a route is fenced.
    Park,
    /// Older requests of the same client come first.
    After,
    /// To the homes of its topics, over side connections.
    Forward(Permit, Homes),
}

struct Homes {
    /// By partition.
    sides: Vec<Result<Side, i16>>,
    /// The client has to be moved off this node.
    retire: bool,
}

impl Requests {
    pub(super) async fn produce(&mut self, head: Head) -> Step<()> {
        self.whole(head).await?;
        self.walked.partitions.clear();
        self.walked.partitions.shrink_to(PARTITIONS_KEPT);
        let body = self.inbound.body(head);
        self.walked
            .walk(head.version, body)
            .map_err(|cause| Ended::body("a Produce", &cause))?;
        if self.inbound.closed() && self.walked.acks != 0 {
            // It was read behind a request that waited, and its client is gone: it was never answered, so the client
            // sends it again.
            return Err(Ended::Client);
        }
        self.classify(head)?;
        let deadline = Instant::now() + self.path.park_max;
        loop {
            self.revive().await?;
            match self.way() {
                Way::Direct(permit) => return self.direct(head, permit).await,
                Way::Park => Box::pin(self.park(deadline)).await?,
                Way::After => Box::pin(self.after_older(deadline)).await?,
                Way::Forward(permit, homes) => {
                    if self.connection.has_direct() {
                        // Never written, so nothing is lost; decided anew once the way is clear.
                        permit.answered();
                        Box::pin(self.after_direct()).await?;
                        continue;
                    }
                    return Box::pin(self.forward(head, permit, homes)).await;
                }
            }
        }
    }

    /// Finds topics, routes and what must be refused.
    fn classify(&mut self, head: Head) -> Step<()> {
        let body = self.inbound.body(head);
        let snapshot = self.path.routes.load();
        let transactional = self.walked.transactional_id.is_some();
        self.decision.begin();
        let mut last = None;
        for partition in &self.walked.partitions {
            let index = match &last {
                Some((topic, index)) if *topic == partition.topic => *index,
                _ => self.topics.index(partition.topic(body), &snapshot.table)?,
            };
            last = Some((partition.topic.clone(), index));
            let topic = self.topics.get_mut(index);
            let id = partition.batch.map(|batch| batch.producer_id);
            let kind = id.map_or(
                ProducerIdKind::None,
                lockgate_wire::producer_id::ProducerId::kind,
            );
            let Some(route) = topic.route else {
                self.decision
                    .partitions
                    .push(Err(TOPIC_AUTHORIZATION_FAILED));
                continue;
            };
            match kind {
                ProducerIdKind::Own => {
                    self.decision
                        .partitions
                        .push(Err(INVALID_PRODUCER_ID_MAPPING));
                    continue;
                }
                ProducerIdKind::Cluster if !transactional => {
                    if let (Some(client), Some(id)) = (&self.client, id)
                        && topic.foreign.replace(id) != Some(id)
                    {
                        self.path.clients.note_foreign(route, client, id.get());
                    }
                }
                ProducerIdKind::None if !topic.sticky => {
                    topic.sticky = true;
                    self.connection.stick(topic.name.clone());
                }
                _ => {}
            }
            self.decision.partitions.push(Ok(index));
            if topic.request != self.decision.number {
                topic.request = self.decision.number;
                self.decision.topics.push((index, route));
                self.connection.wrote(route);
            }
        }
        Ok(())
    }

    /// Decides under the current snapshot. No await in here: what is returned is true of one moment, and the permit
    /// keeps it true.
    fn way(&mut self) -> Way {
        let (snapshot, permit) = self.path.routes.load_with_produce_permit();
        let state = |route: RouteId| snapshot.routes.get(route.0);
        let fenced = |route| state(route).is_none_or(|state| state.phase == Phase::Fenced);
        if self.decision.topics.iter().any(|(_, route)| fenced(*route)) {
            permit.answered();
            return Way::Park;
        }
        let here = |route| state(route).is_some_and(|state| state.home == self.side);
        let direct = self.own.is_alive()
            && self.decision.partitions.iter().all(Result::is_ok)
            && self.decision.topics.iter().all(|(_, route)| here(*route));
        if !direct {
            let homes = self.homes(&snapshot);
            return Way::Forward(permit, homes);
        }
        let mut news = false;
        for (topic, route) in &self.decision.topics {
            let generation = state(*route).map(|state| state.generation);
            let waited = &mut self.topics.get_mut(*topic).waited;
            news |= std::mem::replace(waited, generation) != generation;
        }
        if news
            && let Some(client) = &self.client
            && !self.older(client).is_empty()
        {
            permit.answered();
            return Way::After;
        }
        Way::Direct(permit)
    }

    fn homes(&self, snapshot: &Snapshot) -> Homes {
        let home = |partition: &Result<TopicIndex, i16>| {
            let route = self.topics.get((*partition)?).route;
            let state = route.and_then(|route| snapshot.routes.get(route.0));
            state
                .map(|state| state.home)
                .ok_or(TOPIC_AUTHORIZATION_FAILED)
        };
        Homes {
            sides: self.decision.partitions.iter().map(home).collect(),
            retire: self.decision.topics.iter().any(|(_, route)| {
                let state = snapshot.routes.get(route.0);
                state.is_some_and(|state| state.committed && state.home != self.side)
            }),
        }
    }

    /// Passes the frame on as it stands; acks=0 as acks=1, so that its end is seen.
    async fn direct(&mut self, head: Head, permit: Permit) -> Step<()> {
        let ticket = self.connection.direct_ticket(permit);
        let answer = if self.walked.acks == 0 {
            let body = &mut self.inbound.frame_mut(head)[head.body..];
            self.walked.set_acks(body, 1);
            Answer::Swallow {
                ticket,
                version: head.version,
            }
        } else {
            Answer::Produce(ticket)
        };
        self.push(Slot::Upstream {
            correlation_id: head.correlation_id,
            answer,
        })
        .await?;
        self.inbound.pass(head.length);
        Ok(())
    }

    /// Holds the request until none of its routes is fenced. Nothing is parked for longer than `PARK_MAX`: then the
    /// connection is closed unforwarded and the client, never answered, sends it again.
    async fn park(&mut self, deadline: Instant) -> Step<()> {
        let _parked = Counted::new(&self.path.metrics.parked);
        let routes: Vec<RouteId> = self
            .decision
            .topics
            .iter()
            .map(|(_, route)| *route)
            .collect();
        let path = self.path.clone();
        let opened = async move {
            let mut changed = path.routes.subscribe();
            loop {
                let snapshot = path.routes.load_full();
                let fenced = |route: &RouteId| {
                    let state = snapshot.routes.get(route.0);
                    state.is_none_or(|state| state.phase == Phase::Fenced)
                };
                if !routes.iter().any(fenced) || changed.changed().await.is_err() {
                    return;
                }
            }
        };
        match self
            .while_reading(self.when_gone(), within(left(deadline), opened))
            .await?
        {
            Some(()) => Ok(()),
            None => Err(Ended::Unserved(format!(
                "a Produce was parked for {:?} and its route did not open",
                self.path.park_max
            ))),
        }
    }

    /// The client's requests on the other side that may have to do with this one.
    fn older(&self, client: &ClientKey) -> Unanswered {
        let routes = self.decision.topics.iter().map(|(_, route)| *route);
        let clients = &self.path.clients;
        clients.unanswered(client, self.side.other(), routes)
    }

    /// Waits, bounded, for the client's older requests on the other side: those that were read by now.
    async fn after_older(&mut self, deadline: Instant) -> Step<()> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        let older = self.older(client);
        let wait = within(left(deadline), older.answered());
        if self.while_reading(self.when_gone(), wait).await?.is_none() {
            // The broker itself judges the order of an idempotent client; another's, which the sticky view keeps on its
            // old connection as long as it lasts, is not waited for any longer.
            tracing::debug!(side = %self.side, "older requests of a client did not end in time");
        }
        Ok(())
    }

    /// Waits until everything passed on before is answered, so that a forward cannot overtake it.
    async fn after_direct(&mut self) -> Step<()> {
        let connection = self.connection.clone();
        let answered = async move { connection.direct_answered().await };
        match self
            .while_reading(self.when_gone(), within(DIRECT_MAX, answered))
            .await?
        {
            Some(()) => Ok(()),
            None => Err(Ended::Unserved(format!(
                "the session's broker did not answer a Produce within {DIRECT_MAX:?}"
            ))),
        }
    }

    /// What has no answer is finished without its client; the rest was never answered, so the client sends it again.
    fn when_gone(&self) -> ClientGone {
        if self.walked.acks == 0 {
            ClientGone::GoOn
        } else {
            ClientGone::Stop
        }
    }

    /// Sends the request to its topics' homes, waits, and answers as one broker would.
    async fn forward(&mut self, head: Head, permit: Permit, homes: Homes) -> Step<()> {
        self.flush().await?;
        let frame: Bytes = self.inbound.take(head).freeze();
        // Once it ends, the request counts as over for the client's newer connections.
        let ticket = self.connection.forward_ticket(permit);
        let request = std::mem::take(&mut self.walked);
        let (acks, path, forwards) = (request.acks, self.path.clone(), self.forwards.clone());
        let forward = Forward {
            clusters: &path.clusters,
            forwards: &forwards,
            client_id: self.client.as_ref().map(|client| client.client_id.clone()),
            version: head.version,
            body: frame.slice(head.body..),
            request: &request,
            sides: homes.sides,
        };
        // What may already be at a broker is followed to its end, whether its client is there or not.
        let result = self.while_reading(ClientGone::GoOn, forward.run()).await?;
        let Outcome { answers, ambiguous } = match result {
            Ok(outcome) => outcome,
            Err(error) => {
                path.metrics.forwarded(Forwarded::Lost);
                return Err(Ended::Unserved(format!(
                    "a Produce could not be forwarded: {error}"
                )));
            }
        };
        if ambiguous {
            drop(ticket);
        } else {
            ticket.answered();
        }
        let refused = answers.iter().find(|one| one.error_code != 0);
        path.metrics.forwarded(match refused {
            Some(_) => Forwarded::Refused,
            None => Forwarded::Written,
        });
        let throttle_ms = if homes.retire { retire::THROTTLE_MS } else { 0 };
        if acks != 0 {
            let frame = forward.response(head.correlation_id, &answers, throttle_ms);
            let frame = frame.map_err(|cause| Ended::Unserved(cause.to_string()))?;
            self.push(Slot::Ready(frame)).await?;
        } else if let Some(refused) = refused {
            let code = refused.error_code;
            let what = format!("a Produce with acks=0 was refused with error {code}");
            return Err(Ended::Unserved(what));
        }
        if homes.retire {
            self.retire_soon();
        }
        self.walked = request;
        Ok(())
    }
}

fn left(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(WAIT_MIN)
}
