//! The desk of one group: while the group moves, and after that for as long as members bear ids of the other
//! cluster, the data path brings every request of the group here and does what the verdict says.
//!
//! The data path knows nothing of moves; the desk knows nothing of sockets.

use std::net::IpAddr;
use std::sync::Arc;

use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};
use tokio::sync::oneshot;

use crate::words::Side;

/// A decoded request of a classic group.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRequest {
    /// JoinGroup.
    Join(JoinGroupRequest),
    /// SyncGroup.
    Sync(SyncGroupRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup.
    Leave(LeaveGroupRequest),
    /// OffsetCommit.
    Commit(OffsetCommitRequest),
    /// OffsetFetch that names this group alone.
    Fetch(OffsetFetchRequest),
}

/// The answer to a [`GroupRequest`], of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupResponse {
    /// JoinGroup.
    Join(JoinGroupResponse),
    /// SyncGroup.
    Sync(SyncGroupResponse),
    /// Heartbeat.
    Heartbeat(HeartbeatResponse),
    /// LeaveGroup.
    Leave(LeaveGroupResponse),
    /// OffsetCommit.
    Commit(OffsetCommitResponse),
    /// OffsetFetch.
    Fetch(OffsetFetchResponse),
}

/// One request as the data path brings it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupCall {
    /// The client's connection, unique in this process.
    pub connection: u64,
    /// The client id of the request header.
    pub client_id: Option<Arc<str>>,
    /// The client's address.
    pub client_host: IpAddr,
    /// The version in which it came and in which it is answered.
    pub version: i16,
    /// The request.
    pub request: GroupRequest,
}

/// What the data path does with a request.
#[derive(Debug)]
pub enum Verdict {
    /// Send this request (perhaps another than came) to the group's coordinator on that side, return the answer to
    /// the client, and show it to the ticket first.
    Forward {
        /// Whose coordinator.
        side: Side,
        /// What to send.
        request: GroupRequest,
        /// Who wants to see the answer.
        ticket: Option<Ticket>,
    },
    /// Answer the client with this.
    Answer(GroupResponse),
    /// Close the client's connection, unanswered.
    Close,
}

/// Shown the answer of a forwarded request; dropped without it where no answer came.
#[derive(Debug)]
pub struct Ticket(pub oneshot::Sender<GroupResponse>);

/// A verdict that may take its time (a parked JoinGroup, a held Heartbeat). Dropped when the client goes away.
#[derive(Debug)]
pub struct PendingVerdict {
    /// Resolves to the verdict; an error means that the desk is gone: close the connection.
    pub verdict: oneshot::Receiver<Verdict>,
    /// Told once when another request arrives on the same connection behind this one: a held Heartbeat is released.
    pub nudge: Option<oneshot::Sender<()>>,
}

/// The door through which sessions reach the loop that moves one group.
#[derive(Debug)]
pub struct GroupDesk {
    pub(crate) calls: tokio::sync::mpsc::UnboundedSender<DeskCall>,
}

/// A call with the way back for its verdict. The number of calls under way is bounded by the number of client
/// connections: a session waits for one verdict at a time.
#[derive(Debug)]
pub struct DeskCall {
    /// The request.
    pub call: GroupCall,
    /// Where the verdict goes.
    pub verdict: oneshot::Sender<Verdict>,
    /// Fires when another request waits behind this one.
    pub nudged: oneshot::Receiver<()>,
}

impl GroupDesk {
    /// Brings a request to the desk.
    #[must_use]
    pub fn submit(&self, call: GroupCall) -> PendingVerdict {
        let (verdict, answer) = oneshot::channel();
        let (nudge, nudged) = oneshot::channel();
        // A desk that is gone drops the call, and with it the sender: the receiver reports it.
        let _ = self.calls.send(DeskCall {
            call,
            verdict,
            nudged,
        });
        PendingVerdict {
            verdict: answer,
            nudge: Some(nudge),
        }
    }
}
