//! One copy: read to its end, written in transactions, every write read back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest};
use tokio::time::Instant;
use uuid::Uuid;

use super::entry::{Entries, apply};
use super::keys::Key;
use super::log::committed;
use super::topic;
use super::transaction::{Writer, is_fenced};
use crate::error::{Error, Kind, Result};
use crate::route::STATE_TOPIC;
use crate::upstream::{Cluster, Connection, OffsetAt, aborted};
use crate::words::{Side, TopicPartition};

/// How long reading a whole copy may take.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// How long one write with its read back may take, all retries included: a lift must not wait long behind a write that
/// cannot succeed.
const WRITE_WITHIN: Duration = Duration::from_secs(3);
/// How long finding out about a write of unknown outcome may take.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
const FETCH_WAIT_MS: i32 = 50;
const FETCH_BYTES_MAX: i32 = 8 << 20;
const POLL: Duration = Duration::from_millis(50);

/// A copy as far as it was read.
#[derive(Debug)]
pub(super) struct Reader {
    cluster: Arc<Cluster>,
    /// Its own connection: a long poll would hold up everybody else's requests on a shared one.
    leader: Option<Connection>,
    position: i64,
    entries: Entries,
}

/// A copy that this process may write.
#[derive(Debug)]
pub(super) struct Copy {
    reader: Reader,
    writer: Writer,
    /// This process, as the coordinator record names it.
    me: Uuid,
}

/// Why a write did not count.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The log was read: the write is not in it.
    NotWritten(Error),
    /// The log could not be read: nobody knows. The copy has to be opened again.
    Unknown(Error),
    /// Another coordinator owns the copy; this process must not act any more.
    Fenced(Error),
}

impl Reader {
    /// Reads the whole copy; the topic must be there.
    pub(super) async fn open(cluster: Arc<Cluster>) -> Result<Self> {
        let mut reader = Self {
            cluster,
            leader: None,
            position: 0,
            entries: Entries::new(),
        };
        let deadline = Instant::now() + READ_WITHIN;
        let at = [TopicPartition::new(STATE_TOPIC, 0)];
        reader.position = loop {
            let starts = reader.cluster.list_offsets(&at, OffsetAt::LogStart).await;
            match starts {
                Ok(starts) => break starts.into_values().next().unwrap_or_default(),
                Err(error) => reader.wait(error, deadline).await?,
            }
        };
        reader.read_to_end(deadline).await?;
        Ok(reader)
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    fn side(&self) -> Side {
        self.cluster.side()
    }

    /// Reads everything below the log's true end. The high watermark is not enough: a new leader's may lie below what
    /// the one before has acknowledged.
    async fn read_to_end(&mut self, deadline: Instant) -> Result<()> {
        let at = [TopicPartition::new(STATE_TOPIC, 0)];
        let end = loop {
            match self.cluster.true_ends(&at).await {
                Ok(ends) => break ends.into_values().next().map_or(0, |end| end.offset),
                Err(error) => self.wait(error, deadline).await?,
            }
        };
        while self.position < end {
            if Instant::now() >= deadline {
                return Err(Error::new(
                    self.side(),
                    Kind::TimedOut,
                    format!(
                        "{STATE_TOPIC} cannot be read to its end {end}: nothing committed after {}",
                        self.position
                    ),
                ));
            }
            let stable = self.read_on(deadline).await?;
            // What the cleaner removed at the very end leaves no batch to stand on.
            if stable >= end && self.position < end && self.fetch_is_empty(deadline).await? {
                self.position = end;
            }
        }
        Ok(())
    }

    /// Reads until `reached` holds.
    async fn read_until(
        &mut self,
        reached: impl Fn(&Entries) -> bool,
        deadline: Instant,
    ) -> Result<()> {
        while !reached(&self.entries) {
            if Instant::now() >= deadline {
                let what = format!("what was written to {STATE_TOPIC} did not come back in time");
                return Err(Error::new(self.side(), Kind::TimedOut, what));
            }
            self.read_on(deadline).await?;
        }
        Ok(())
    }

    /// One Fetch; returns the last stable offset.
    async fn read_on(&mut self, deadline: Instant) -> Result<i64> {
        let answer = match self.fetch().await {
            Ok(answer) => answer,
            Err(error) => {
                self.leader = None;
                self.wait(error, deadline).await?;
                return Ok(0);
            }
        };
        let aborted = aborted(&answer);
        let records = answer.records.as_deref().unwrap_or_default();
        let read = committed(records, aborted, self.position).map_err(|why| {
            let what = format!("{STATE_TOPIC} is not readable: {why}");
            Error::new(self.side(), Kind::Malformed, what)
        })?;
        for (key, versioned) in read.entries {
            apply(&mut self.entries, key, versioned);
        }
        if let Some(next) = read.next {
            self.position = next.max(self.position);
        }
        Ok(answer.last_stable_offset)
    }

    async fn fetch_is_empty(&mut self, deadline: Instant) -> Result<bool> {
        let before = self.position;
        self.read_on(deadline).await?;
        Ok(self.position == before)
    }

    async fn fetch(&mut self) -> Result<PartitionData> {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(self.position)
            .with_partition_max_bytes(FETCH_BYTES_MAX);
        let topic = FetchTopic::default()
            .with_topic(topic::name())
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(FETCH_WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_isolation_level(1)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let leader = self.leader().await?;
        let answer = leader.call_within(&request, FETCH_TIMEOUT).await?;
        let code = answer.error_code;
        let mut partitions = answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let partition = partitions
            .next()
            .ok_or_else(|| Error::kafka(self.side(), code, format!("reading {STATE_TOPIC}")))?;
        match partition.error_code {
            0 => Ok(partition),
            code => Err(Error::kafka(
                self.side(),
                code,
                format!("reading {STATE_TOPIC}"),
            )),
        }
    }

    async fn leader(&mut self) -> Result<Connection> {
        if let Some(leader) = self.leader.as_ref().filter(|leader| !leader.is_closed()) {
            return Ok(leader.clone());
        }
        let node = self
            .cluster
            .refresh()
            .await?
            .leader(STATE_TOPIC, 0)
            .ok_or_else(|| Error::kafka(self.side(), 5, format!("{STATE_TOPIC} has no leader")))?;
        let leader = self.cluster.dedicated(node).await?;
        self.leader = Some(leader.clone());
        Ok(leader)
    }

    /// Gives a retriable error time to pass; every other one ends the reading.
    async fn wait(&self, error: Error, deadline: Instant) -> Result<()> {
        if !error.is_retriable() || Instant::now() + POLL >= deadline {
            return Err(error);
        }
        tokio::time::sleep(POLL).await;
        let _ = self.cluster.refresh().await;
        Ok(())
    }
}

impl Copy {
    /// Fences every predecessor, then reads the whole copy. With `previous`, only if nobody has taken over since.
    pub(super) async fn open(
        cluster: Arc<Cluster>,
        previous: Option<Writer>,
        me: Uuid,
    ) -> Result<Self> {
        let deadline = Instant::now() + READ_WITHIN;
        let writer = match previous {
            None => Writer::begin(&cluster, None, deadline).await?,
            Some(previous) => resume(&cluster, previous, me, deadline).await?,
        };
        let reader = Reader::open(cluster).await?;
        Ok(Self { reader, writer, me })
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.reader.entries
    }

    /// What a later [`Copy::open`] needs to prove that nobody came in between.
    pub(super) fn writer(&self) -> Writer {
        self.writer
    }

    /// Writes entries and reads them back. After an error whose outcome is open, the log says whether they are there.
    pub(super) async fn write(&mut self, entries: &Entries) -> Result<(), WriteError> {
        if entries.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + WRITE_WITHIN;
        let cluster = self.reader.cluster.clone();
        let write = async {
            self.writer
                .write(&cluster, entries, now_ms(), deadline)
                .await?;
            let there = |known: &Entries| holds(known, entries);
            self.reader.read_until(there, deadline).await
        };
        // Cut off hard: connecting to a host that does not answer takes longer than a write may.
        let late = || Error::new(cluster.side(), Kind::TimedOut, "no outcome in time");
        let written = tokio::time::timeout_at(deadline, write).await;
        match written.unwrap_or_else(|_| Err(late())) {
            Ok(()) => Ok(()),
            Err(error) => self.settle(entries, error).await,
        }
    }

    /// Ends whatever the failed write left open, and reads what became of it.
    async fn settle(&mut self, entries: &Entries, cause: Error) -> Result<(), WriteError> {
        tracing::warn!(side = %self.reader.side(), error = %cause, "a state write failed; reading its outcome");
        let deadline = Instant::now() + SETTLE_WITHIN;
        let cluster = self.reader.cluster.clone();
        let settle = async {
            self.writer = resume(&cluster, self.writer, self.me, deadline).await?;
            self.reader.leader = None;
            self.reader.read_to_end(deadline).await
        };
        match tokio::time::timeout_at(deadline, settle).await {
            Ok(Ok(())) if holds(&self.reader.entries, entries) => Ok(()),
            Ok(Ok(())) => Err(WriteError::NotWritten(cause)),
            Ok(Err(error)) if is_fenced(&error) => Err(WriteError::Fenced(error)),
            Ok(Err(_)) | Err(_) => Err(WriteError::Unknown(cause)),
        }
    }
}

impl WriteError {
    /// For whoever asked for the write.
    pub(super) fn into_error(self, side: Side) -> Error {
        let (kind, says, cause) = match self {
            Self::NotWritten(cause) => (Kind::Failed, "was not written", cause),
            Self::Unknown(cause) => (
                Kind::TimedOut,
                "went away during a write; whether it holds the write is not known",
                cause,
            ),
            Self::Fenced(cause) => (Kind::Refused, "belongs to another Lockgate now", cause),
        };
        Error::new(
            side,
            kind,
            format!("the copy of the state at the {side} {says}"),
        )
        .because(cause)
    }
}

/// The right to write under a new epoch, unless another coordinator has taken it. Brokers also take an epoch away when a
/// transaction outlives its timeout; then the coordinator record, which every start writes, still names this process.
async fn resume(
    cluster: &Arc<Cluster>,
    previous: Writer,
    me: Uuid,
    deadline: Instant,
) -> Result<Writer> {
    previous.abort(cluster, deadline).await;
    match Writer::begin(cluster, Some(previous), deadline).await {
        Err(error) if is_fenced(&error) => {
            if coordinator(&Reader::open(cluster.clone()).await?.entries) != Some(me) {
                return Err(error);
            }
            // A successor whose record is not there yet is fenced by this. Either its start fails before it acts, or
            // its record got in between, and the second look ends this process; it takes the right back by itself.
            let writer = Writer::begin(cluster, None, deadline).await?;
            match coordinator(&Reader::open(cluster.clone()).await?.entries) {
                Some(named) if named == me => Ok(writer),
                _ => Err(error),
            }
        }
        outcome => outcome,
    }
}

/// The key of the coordinator record.
pub(super) fn coordinator_key() -> Key {
    Key::new(super::keys::Kind::Coordinator, "current")
}

fn coordinator(entries: &Entries) -> Option<Uuid> {
    let value = entries.get(&coordinator_key())?.value.clone()?;
    serde_json::from_value(value).ok()
}

/// Whether a copy holds these versions or later ones.
fn holds(known: &Entries, wanted: &Entries) -> bool {
    wanted.iter().all(|(key, versioned)| {
        known
            .get(key)
            .is_some_and(|known| known.version >= versioned.version)
    })
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
