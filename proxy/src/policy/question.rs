//! What policies are asked and what they answer, as plain data.
//!
//! The rest of Lockgate fills these in and acts on them; nothing here knows of WASM, sockets or clocks. They
//! mirror `sdk/wit` field by field, so that a recorded question can be asked again.

use std::collections::VecDeque;

use serde::Serialize;

/// Earlier lags a route keeps for its policy: one a second for two minutes.
pub const LAG_SAMPLES_MAX: usize = 120;

/// One of the two upstream clusters, as a policy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where the estate comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Where a route stands between its two clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Groups and topics have their home at the source.
    AtSource,
    /// A group move is under way.
    MovingGroups,
    /// Every group has moved, the producers have not.
    GroupsMoved,
    /// A producer move is under way.
    MovingProducers,
    /// Groups and topics have their home at the destination, and the way back is open.
    AtDestination,
    /// A rollback is under way.
    RollingBack,
    /// The way back is closed.
    Committed,
}

/// The state of a consumer group as its coordinator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Not described yet.
    Unknown,
    /// No members.
    Empty,
    /// Members are being asked to rejoin.
    PreparingRebalance,
    /// The assignment is awaited.
    CompletingRebalance,
    /// At rest with an assignment.
    Stable,
    /// Gone.
    Dead,
}

/// One group of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    /// Its `group.id`.
    pub name: String,
    /// The cluster that coordinates it.
    pub home: Side,
    /// As its coordinator says.
    pub state: GroupState,
    /// Members at that coordinator.
    pub members: u32,
}

/// A link that does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoppedLink {
    /// Topic of the partition.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// Why it stopped.
    pub reason: String,
}

/// The lag of a route at one earlier tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LagSample {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// As [`LagSummary::max_records`] was.
    pub max_records: u64,
    /// As [`LagSummary::max_ms`] was.
    pub max_ms: u64,
}

/// How far the links of a route are behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LagSummary {
    /// Links of the route.
    pub links: u32,
    /// Those that have been measured at least once.
    pub measured: u32,
    /// The largest lag of one partition, in records.
    pub max_records: u64,
    /// The largest age of a record that waits, in milliseconds.
    pub max_ms: u64,
    /// The partition with the largest lag, as `topic-partition`.
    pub worst: Option<String>,
    /// The lags of all partitions together, in records.
    pub total_records: u64,
    /// Links that do not run.
    pub stopped: Vec<StoppedLink>,
    /// The ticks before this one, oldest first; see [`LagHistory`].
    pub recent: Vec<LagSample>,
}

/// The last lags of a route, kept by the route so that policies stay pure.
#[derive(Clone, Debug, Default)]
pub struct LagHistory(VecDeque<LagSample>);

impl LagHistory {
    /// Adds the newest sample and drops what is older than [`LAG_SAMPLES_MAX`] ticks.
    pub fn push(&mut self, sample: LagSample) {
        if self.0.len() == LAG_SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The samples for [`LagSummary::recent`], oldest first.
    pub fn samples(&self) -> Vec<LagSample> {
        self.0.iter().copied().collect()
    }
}

/// What kind of operation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Groups move.
    MoveGroups,
    /// Producers move.
    MoveProducers,
    /// Groups, then producers.
    MoveAll,
    /// Back to the source.
    RollBack,
    /// The way back is being closed.
    Commit,
}

/// The operation under way on a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenOperation {
    /// Its id in the admin API.
    pub id: String,
    /// What it does.
    pub kind: OperationKind,
    /// The step it is in.
    pub step: String,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: u64,
}

/// The question of cutover: where a route stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// The route.
    pub name: String,
    /// Its generation; an answer is valid for this one only.
    pub generation: u64,
    /// The home of its topics.
    pub home: Side,
    /// Where it stands between the clusters.
    pub phase: Phase,
    /// The time of the question, in milliseconds since the epoch.
    pub now_ms: u64,
    /// Its groups.
    pub groups: Vec<GroupStatus>,
    /// How far its links are behind.
    pub lag: LagSummary,
    /// Whether every group has its home at the destination.
    pub groups_moved: bool,
    /// Whether the producers write to the destination.
    pub producers_moved: bool,
    /// The operation under way.
    pub operation: Option<OpenOperation>,
    /// Facts without a field of their own.
    pub attributes: Vec<(String, String)>,
}

impl RouteStatus {
    /// A route at the source that nothing is known of yet: what a policy is tried with before the first real
    /// status exists.
    pub fn at_source(name: &str, generation: u64, now_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            generation,
            home: Side::Source,
            phase: Phase::AtSource,
            now_ms,
            groups: Vec::new(),
            lag: LagSummary::default(),
            groups_moved: false,
            producers_moved: false,
            operation: None,
            attributes: Vec::new(),
        }
    }
}

/// The answer of cutover: what is to happen next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proposal {
    /// Nothing yet, and why.
    Wait(String),
    /// Move these groups; none listed means all that have not moved.
    MoveGroups(Vec<String>),
    /// Move the producers.
    MoveProducers,
    /// Go back to the source.
    RollBack,
    /// Nothing until the operator has looked, and why.
    Hold(String),
}

/// One offset that a group committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommittedOffset {
    /// Topic of the partition.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// The next client offset the group would read.
    pub offset: i64,
    /// The metadata string committed with it.
    pub metadata: String,
}

/// The question of translation: where a group continues at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TranslationRequest {
    /// The group that moves.
    pub group: String,
    /// The generation of its route.
    pub generation: u64,
    /// The time of the question, in milliseconds since the epoch.
    pub now_ms: u64,
    /// What it has committed.
    pub offsets: Vec<CommittedOffset>,
    /// Facts without a field of their own.
    pub attributes: Vec<(String, String)>,
}

/// The answer of translation for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationOffset {
    /// This physical offset at the destination.
    Offset(i64),
    /// The log start.
    Earliest,
    /// The log end.
    Latest,
    /// No answer, and why: the group does not move.
    Untranslatable(String),
}

/// What a placement question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A client, by its client id.
    Client,
    /// A consumer group.
    Group,
    /// A topic.
    Topic,
}

/// The question of placement: who asks to be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// The client id, group or topic.
    pub name: String,
    /// The route it belongs to.
    pub route: String,
    /// The generation of that route.
    pub generation: u64,
    /// Where it is served now.
    pub current: Side,
    /// The client's principal, empty where it is not known.
    pub principal: String,
    /// The client's address, empty where it is not known.
    pub address: String,
    /// The time of the question, in milliseconds since the epoch.
    pub now_ms: u64,
    /// Facts without a field of their own.
    pub attributes: Vec<(String, String)>,
}

/// The answer of placement, valid until the route's generation changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Served where it is.
    Stay,
    /// Served by this cluster.
    ServeFrom(Side),
    /// Told to come back later, and why.
    Hold(String),
    /// Turned away, and why.
    Deny(String),
}
