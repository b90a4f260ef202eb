//! Apache Kafka from its Maven artifacts: fetched once, run as child processes without containers.

mod artifacts;
mod cluster;
mod mirror;
mod node;
mod pair;

pub use artifacts::{JvmKind, Kafka, Version};
pub use cluster::{Cluster, ClusterSpec, FurtherListener};
pub use mirror::MirrorMaker;
pub use node::CONTROLLER_ID;
pub use pair::Pair;
