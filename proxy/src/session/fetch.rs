//! One Fetch: walked and patched in place and passed on as it stands, its answer streamed. Only where a partition
//! should not be read here (its home moved, the broker is gone, a rack is named) it is taken apart in `fetch_split`.

use super::ended::{Ended, Step};
use super::inbound::Head;
use super::requests::Requests;
use super::slots::{Answer, Slot, response_frame};
use crate::words::Side;

/// Kafka's FETCH_SESSION_ID_NOT_FOUND: the client begins again with a full request.
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
/// The first version with an error code at the top, and with sessions.
const SESSION_SINCE: i16 = 7;
/// The first version with compact lengths and tagged fields.
const FLEXIBLE_SINCE: i16 = 12;

impl Requests {
    pub(super) async fn fetch(&mut self, head: Head) -> Step<()> {
        self.whole(head).await?;
        let body = self.inbound.body(head);
        self.fetched
            .walk(head.version, body)
            .map_err(|cause| Ended::body("a Fetch", &cause))?;
        self.revive().await?;
        if self.fetched.session_id != 0 || self.fetched.session_epoch > 0 {
            // Lockgate gives out no sessions yet; one that it did not give cannot be continued.
            self.flush().await?;
            self.inbound.consume(head);
            return self.no_session(head).await;
        }
        if !self.is_served_here(head)? || self.fetched.rack_id.is_some() {
            return Box::pin(self.split_fetch(head)).await;
        }
        let body = &mut self.inbound.frame_mut(head)[head.body..];
        self.fetched.forget_epochs(head.version, body);
        self.fetched.leave_session(body);
        self.push(Slot::Upstream {
            correlation_id: head.correlation_id,
            answer: Answer::Fetch {
                version: head.version,
            },
        })
        .await?;
        self.inbound.pass(head.length);
        Ok(())
    }

    /// Whether the session's own broker serves every partition. Notes who reads what on the way.
    fn is_served_here(&mut self, head: Head) -> Step<bool> {
        let body = self.inbound.body(head);
        let snapshot = self.path.routes.load();
        let mut here = self.own.is_alive();
        let mut last = None;
        for partition in &self.fetched.partitions {
            if last.as_ref() == Some(&partition.topic) {
                continue;
            }
            last = Some(partition.topic.clone());
            let name = partition.topic(body);
            let index = self.topics.index(name, &snapshot.table)?;
            let topic = self.topics.get(index);
            let state = topic.route.and_then(|route| snapshot.routes.get(route.0));
            if let Some(route) = topic.route {
                self.connection.has_read(route);
            }
            let home = state.map_or(Side::Source, |state| state.home);
            here &= home == self.side && name != crate::route::STATE_TOPIC;
        }
        Ok(here)
    }

    async fn no_session(&mut self, head: Head) -> Step<()> {
        let frame = response_frame(head.api_key, head.version, head.correlation_id, |out| {
            // Throttle time, error code, session id, no topics.
            out.extend_from_slice(&[0; 4]);
            if head.version >= SESSION_SINCE {
                out.extend_from_slice(&FETCH_SESSION_ID_NOT_FOUND.to_be_bytes());
                out.extend_from_slice(&[0; 4]);
            }
            lockgate_wire::put::length(out, head.version >= FLEXIBLE_SINCE, Some(0))?;
            lockgate_wire::put::no_tagged_fields(out, head.version >= FLEXIBLE_SINCE);
            Ok(())
        });
        let frame = frame.map_err(|cause| Ended::Unserved(cause.to_string()))?;
        self.push(Slot::Ready(frame)).await
    }
}
