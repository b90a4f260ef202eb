//! The life of a loaded policy: warm, asked, warm again; after any fault its instance is thrown away.
//!
//! One question at a time. The instance's memory is a cache that may vanish; after a trap wasmtime lets nobody in
//! again, and after an interruption a guest's own locks may be left closed. So an instance is taken out of its
//! slot for a call, and goes back only with a clean answer. That covers a caller who gives up half way, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Engine, Store, Trap, UpdateDeadline};

use super::PolicyInfo;
use super::fault::{FaultKind, PolicyFault, printable};
use super::guest::{Budget, Facts, Guest};
use super::limits::{Limits, PROBLEMS_SHOWN_MAX, REASON_CHARS_MAX, SET_UP_DEADLINE_FACTOR, ticks};
use super::world::World;

/// A component that has been compiled and linked, with its configuration.
pub(super) struct Loaded<W: World> {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) engine: Arc<Engine>,
    pub(super) pre: W::Pre,
    pub(super) config: String,
    pub(super) limits: Limits,
    pub(super) facts: Option<Arc<dyn Facts>>,
    pub(super) budget: Arc<Budget>,
    pub(super) slot: tokio::sync::Mutex<Option<Warm<W>>>,
    pub(super) record: Mutex<Record>,
}

/// An instance that is configured and ready.
pub(super) struct Warm<W> {
    store: Store<Guest>,
    world: W,
}

/// What is remembered of faults.
#[derive(Default)]
pub(super) struct Record {
    faults: u64,
    in_a_row: u32,
    last: Option<String>,
    rests_until: Option<Instant>,
}

impl<W: World> Loaded<W> {
    /// Asks, and books the outcome. A policy that has failed too often in a row is not asked while it rests.
    pub(super) async fn ask(&self, question: &W::Question) -> Result<W::Answer, PolicyFault> {
        let began = Instant::now();
        if let Some(rest) = self.rest(began) {
            self.count_call("resting");
            return Err(rest);
        }
        let answer = self.answer(question).await;
        metrics::histogram!(
            "lockgate_policy_call_seconds",
            "policy" => self.name.clone(), "question" => W::QUESTION
        )
        .record(began.elapsed().as_secs_f64());
        match &answer {
            Ok(_) => {
                self.count_call("answered");
                self.record().in_a_row = 0;
            }
            Err(fault) => {
                self.count_call(fault.kind.as_str());
                self.book(fault);
            }
        }
        answer
    }

    /// Asks without booking anything: the trial of a policy that is being loaded.
    pub(super) async fn answer(&self, question: &W::Question) -> Result<W::Answer, PolicyFault> {
        let mut slot = self.slot.lock().await;
        let mut warm = match slot.take() {
            Some(warm) => warm,
            None => self.set_up().await?,
        };
        prepare(&mut warm.store, &self.limits, self.limits.deadline);
        let answer = warm.world.ask(&mut warm.store, question).await;
        let answer = answer.map_err(|error| {
            self.fault_of(
                &error,
                warm.store.data(),
                self.limits.deadline,
                "did not answer",
            )
        })?;
        *slot = Some(warm);
        answer.map_err(|reason| {
            self.fault(
                FaultKind::Refused,
                &format!("gave an answer that cannot be used: {reason}"),
            )
        })
    }

    /// Makes an instance and configures it.
    pub(super) async fn set_up(&self) -> Result<Warm<W>, PolicyFault> {
        let guest = Guest::new(
            self.budget.clone(),
            self.facts.clone(),
            self.limits.memory_bytes,
        );
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| guest.memory_bound());
        store.epoch_deadline_callback(|mut context| {
            let guest = context.data_mut();
            guest.ticks_left = guest.ticks_left.saturating_sub(1);
            // Between ticks the runtime's other tasks get their turn, on a single thread, too.
            Ok(if guest.ticks_left == 0 {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Yield(1)
            })
        });
        let deadline = self.limits.deadline.saturating_mul(SET_UP_DEADLINE_FACTOR);
        prepare(&mut store, &self.limits, deadline);
        let world = W::instantiate(&self.pre, &mut store).await;
        let world = world.map_err(|error| {
            self.fault_of(&error, store.data(), deadline, "could not be instantiated")
        })?;
        prepare(&mut store, &self.limits, deadline);
        let problems = world.configure(&mut store, &self.config).await;
        let problems = problems.map_err(|error| {
            self.fault_of(&error, store.data(), deadline, "could not be configured")
        })?;
        if problems.is_empty() {
            return Ok(Warm { store, world });
        }
        let shown: Vec<String> = problems
            .iter()
            .take(PROBLEMS_SHOWN_MAX)
            .map(|problem| {
                format!(
                    "`config.{}`: {}",
                    printable(&problem.path, 100),
                    printable(&problem.message, 200)
                )
            })
            .collect();
        Err(self.fault(
            FaultKind::Load,
            &format!("refuses its configuration: {}", shown.join("; ")),
        ))
    }

    /// Who this is and how it fares.
    pub(super) fn info(&self) -> PolicyInfo {
        let record = self.record();
        PolicyInfo {
            name: self.name.clone(),
            digest: Some(self.digest.clone()),
            faults: record.faults,
            last_fault: record.last.clone(),
        }
    }

    fn fault(&self, kind: FaultKind, what: &str) -> PolicyFault {
        let message = format!("policy `{}` {what}", self.name);
        PolicyFault::new(kind, &self.name, &self.digest, &message)
    }

    /// Names the fault behind an error of wasmtime.
    fn fault_of(
        &self,
        error: &wasmtime::Error,
        guest: &Guest,
        deadline: Duration,
        what: &str,
    ) -> PolicyFault {
        let (kind, why) = if guest.memory_refused() {
            (
                FaultKind::Memory,
                format!(
                    "it wants more than its {} bytes of memory",
                    self.limits.memory_bytes
                ),
            )
        } else if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            (
                FaultKind::Deadline,
                format!("it was still computing after {} ms", deadline.as_millis()),
            )
        } else if is_too_large(error) {
            (
                FaultKind::AnswerTooLarge,
                format!("it hands over more than {} bytes", self.limits.answer_bytes),
            )
        } else {
            (FaultKind::Trap, error.root_cause().to_string())
        };
        let said = guest
            .last_error()
            .map(|line| format!("; it last said: {}", printable(line, REASON_CHARS_MAX)));
        self.fault(kind, &format!("{what}: {why}{}", said.unwrap_or_default()))
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self, now: Instant) -> Option<PolicyFault> {
        let record = self.record();
        let left = record
            .rests_until?
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())?;
        let last = record.last.as_deref().unwrap_or_default();
        let what = format!(
            "is not asked for another {} s after {} faults in a row; the last: {last}",
            left.as_secs() + 1,
            record.in_a_row
        );
        Some(self.fault(FaultKind::Refused, &what))
    }

    fn book(&self, fault: &PolicyFault) {
        metrics::counter!(
            "lockgate_policy_faults_total",
            "policy" => self.name.clone(), "kind" => fault.kind.as_str()
        )
        .increment(1);
        let mut record = self.record();
        record.faults += 1;
        record.in_a_row = record.in_a_row.saturating_add(1);
        record.last = Some(fault.message.clone());
        if record.in_a_row >= self.limits.faults_in_a_row {
            record.rests_until = Some(Instant::now() + self.limits.rest);
        }
    }

    fn count_call(&self, outcome: &'static str) {
        metrics::counter!(
            "lockgate_policy_calls_total",
            "policy" => self.name.clone(), "question" => W::QUESTION, "outcome" => outcome
        )
        .increment(1);
    }
}

/// Gives a call its deadline and its bound on what crosses over. Both are per call: without a fresh deadline a
/// warm instance would trap at once.
fn prepare(store: &mut Store<Guest>, limits: &Limits, deadline: Duration) {
    store.data_mut().begin(ticks(deadline));
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(limits.answer_bytes);
}

/// Whether a guest handed over more than its hostcall fuel. wasmtime keeps that error's type to itself, so it is
/// known by its text; a test holds the two together.
fn is_too_large(error: &wasmtime::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.to_string().contains("fuel allocated for hostcalls"))
}
