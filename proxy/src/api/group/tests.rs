//! Group requests at desks, at their own coordinator, and on the way to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiKey, GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::{mpsc, oneshot};

use crate::api::handle::{Outcome, handle};
use crate::api::offset_commit;
use crate::api::testing::{Bench, encoded, move_group, name};
use crate::flip::desk::DeskCall;
use crate::flip::{GroupDesk, GroupRequest, GroupResponse, Ticket, Verdict};
use crate::words::Side;

fn group(name: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(name))
}

fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(group("billing"))
}

fn with_desk(bench: &Bench) -> mpsc::UnboundedReceiver<DeskCall> {
    let (calls, asked) = mpsc::unbounded_channel();
    let desk = Arc::new(GroupDesk { calls });
    bench
        .routes
        .update(|snapshot| move_group(snapshot, "billing", Some(desk)));
    asked
}

fn beats(bench: &Bench, side: Side, code: i16) {
    bench.on(side, 1, move |_: HeartbeatRequest| {
        HeartbeatResponse::default().with_error_code(code)
    });
}

#[tokio::test]
async fn a_group_at_home_is_passed_to_the_own_broker() {
    let bench = Bench::start().await;
    // NOT_COORDINATOR too, as from any broker: no move has happened.
    for code in [0, 27, 16] {
        beats(&bench, Side::Source, code);
        for version in 0..=4 {
            let answer = bench.call(Side::Source, version, heartbeat()).await;
            assert_eq!(answer.error_code, code);
        }
    }
    assert_eq!(bench.seen(Side::Destination, 1, ApiKey::Heartbeat), 0);
}

#[tokio::test]
async fn a_moved_group_is_forwarded_and_its_new_coordinator_found_again() {
    let bench = Bench::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    bench.on(Side::Destination, 1, {
        let asked = asked.clone();
        move |_: HeartbeatRequest| {
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            HeartbeatResponse::default().with_error_code(if first { 16 } else { 27 })
        }
    });
    bench
        .routes
        .update(|snapshot| move_group(snapshot, "billing", None));
    let answer = bench.call(Side::Source, 4, heartbeat()).await;
    assert_eq!(answer.error_code, 27);
    assert_eq!(bench.seen(Side::Source, 1, ApiKey::Heartbeat), 0);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_desk_forwards_shows_the_answer_and_closes() {
    let bench = Bench::start().await;
    let mut asked = with_desk(&bench);
    bench.on(Side::Destination, 1, |request: JoinGroupRequest| {
        assert!(
            request.member_id.is_empty(),
            "what the desk sent, not what came"
        );
        JoinGroupResponse::default().with_member_id(StrBytes::from_static_str("new"))
    });
    let (shown, answer_shown) = oneshot::channel();
    let desk = async {
        let call = asked.recv().await.unwrap();
        let GroupRequest::Join(mut join) = call.call.request else {
            panic!("not a JoinGroup");
        };
        assert_eq!(call.call.client_id.as_deref(), Some("app"));
        assert_eq!(join.member_id.as_str(), "old");
        join.member_id = StrBytes::default();
        let verdict = Verdict::Forward {
            side: Side::Destination,
            request: GroupRequest::Join(join),
            ticket: Some(Ticket(shown)),
        };
        call.verdict.send(verdict).unwrap();
        let call = asked.recv().await.unwrap();
        call.verdict.send(Verdict::Close).unwrap();
    };
    let client = async {
        let join = JoinGroupRequest::default()
            .with_group_id(group("billing"))
            .with_member_id(StrBytes::from_static_str("old"));
        let answer = bench.call(Side::Source, 9, join).await;
        assert_eq!(answer.member_id.as_str(), "new");
        let exchange = bench.exchange(Side::Source);
        let closed = handle(&exchange, 12, 4, None, encoded(&heartbeat(), 4)).await;
        assert!(matches!(closed, Outcome::Close(_)));
    };
    tokio::join!(desk, client);
    let shown = answer_shown.await.unwrap();
    assert!(matches!(shown, GroupResponse::Join(join) if join.member_id.as_str() == "new"));
}

#[tokio::test]
async fn a_frame_behind_a_held_heartbeat_nudges_the_desk() {
    let bench = Bench::start().await;
    let mut asked = with_desk(&bench);
    let desk = async {
        let call = asked.recv().await.unwrap();
        bench.queued.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), call.nudged)
            .await
            .unwrap()
            .unwrap();
        let released = HeartbeatResponse::default().with_error_code(27);
        let verdict = Verdict::Answer(GroupResponse::Heartbeat(released));
        call.verdict.send(verdict).unwrap();
    };
    let (answer, ()) = tokio::join!(bench.call(Side::Source, 4, heartbeat()), desk);
    assert_eq!(answer.error_code, 27);
}

#[tokio::test]
async fn a_desk_that_goes_away_closes_the_connection() {
    let bench = Bench::start().await;
    drop(with_desk(&bench));
    let exchange = bench.exchange(Side::Source);
    let closed = handle(&exchange, 12, 4, None, encoded(&heartbeat(), 4)).await;
    assert!(matches!(closed, Outcome::Close(_)));
}

#[tokio::test]
async fn groups_of_lockgates_own_are_refused_in_every_api_and_version() {
    let bench = Bench::start().await;
    let own = group("lockgate-instances");
    for version in 0..=9 {
        let join = JoinGroupRequest::default().with_group_id(own.clone());
        assert_eq!(bench.call(Side::Source, version, join).await.error_code, 30);
    }
    for version in 0..=5 {
        let sync = SyncGroupRequest::default().with_group_id(own.clone());
        assert_eq!(bench.call(Side::Source, version, sync).await.error_code, 30);
        let leave = LeaveGroupRequest::default().with_group_id(own.clone());
        assert_eq!(
            bench.call(Side::Source, version, leave).await.error_code,
            30
        );
    }
    for version in 1..=9 {
        let mut fetch = OffsetFetchRequest::default().with_topics(None);
        if version >= 8 {
            fetch.groups = vec![OffsetFetchRequestGroup::default().with_group_id(own.clone())];
            fetch.topics = Some(Vec::new());
        } else {
            fetch.group_id = own.clone();
            fetch.topics = (version == 1).then(Vec::new);
        }
        let answer = bench.call(Side::Source, version, fetch).await;
        let code = answer
            .groups
            .first()
            .map_or(answer.error_code, |group| group.error_code);
        assert_eq!(code, if version == 1 { 0 } else { 30 }, "v{version}");
    }
}

fn commit(topics: &[&str]) -> OffsetCommitRequest {
    let topics = topics.iter().map(|topic| {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(9)
            .with_committed_leader_epoch(5);
        OffsetCommitRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![partition])
    });
    OffsetCommitRequest::default()
        .with_group_id(group("billing"))
        .with_topics(topics.collect())
}

#[tokio::test]
async fn commits_lose_their_epochs_and_hold_a_permit() {
    let bench = Bench::start().await;
    let routes = bench.routes.clone();
    bench.on(Side::Source, 1, move |request: OffsetCommitRequest| {
        assert_eq!(routes.load().commit_permits.out(), 1);
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        assert!(
            partitions
                .clone()
                .all(|known| known.committed_leader_epoch == -1)
        );
        assert_eq!(partitions.count(), 1);
        offset_commit::refused(&request, 0)
    });
    for version in 6..=9 {
        let request = commit(&["orders", "__lockgate_state"]);
        let answer: OffsetCommitResponse = bench.call(Side::Source, version, request).await;
        let codes: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| (topic.name.as_str(), topic.partitions[0].error_code))
            .collect();
        assert_eq!(codes, [("orders", 0), ("__lockgate_state", 29)]);
    }
    assert_eq!(bench.routes.load().commit_permits.out(), 0);
}

fn fetched(request: OffsetFetchRequest) -> OffsetFetchResponse {
    let groups = request.groups.into_iter().map(|asked| {
        let partition = OffsetFetchResponsePartitions::default()
            .with_committed_offset(9)
            .with_committed_leader_epoch(5);
        let topics = asked.topics.unwrap_or_default().into_iter().map(|topic| {
            OffsetFetchResponseTopics::default()
                .with_name(topic.name)
                .with_partitions(vec![partition.clone()])
        });
        OffsetFetchResponseGroup::default()
            .with_group_id(asked.group_id)
            .with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

#[tokio::test]
async fn offsets_of_many_groups_come_from_their_homes_without_epochs() {
    let bench = Bench::start().await;
    bench
        .routes
        .update(|snapshot| move_group(snapshot, "billing", None));
    for side in Side::BOTH {
        bench.on(side, 1, move |request: OffsetFetchRequest| {
            let moved = request
                .groups
                .iter()
                .any(|asked| asked.group_id == group("billing"));
            assert_eq!(moved, side == Side::Destination);
            assert_eq!(request.groups.len(), if moved { 1 } else { 2 });
            fetched(request)
        });
    }
    let topics = ["orders", "__lockgate_state"].map(|topic| {
        OffsetFetchRequestTopics::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![0])
    });
    let groups = ["a", "billing", "b", "lockgate-x"].map(|asked| {
        OffsetFetchRequestGroup::default()
            .with_group_id(group(asked))
            .with_topics(Some(topics.to_vec()))
    });
    let request = OffsetFetchRequest::default().with_groups(groups.to_vec());
    let answer = bench.call(Side::Source, 8, request).await;
    let mut names: Vec<_> = answer
        .groups
        .iter()
        .map(|group| group.group_id.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "billing", "lockgate-x"]);
    for found in answer.groups.iter().filter(|found| found.error_code == 0) {
        let epochs = found.topics.iter().flat_map(|topic| &topic.partitions);
        assert!(
            epochs
                .clone()
                .all(|known| known.committed_leader_epoch == -1)
        );
        let codes: Vec<i16> = epochs.map(|known| known.error_code).collect();
        assert_eq!(codes, [0, 29]);
    }
}

#[tokio::test]
async fn no_group_is_born_at_the_source_behind_a_fence() {
    use crate::route::Phase;
    let bench = Bench::start().await;
    bench.on(Side::Source, 1, |_: JoinGroupRequest| {
        JoinGroupResponse::default()
    });
    bench.routes.update(|snapshot| {
        for route in &mut snapshot.routes {
            route.phase = Phase::Fenced;
        }
    });
    let join = JoinGroupRequest::default().with_group_id(group("billing"));
    let answer = bench.call(Side::Source, 5, join.clone()).await;
    assert_eq!(answer.error_code, 14);
    assert_eq!(bench.seen(Side::Source, 1, ApiKey::JoinGroup), 0);
    // One that has a place keeps it.
    bench
        .routes
        .update(|snapshot| move_group(snapshot, "billing", None));
    bench.on(Side::Destination, 1, |_: JoinGroupRequest| {
        JoinGroupResponse::default()
    });
    assert_eq!(bench.call(Side::Source, 5, join).await.error_code, 0);
}
