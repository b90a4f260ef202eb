//! What the replicator keeps in the state topic: which topics it made and where it aligned them, and the links' own
//! producer ids. Everything is journaled before it is acted on.

use std::sync::Arc;

use lockgate_wire::producer_id::ProducerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::link::Link;
use super::settings::Settings;
use crate::error::Result;
use crate::state::{CopyOrder, Key, Kind, Store};

/// A topic that Lockgate made at the destination. Written before the topic is created: one that exists there without
/// this record belongs to somebody else (trap 30).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicRecord {
    /// By partition: the offset at which the destination's log begins to be the source's. Empty before alignment.
    pub(super) aligned_at: Vec<i64>,
    /// Partitions below this index are aligned; the rest are being filled.
    pub(super) aligned_partitions: usize,
    /// The source topic's own settings when it was made, for commit.
    pub(super) settings: Vec<(String, String)>,
    /// The source topic's id when its copy was made: one of the same name made again is another log.
    #[serde(default)]
    pub(super) source_id: Uuid,
    /// The destination topic's id, once it was made.
    #[serde(default)]
    pub(super) destination_id: Uuid,
    /// The source's topic has settings of Lockgate's: it is about to be, or is, the copy.
    #[serde(default)]
    pub(super) source_is_copy: bool,
}

impl TopicRecord {
    /// The source topic's own settings by name.
    pub(super) fn own(&self) -> Settings {
        self.settings.iter().cloned().collect()
    }
}

/// A link's own producer id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinkRecord {
    pub(super) producer_id: i64,
}

/// The replicator's part of the store.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    store: Arc<Store>,
}

impl Journal {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    pub(super) fn topic(&self, topic: &str) -> Result<Option<TopicRecord>> {
        self.store.get(&Key::new(Kind::Topic, topic))
    }

    pub(super) async fn put_topic(&self, topic: &str, record: TopicRecord) -> Result<()> {
        self.put(vec![(Key::new(Kind::Topic, topic), record)]).await
    }

    pub(super) fn link(&self, link: &Link) -> Result<Option<ProducerId>> {
        let record: Option<LinkRecord> = self.store.get(&Key::new(Kind::Link, link.key()))?;
        Ok(record.map(|record| ProducerId::new(record.producer_id)))
    }

    /// Many links' new ids by their keys, in one transaction.
    pub(super) async fn put_links(&self, ids: &[(String, ProducerId)]) -> Result<()> {
        let entries = ids.iter().map(|(link, id)| {
            let producer_id = id.get();
            (
                Key::new(Kind::Link, link.as_str()),
                LinkRecord { producer_id },
            )
        });
        self.put(entries.collect()).await
    }

    async fn put<T: Serialize + Send + Sync>(&self, entries: Vec<(Key, T)>) -> Result<()> {
        let entries: Vec<(Key, Option<T>)> = entries
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        self.store.put(&entries, CopyOrder::Both).await
    }
}
