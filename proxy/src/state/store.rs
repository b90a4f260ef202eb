//! The store of both copies.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::{Key, Kind};
use crate::error::Result;
use crate::upstream::Clusters;
use crate::words::Side;

/// Which copies a write needs before it counts, and in which order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOrder {
    /// Both, in any order (a fence, bookkeeping).
    Both,
    /// This side's first, then the other's; counts when both hold it (Open: the new home's first).
    First(Side),
    /// Counts when this side's copy holds it; the other's is tried (a lift: the home's copy).
    Enough(Side),
}

/// The state of this pair of clusters, as read back from the topic.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens both copies as the one coordinator: creates them at the first start, checks the identity, fences the
    /// predecessor's transactions, reads everything, and brings the copies level (the higher version of a key wins).
    /// With one cluster unreachable it goes on with the other copy; the first start needs both.
    pub async fn open(_clusters: Clusters) -> Result<Arc<Self>> {
        unimplemented!()
    }

    /// Reads both copies without writing anything (`lockgate state dump`).
    pub async fn dump(_clusters: &Clusters) -> Result<serde_json::Value> {
        unimplemented!()
    }

    /// Whether this side's copy is open.
    #[must_use]
    pub fn holds(&self, _side: Side) -> bool {
        unimplemented!()
    }

    /// A value as last read back. An unreadable value is an error, never an absence.
    pub fn get<T: DeserializeOwned>(&self, _key: &Key) -> Result<Option<T>> {
        unimplemented!()
    }

    /// All values of a kind, by name.
    pub fn list<T: DeserializeOwned>(&self, _kind: Kind) -> Result<Vec<(String, T)>> {
        unimplemented!()
    }

    /// Writes values in one transaction per copy and reads them back. `None` deletes a key. After an ambiguous
    /// failure the outcome is read from the log before this returns.
    pub async fn put<T: Serialize + Sync>(
        &self,
        _entries: &[(Key, Option<T>)],
        _order: CopyOrder,
    ) -> Result<()> {
        unimplemented!()
    }
}
