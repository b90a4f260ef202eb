//! Both copies as JSON, read without writing anything and without fencing a running Lockgate.

use std::sync::Arc;

use serde_json::{Value, json};

use super::copy::Reader;
use super::entry::Entries;
use super::topic;
use crate::error::{Error, Result};
use crate::route::STATE_TOPIC;
use crate::upstream::{Cluster, Clusters};
use crate::words::Side;

/// `{"source": {"cluster_id", "records": [{"kind", "name", "version", "value"}]}, "destination": ..}`; a copy that
/// cannot be read is `{"error": sentence}`. An error where neither can.
pub(super) async fn dump(clusters: &Clusters) -> Result<Value> {
    let (source, destination) = tokio::join!(read(&clusters.source), read(&clusters.destination));
    if let (Err(error), Err(_)) = (&source, &destination) {
        return Err(Error::internal(format!(
            "neither copy of the state can be read; {error}"
        )));
    }
    Ok(json!({
        Side::Source.as_str(): source.unwrap_or_else(|error| json!({"error": error.to_string()})),
        Side::Destination.as_str(): destination.unwrap_or_else(|error| json!({"error": error.to_string()})),
    }))
}

async fn read(cluster: &Arc<Cluster>) -> Result<Value> {
    if !topic::exists(cluster).await? {
        return Err(Error::refused(format!("topic {STATE_TOPIC} is missing")));
    }
    let cluster_id = cluster.view().cluster_id.clone();
    let reader = Reader::open(cluster.clone()).await?;
    Ok(json!({"cluster_id": cluster_id, "records": records(reader.entries())}))
}

fn records(entries: &Entries) -> Vec<Value> {
    entries
        .iter()
        .map(|(key, versioned)| {
            json!({
                "kind": key.kind,
                "name": key.name,
                "version": versioned.version,
                "value": versioned.value.as_ref(),
            })
        })
        .collect()
}
