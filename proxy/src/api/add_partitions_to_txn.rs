//! AddPartitionsToTxn (key 24), versions 0 to 3: to the source's transaction coordinator. Where one topic may not be
//! written, nothing is added, as brokers do: the others get OPERATION_NOT_ATTEMPTED.
//!
//! - v0: KIP-98. v2: PRODUCER_FENCED (KIP-588). v3: flexible (KIP-482).
//! - v4 and later are capped: they are for brokers (KIP-890).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey};

use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use super::transaction::{self, Answered};
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::AddPartitionsToTxn, 0, 3);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: AddPartitionsToTxnRequest,
) -> Result<AddPartitionsToTxnResponse> {
    let topics = &request.v3_and_below_topics;
    let refusals: Vec<Option<ResponseError>> = topics
        .iter()
        .map(|topic| transaction::refuses_topic(exchange, &topic.name))
        .collect();
    if refusals.iter().any(Option::is_some) {
        let results = topics.iter().zip(refusals).map(|(topic, refusal)| {
            failed(
                topic,
                refusal.unwrap_or(ResponseError::OperationNotAttempted),
            )
        });
        return Ok(with_results(results.collect()));
    }
    let id = request.v3_and_below_transactional_id.clone();
    match transaction::coordinated(exchange, call, &id, &request, error).await? {
        Answered::By(response) => Ok(response),
        Answered::Refused(error) => {
            let results = topics.iter().map(|topic| failed(topic, error));
            Ok(with_results(results.collect()))
        }
    }
}

/// A coordinator that is not one says so for every partition.
fn error(response: &AddPartitionsToTxnResponse) -> i16 {
    let topics = response.results_by_topic_v3_and_below.iter();
    let first = topics.flat_map(|topic| &topic.results_by_partition).next();
    first.map_or(0, |partition| partition.partition_error_code)
}

fn with_results(results: Vec<AddPartitionsToTxnTopicResult>) -> AddPartitionsToTxnResponse {
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results)
}

fn failed(topic: &AddPartitionsToTxnTopic, error: ResponseError) -> AddPartitionsToTxnTopicResult {
    let partitions = topic.partitions.iter().map(|index| {
        AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(*index)
            .with_partition_error_code(error.code())
    });
    AddPartitionsToTxnTopicResult::default()
        .with_name(topic.name.clone())
        .with_results_by_partition(partitions.collect())
}
