//! What happens when a loaded policy fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::guests;
use super::{Shelf, loaded, request, status, waits};
use crate::policy::question::Proposal;
use crate::policy::{FaultKind, PolicyHost};

#[tokio::test]
async fn a_trap_costs_the_instance_and_not_the_policy() {
    let shelf = Shelf::new();
    let policy = loaded(&shelf, |_| ()).await;
    assert_eq!(policy.next_step(&status(guests::COUNTS)).await, Ok(waits()));
    assert_eq!(
        policy.next_step(&status(guests::COUNTS)).await,
        Ok(Proposal::MoveProducers)
    );

    let fault = policy.next_step(&status(guests::TRAPS)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Trap);
    assert!(fault.message.contains("`unreachable`"), "{fault}");
    assert_eq!(Some(fault.digest), policy.info().digest);
    assert_eq!(policy.info().faults, 1);
    assert!(
        policy
            .info()
            .last_fault
            .unwrap()
            .contains("`by-generation`")
    );

    // A new instance counts from the start.
    assert_eq!(policy.next_step(&status(guests::COUNTS)).await, Ok(waits()));
}

#[tokio::test]
async fn a_spinner_is_stopped_and_the_runtime_goes_on() {
    let shelf = Shelf::new();
    let policy = loaded(&shelf, |_| ()).await;
    let turns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let began = Instant::now();
    let fault = policy.next_step(&status(guests::SPINS)).await.unwrap_err();
    other.abort();
    assert_eq!(fault.kind, FaultKind::Deadline);
    assert!(fault.message.contains("100 ms"), "{fault}");
    assert!(
        began.elapsed() >= Duration::from_millis(90),
        "{:?}",
        began.elapsed()
    );
    assert!(turns.load(Ordering::Relaxed) >= 5, "{turns:?}");
    assert_eq!(policy.next_step(&status(guests::WAITS)).await, Ok(waits()));
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_half_used_instance() {
    let shelf = Shelf::new();
    let policy = loaded(&shelf, |source| {
        source.limits.deadline = Duration::from_secs(60)
    })
    .await;
    let spinning = status(guests::SPINS);
    let call = policy.next_step(&spinning);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), call)
            .await
            .is_err()
    );
    assert_eq!(policy.next_step(&status(guests::WAITS)).await, Ok(waits()));
}

#[tokio::test]
async fn memory_and_answers_are_bounded() {
    let shelf = Shelf::new();
    let policy = loaded(&shelf, |_| ()).await;
    let fault = policy.next_step(&status(guests::GROWS)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Memory);
    assert!(fault.message.contains("67108864 bytes"), "{fault}");
    let fault = policy
        .next_step(&status(guests::TELLS_TOO_MUCH))
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::AnswerTooLarge);
    assert_eq!(policy.next_step(&status(guests::WAITS)).await, Ok(waits()));
}

#[tokio::test]
async fn a_guest_that_starts_too_big_is_refused() {
    let shelf = Shelf::new();
    let mut source = shelf.put("by-generation.wasm", &guests::cutover());
    source.limits.memory_bytes = 64 << 10;
    let fault = super::refused(&source).await;
    assert!(
        fault
            .message
            .contains("wants more than its 65536 bytes of memory"),
        "{fault}"
    );
}

#[tokio::test]
async fn answers_that_do_not_fit_the_question_are_refused() {
    let shelf = Shelf::new();
    let policy = loaded(&shelf, |_| ()).await;
    let fault = policy
        .next_step(&status(guests::MOVES_A_STRANGER))
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(
        fault
            .message
            .contains("group `stranger` is not a group of route `orders`"),
        "{fault}"
    );

    let host = PolicyHost::start().unwrap();
    let source = shelf.put("translation.wasm", &guests::translation());
    let translation = host.load_translation(&source, &request(1)).await.unwrap();
    let fault = translation.translate(&request(2)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(
        fault.message.contains("1 answers for 2 committed offsets"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_policy_that_keeps_failing_rests_and_is_asked_again() {
    let shelf = Shelf::new();
    let policy = loaded(&shelf, |source| {
        source.limits.faults_in_a_row = 2;
        source.limits.rest = Duration::from_millis(200);
    })
    .await;
    for _ in 0..2 {
        let fault = policy.next_step(&status(guests::TRAPS)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Trap);
    }
    let fault = policy.next_step(&status(guests::WAITS)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(fault.message.contains("after 2 faults in a row"), "{fault}");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(policy.next_step(&status(guests::WAITS)).await, Ok(waits()));
    // One success, and it takes as many faults as before.
    policy.next_step(&status(guests::TRAPS)).await.unwrap_err();
    assert_eq!(policy.next_step(&status(guests::WAITS)).await, Ok(waits()));
}

#[tokio::test]
async fn what_a_policy_logged_last_is_told_with_its_trap() {
    let shelf = Shelf::new();
    let source = shelf.put("log.wasm", &guests::cutover_with_log());
    let policy = PolicyHost::start()
        .unwrap()
        .load_cutover(&source, &status(guests::WAITS))
        .await
        .unwrap();
    let fault = policy
        .next_step(&status(guests::LOGS_AND_TRAPS))
        .await
        .unwrap_err();
    assert!(fault.message.ends_with("it last said: stranger"), "{fault}");
}

#[tokio::test]
async fn the_ticker_ends_with_the_engine() {
    let host = PolicyHost::start().unwrap();
    let weak = host.engine.weak();
    drop(host);
    // The ticker may hold the engine for the length of one tick.
    for _ in 0..100 {
        if weak.upgrade().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the engine is still alive");
}
