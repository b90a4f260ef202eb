//! What an answer to a Fetch of Lockgate's own says, in the words of those who read it.

use kafka_protocol::messages::fetch_response::PartitionData;
use lockgate_wire::committed::Aborted;

/// The aborted transactions of a partition's answer: what a reader of committed records leaves out.
pub(crate) fn aborted(partition: &PartitionData) -> Vec<Aborted> {
    let listed = partition.aborted_transactions.iter().flatten();
    listed
        .map(|one| Aborted {
            producer_id: one.producer_id.0,
            first_offset: one.first_offset,
        })
        .collect()
}
