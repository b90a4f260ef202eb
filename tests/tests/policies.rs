//! The real policy components, as xtask builds them, in the real host.
//!
//! They are looked for in `target/policies` under the repository root. A run through `cargo xtask test` has built
//! them before.

use std::path::PathBuf;
use std::sync::Arc;

use lockgate::policy::question::{
    GroupState, GroupStatus, LagHistory, LagSample, LagSummary, Proposal, RouteStatus, Side,
};
use lockgate::policy::{Cutover, FaultKind, PolicyFault, PolicyHost, PolicySource};
use serde_json::{Value, json};

fn component(name: &str, config: Value) -> PolicySource {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../target/policies")
        .join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "{} is not built; run the tests through `cargo xtask test`",
        path.display()
    );
    PolicySource::from_file(path, config)
}

async fn load(name: &str, config: Value) -> Result<Cutover, PolicyFault> {
    let sample = RouteStatus::at_source("orders", 1, 1_000);
    PolicyHost::start()?
        .load_cutover(&component(name, config), &sample)
        .await
}

/// A route with one stable group, `max_records` behind, and before that level for two ticks.
fn status(max_records: u64) -> RouteStatus {
    let mut history = LagHistory::default();
    for at_ms in [1_000, 2_000] {
        history.push(LagSample {
            at_ms,
            max_records: 3,
            max_ms: 10,
        });
    }
    let lag = LagSummary {
        links: 12,
        measured: 12,
        max_records,
        max_ms: 10,
        worst: Some("orders-3".to_owned()),
        total_records: max_records * 2,
        stopped: Vec::new(),
        recent: history.samples(),
    };
    let group = GroupStatus {
        name: "billing".to_owned(),
        home: Side::Source,
        state: GroupState::Stable,
        members: 2,
    };
    RouteStatus {
        groups: vec![group],
        lag,
        ..RouteStatus::at_source("orders", 1, 3_000)
    }
}

#[tokio::test]
async fn lag_gate_waits_with_its_numbers_and_then_moves_the_groups() {
    let gate = load("lag-gate", json!({"max_lag_records": 100}))
        .await
        .unwrap();
    let said = gate.next_step(&status(1_200)).await.unwrap();
    let expected = "orders-3 is 1200 records behind (2400 in all), the bound is 100";
    assert_eq!(said, Proposal::Wait(expected.to_owned()));
    assert_eq!(
        gate.next_step(&status(5)).await,
        Ok(Proposal::MoveGroups(Vec::new()))
    );
    assert_eq!(gate.info().faults, 0);
}

#[tokio::test]
async fn lag_gate_names_what_is_wrong_with_its_configuration() {
    let cases = [
        (
            json!({"max_lag_records": "many"}),
            "`config.max_lag_records`: invalid type",
        ),
        (
            json!({"max_lag_record": 1}),
            "unknown field `max_lag_record`",
        ),
        (
            json!({"stable_ticks": 0}),
            "`config.stable_ticks`: 0 is not between 1 and 120",
        ),
        (
            json!({"move": "topics"}),
            "`config.move`: unknown variant `topics`",
        ),
    ];
    for (config, expected) in cases {
        let fault = load("lag-gate", config).await.err().unwrap();
        assert!(fault.message.contains(expected), "{fault}");
    }
}

#[tokio::test]
async fn always_wait_waits() {
    let policy = load("always-wait", json!({})).await.unwrap();
    assert!(matches!(
        policy.next_step(&status(0)).await,
        Ok(Proposal::Wait(_))
    ));
}

#[tokio::test]
async fn always_trap_loads_and_its_panic_is_told() {
    let policy = load("always-trap", json!({})).await.unwrap();
    let fault = policy.next_step(&status(0)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(
        fault
            .message
            .contains("always-trap was asked about route orders"),
        "{fault}"
    );
    let refused = load("always-trap", json!({"in_trial": true}))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.kind, FaultKind::Load);
}

#[tokio::test]
async fn the_spinner_is_stopped() {
    let policy = Arc::new(load("spinner", json!({})).await.unwrap());
    let fault = policy.next_step(&status(0)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadline);
}
