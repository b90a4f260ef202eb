//! Keeps the clusters level: per partition, batches are fetched from the home with read_committed, their headers
//! rewritten, and produced to the other cluster at the same offset (DESIGN sections 4 and 5).

mod handle;
mod status;

pub use handle::Replicator;
pub use status::{LagSummary, LinkState, LinkStatus};
