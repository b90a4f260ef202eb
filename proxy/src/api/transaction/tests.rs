//! Transactions: served at the source, refused across homes.

use std::collections::HashSet;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, ApiKey, EndTxnRequest, EndTxnResponse, GroupId,
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, TransactionalId,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;
use lockgate_wire::producer_id::ProducerIdKind;

use crate::api::testing::{Bench, flip_all, move_group, name};
use crate::words::Side;

fn id(text: &'static str) -> TransactionalId {
    TransactionalId(StrBytes::from_static_str(text))
}

fn group(text: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(text))
}

#[tokio::test]
async fn idempotent_producers_get_fresh_ids_of_the_client_range() {
    let bench = Bench::start().await;
    let mut ids = HashSet::new();
    for version in 0..=5 {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let answer = bench.call(Side::Destination, version, request).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        let issued = lockgate_wire::producer_id::ProducerId::new(answer.producer_id.0);
        assert_eq!(issued.kind(), ProducerIdKind::Client);
        assert!(ids.insert(answer.producer_id));
    }
    for side in Side::BOTH {
        assert_eq!(bench.seen(side, 1, ApiKey::InitProducerId), 0);
    }
}

#[tokio::test]
async fn transactional_producers_are_served_by_the_source() {
    let bench = Bench::start().await;
    bench.on(Side::Source, 1, |_: InitProducerIdRequest| {
        InitProducerIdResponse::default().with_producer_id(ProducerId(8))
    });
    bench.on(Side::Source, 1, |_: EndTxnRequest| {
        EndTxnResponse::default()
    });
    for side in Side::BOTH {
        for version in 0..=5 {
            let request = InitProducerIdRequest::default().with_transactional_id(Some(id("tx")));
            let answer = bench.call(side, version, request).await;
            assert_eq!(answer.producer_id, ProducerId(8));
            let own = InitProducerIdRequest::default();
            let own = own.with_transactional_id(Some(id("lockgate-state")));
            assert_eq!(bench.call(side, version, own).await.error_code, 53);
        }
        for version in 0..=4 {
            let request = EndTxnRequest::default().with_transactional_id(id("tx"));
            assert_eq!(bench.call(side, version, request).await.error_code, 0);
        }
    }
    assert_eq!(bench.seen(Side::Destination, 1, ApiKey::EndTxn), 0);
}

#[tokio::test]
async fn a_transaction_never_spans_both_clusters() {
    let bench = Bench::start().await;
    bench.on(Side::Source, 1, |request: AddPartitionsToTxnRequest| {
        assert_eq!(request.v3_and_below_topics.len(), 1);
        AddPartitionsToTxnResponse::default()
    });
    let asking = |topics: &[&str]| {
        let topics = topics.iter().map(|topic| {
            AddPartitionsToTxnTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![0])
        });
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id("tx"))
            .with_v3_and_below_topics(topics.collect())
    };
    bench.call(Side::Source, 3, asking(&["payments"])).await;
    bench
        .routes
        .update(|snapshot| snapshot.routes[0].home = Side::Destination);
    for version in 0..=3 {
        let topics = ["payments", "orders", "__lockgate_state"];
        let answer = bench.call(Side::Source, version, asking(&topics)).await;
        let codes: Vec<i16> = answer
            .results_by_topic_v3_and_below
            .iter()
            .map(|topic| topic.results_by_partition[0].partition_error_code)
            .collect();
        assert_eq!(codes, [55, 48, 29]);
    }
    assert_eq!(bench.seen(Side::Source, 1, ApiKey::AddPartitionsToTxn), 1);
}

#[tokio::test]
async fn offsets_of_a_group_that_moved_are_refused() {
    let bench = Bench::start().await;
    bench.on(Side::Source, 1, |_: AddOffsetsToTxnRequest| {
        AddOffsetsToTxnResponse::default()
    });
    let asking = |to| {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(id("tx"))
            .with_group_id(group(to))
    };
    for version in 0..=4 {
        let answer = bench.call(Side::Source, version, asking("billing")).await;
        assert_eq!(answer.error_code, 0);
        let own = bench
            .call(Side::Source, version, asking("lockgate-x"))
            .await;
        assert_eq!(own.error_code, 30);
    }
    bench
        .routes
        .update(|snapshot| move_group(snapshot, "billing", None));
    let moved = bench.call(Side::Source, 3, asking("billing")).await;
    assert_eq!(moved.error_code, 48);
}

#[tokio::test]
async fn transactional_commits_lose_their_epochs_and_hold_a_permit() {
    let bench = Bench::start().await;
    let routes = bench.routes.clone();
    bench.on(Side::Source, 1, move |request: TxnOffsetCommitRequest| {
        assert_eq!(routes.load().commit_permits.out(), 1);
        let partition = &request.topics[0].partitions[0];
        assert_eq!(partition.committed_leader_epoch, -1);
        TxnOffsetCommitResponse::default()
    });
    let asking = |version: i16| {
        let mut partition = TxnOffsetCommitRequestPartition::default();
        if version >= 2 {
            partition.committed_leader_epoch = 5;
        }
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(name("orders"))
            .with_partitions(vec![partition]);
        TxnOffsetCommitRequest::default()
            .with_transactional_id(id("tx"))
            .with_group_id(group("billing"))
            .with_topics(vec![topic])
    };
    for version in 0..=4 {
        bench.call(Side::Source, version, asking(version)).await;
    }
    assert_eq!(bench.routes.load().commit_permits.out(), 0);
    bench.routes.update(flip_all);
    for version in 0..=4 {
        let answer = bench.call(Side::Source, version, asking(version)).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 48);
    }
}
