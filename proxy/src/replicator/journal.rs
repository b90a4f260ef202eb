//! What the replicator keeps in the state topic: which topics it made and where it aligned them, and the links' own
//! producer ids. Everything is journaled before it is acted on.

use std::sync::Arc;

use lockgate_wire::producer_id::ProducerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Result;
use crate::state::{CopyOrder, Key, Kind, Store};
use crate::words::TopicPartition;

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
    /// The source topic's id when it was made: one of the same name made again is another log.
    #[serde(default)]
    pub(super) source_id: Uuid,
}

/// A link's own producer id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinkRecord {
    pub(super) producer_id: i64,
}

/// The replicator's part of the store.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    kept: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    Store(Arc<Store>),
    #[cfg(test)]
    Memory(Memory),
}

#[cfg(test)]
type Memory = Arc<std::sync::Mutex<std::collections::HashMap<Key, serde_json::Value>>>;

impl Journal {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            kept: Kept::Store(store),
        }
    }

    /// A journal that a test keeps across "restarts".
    #[cfg(test)]
    pub(super) fn in_memory() -> Self {
        Self {
            kept: Kept::Memory(Memory::default()),
        }
    }

    pub(super) fn topic(&self, topic: &str) -> Result<Option<TopicRecord>> {
        self.get(&Key::new(Kind::Topic, topic))
    }

    pub(super) async fn put_topic(&self, topic: &str, record: TopicRecord) -> Result<()> {
        self.put(vec![(Key::new(Kind::Topic, topic), record)]).await
    }

    pub(super) fn link(&self, at: &TopicPartition) -> Result<Option<ProducerId>> {
        let record: Option<LinkRecord> = self.get(&Key::new(Kind::Link, at.to_string()))?;
        Ok(record.map(|record| ProducerId::new(record.producer_id)))
    }

    /// Many links' new ids in one transaction.
    pub(super) async fn put_links(&self, ids: &[(TopicPartition, ProducerId)]) -> Result<()> {
        let entries = ids.iter().map(|(at, id)| {
            let producer_id = id.get();
            (
                Key::new(Kind::Link, at.to_string()),
                LinkRecord { producer_id },
            )
        });
        self.put(entries.collect()).await
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        match &self.kept {
            Kept::Store(store) => store.get(key),
            #[cfg(test)]
            Kept::Memory(memory) => {
                let value = memory.lock().unwrap().get(key).cloned();
                Ok(value.map(|value| serde_json::from_value(value).unwrap()))
            }
        }
    }

    async fn put<T: Serialize + Send + Sync>(&self, entries: Vec<(Key, T)>) -> Result<()> {
        match &self.kept {
            Kept::Store(store) => {
                let entries: Vec<(Key, Option<T>)> = entries
                    .into_iter()
                    .map(|(key, value)| (key, Some(value)))
                    .collect();
                store.put(&entries, CopyOrder::Both).await
            }
            #[cfg(test)]
            Kept::Memory(memory) => {
                let mut memory = memory.lock().unwrap();
                for (key, value) in entries {
                    memory.insert(key, serde_json::to_value(value).unwrap());
                }
                Ok(())
            }
        }
    }
}
