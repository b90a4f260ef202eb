//! Brokers and leaders of one cluster.
//!
//! A [`Cluster`] knows its brokers, its topics' leaders and the API versions they speak; it keeps one shared control
//! connection per broker for Lockgate's own requests, and opens [`Connection`]s of their own for those who need
//! order or throughput (the replicator, a session's forwards).

mod cluster;
mod clusters;
mod codec;
mod connection;
mod fetched;
mod offsets;
mod versions;
mod view;

pub use cluster::{Cluster, Target};
pub use clusters::Clusters;
pub use codec::{OwnRequest, decode_response, encode_request};
pub use connection::{Connection, RawRequest};
pub(crate) use fetched::aborted;
pub use offsets::{LogEnd, OffsetAt};
pub use versions::ApiRanges;
pub use view::{BrokerAddress, ClusterView, PartitionView, TopicView};
