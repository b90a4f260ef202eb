//! What loads, what does not, and what the operator is told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::json;

use super::guests;
use super::{Shelf, loaded, refused, request, status, subject, waits};
use crate::policy::question::{DestinationOffset, Proposal, Side, Verdict};
use crate::policy::{
    CommittedPosition, Cutover, Facts, FaultKind, PartitionLag, Placement, PolicyHost, Translation,
};

#[tokio::test]
async fn each_world_loads_and_answers() {
    let shelf = Shelf::new();
    let host = PolicyHost::start().unwrap();
    let cutover = loaded(&shelf, |_| ()).await;
    assert_eq!(cutover.next_step(&status(guests::WAITS)).await, Ok(waits()));
    assert_eq!(
        cutover.next_step(&status(guests::MOVES_PRODUCERS)).await,
        Ok(Proposal::MoveProducers)
    );
    assert_eq!(cutover.info().digest.unwrap().len(), 64);

    let source = shelf.put("translation.wasm", &guests::translation());
    let translation = host.load_translation(&source, &request(1)).await.unwrap();
    assert_eq!(
        translation.translate(&request(1)).await,
        Ok(vec![DestinationOffset::Offset(7)])
    );

    let source = shelf.put("placement.wasm", &guests::placement());
    let placement = host.load_placement(&source, &subject()).await.unwrap();
    assert_eq!(
        placement.place(&subject()).await,
        Ok(Verdict::ServeFrom(Side::Destination))
    );
}

#[tokio::test]
async fn the_built_ins_wait_stay_and_keep_the_offset() {
    let cutover = Cutover::default().next_step(&status(1)).await.unwrap();
    assert!(matches!(cutover, Proposal::Wait(_)));
    let translated = Translation::default().translate(&request(2)).await.unwrap();
    assert_eq!(
        translated,
        [DestinationOffset::Offset(3), DestinationOffset::Offset(3)]
    );
    assert_eq!(
        Placement::default().place(&subject()).await,
        Ok(Verdict::Stay)
    );
    assert_eq!(Cutover::default().info().name, "manual");
}

#[tokio::test]
async fn a_file_that_is_no_component_is_named_with_the_cure() {
    let shelf = Shelf::new();
    let mut missing = shelf.put("missing.wasm", b"");
    std::fs::remove_file(&missing.path).unwrap();
    missing.config = json!({});
    let cases = [
        (missing, "there is no such file"),
        (
            shelf.put("core.wasm", &guests::core_module()),
            "it is a core module, not a component; build it",
        ),
        (shelf.put("text.wasm", b"hello"), "it is not WASM"),
        (shelf.put("empty.wasm", b""), "it is not WASM"),
        (
            shelf.put("cut.wasm", &guests::cutover()[..200]),
            "it is not a valid component",
        ),
        (
            shelf.put("foreign.wasm", &guests::foreign_component()),
            "it exports nothing of lockgate:policy@0.1.0",
        ),
    ];
    for (source, expected) in cases {
        let fault = refused(&source).await;
        assert_eq!(fault.kind, FaultKind::Load);
        assert!(fault.message.contains(expected), "{}", fault.message);
        assert!(
            fault.message.contains(&source.path.display().to_string()),
            "{}",
            fault.message
        );
        assert!(!fault.message.contains('\n'), "{}", fault.message);
    }
}

#[tokio::test]
async fn a_policy_of_another_world_or_version_is_told_apart() {
    let shelf = Shelf::new();
    let fault = refused(&shelf.put("translation.wasm", &guests::translation())).await;
    assert!(
        fault.message.contains("it is a translation policy"),
        "{fault}"
    );
    let fault = refused(&shelf.put("next.wasm", &guests::cutover_of_next_version())).await;
    assert!(
        fault.message.contains("version 0.2.0 of lockgate:policy"),
        "{fault}"
    );
}

#[tokio::test]
async fn what_is_not_granted_is_not_linked() {
    let shelf = Shelf::new();
    let wasi = "package wasi:clocks@0.2.0; interface monotonic-clock { now: func() -> u64; }";
    let guest = guests::cutover_that_wants(wasi, "wasi:clocks/monotonic-clock@0.2.0", "now");
    let fault = refused(&shelf.put("wasi.wasm", &guest)).await;
    assert!(
        fault
            .message
            .contains("`wasi:clocks/monotonic-clock@0.2.0`"),
        "{fault}"
    );
    assert!(fault.message.contains("no WASI"), "{fault}");

    let other = "package other:things@1.0.0; interface clock { now: func() -> u64; }";
    let guest = guests::cutover_that_wants(other, "other:things/clock@1.0.0", "now");
    let fault = refused(&shelf.put("other.wasm", &guest)).await;
    assert!(
        fault
            .message
            .contains("`other:things/clock@1.0.0`, which this Lockgate does not offer"),
        "{fault}"
    );

    let fault = refused(&shelf.put("facts.wasm", &guests::cutover_with_facts())).await;
    assert!(
        fault
            .message
            .contains("capability `lockgate:policy/facts@0.1.0`"),
        "{fault}"
    );
    let mut mute = shelf.put("mute.wasm", &guests::cutover_with_log());
    mute.capabilities.log = false;
    assert!(
        refused(&mute)
            .await
            .message
            .contains("capability `lockgate:policy/log@0.1.0`")
    );
}

struct OneLag;

impl Facts for OneLag {
    fn lag(&self, topic: &str, partition: u32) -> Option<PartitionLag> {
        (topic == "stranger" && partition == 5).then_some(PartitionLag { records: 77, ms: 1 })
    }

    fn committed(&self, _: &str) -> Vec<CommittedPosition> {
        Vec::new()
    }
}

#[tokio::test]
async fn facts_are_answered_when_granted() {
    let shelf = Shelf::new();
    let mut source = shelf.put("facts.wasm", &guests::cutover_with_facts());
    source.capabilities.facts = Some(Arc::new(OneLag));
    let policy = PolicyHost::start()
        .unwrap()
        .load_cutover(&source, &status(guests::WAITS))
        .await
        .unwrap();
    assert_eq!(
        policy.next_step(&status(guests::WAITS)).await,
        Ok(Proposal::MoveProducers)
    );
}

#[tokio::test]
async fn a_problem_of_the_configuration_is_shown_with_its_path() {
    let shelf = Shelf::new();
    let fault = refused(&shelf.put("problem.wasm", &guests::cutover_with_problem())).await;
    assert!(
        fault
            .message
            .contains("refuses its configuration: `config.bound`: too small"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_policy_that_fails_its_trial_is_not_loaded() {
    let shelf = Shelf::new();
    let host = PolicyHost::start().unwrap();
    let source = shelf.put("by-generation.wasm", &guests::cutover());
    let fault = host
        .load_cutover(&source, &status(guests::TRAPS))
        .await
        .err()
        .unwrap();
    assert_eq!(fault.kind, FaultKind::Load);
    assert!(fault.message.contains("unreachable"), "{fault}");
    let fault = host
        .load_cutover(&source, &status(guests::SPINS))
        .await
        .err()
        .unwrap();
    assert!(
        fault.message.contains("still computing after 100 ms"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_replacement_that_fails_leaves_the_old_policy() {
    let shelf = Shelf::new();
    let host = PolicyHost::start().unwrap();
    let old = shelf.put("by-generation.wasm", &guests::cutover());
    let slot = ArcSwap::from_pointee(
        host.load_cutover(&old, &status(guests::WAITS))
            .await
            .unwrap(),
    );
    let digest = slot.load().info().digest;

    let bad = shelf.put("problem.wasm", &guests::cutover_with_problem());
    host.replace_cutover(&slot, &bad, &status(guests::WAITS))
        .await
        .unwrap_err();
    assert_eq!(slot.load().info().digest, digest);
    assert_eq!(
        slot.load().next_step(&status(guests::WAITS)).await,
        Ok(waits())
    );

    let good = shelf.put("log.wasm", &guests::cutover_with_log());
    host.replace_cutover(&slot, &good, &status(guests::WAITS))
        .await
        .unwrap();
    assert_ne!(slot.load().info().digest, digest);
}
