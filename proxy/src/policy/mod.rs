//! Policies: what decides where, when and how, as WASM components behind three small questions.
//!
//! A question is plain data in, plain data out ([`question`]). Each of [`Cutover`], [`Translation`] and
//! [`Placement`] is answered by a built-in or by a component; callers do not see which. A component runs without
//! WASI, under a deadline, a memory bound and a bound on what it hands over ([`Limits`]). When it fails there is a
//! [`PolicyFault`] and nothing else: the caller keeps its last answer, and nothing moves.
//!
//! Load is read, compile, link, configure, and one question on trial (`load`); an instance lives until its first
//! fault (`instance`); what a guest may call is in `guest`.

pub mod question;

mod cutover;
mod placement;
mod translation;

mod bindings;
mod engine;
mod fault;
mod guest;
mod instance;
mod limits;
mod load;
mod world;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use wasmtime::Engine;

pub use cutover::{Cutover, Manual, WasmCutover};
pub use fault::{FaultKind, PolicyFault};
pub use guest::{CommittedPosition, Facts, PartitionLag};
pub use limits::Limits;
pub use load::{Capabilities, PolicySource};
pub use placement::{Placement, Stay, WasmPlacement};
pub use translation::{Exact, Translation, WasmTranslation};

use question::{RouteStatus, Subject, TranslationRequest};

/// Who answers a question, for the admin API and the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyInfo {
    /// Its name.
    pub name: String,
    /// SHA-256 of its file in hexadecimal; none for a built-in.
    pub digest: Option<String>,
    /// Faults since it was loaded.
    pub faults: u64,
    /// What the newest of them said.
    pub last_fault: Option<String>,
}

impl PolicyInfo {
    fn built_in(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: None,
            faults: 0,
            last_fault: None,
        }
    }
}

/// Loads policies. One per process; cheap to clone.
#[derive(Clone)]
pub struct PolicyHost {
    engine: Arc<Engine>,
}

impl PolicyHost {
    /// Starts the engine and the thread that moves its clock; both end with the last policy and host.
    pub fn start() -> Result<Self, PolicyFault> {
        let engine = engine::start().map_err(|error| {
            PolicyFault::new(
                FaultKind::Load,
                "",
                "",
                &format!("the policy engine does not start: {error:#}"),
            )
        })?;
        Ok(Self { engine })
    }

    /// Loads a cutover policy and asks it once about `sample`, the route's present status.
    pub async fn load_cutover(
        &self,
        source: &PolicySource,
        sample: &RouteStatus,
    ) -> Result<Cutover, PolicyFault> {
        let loaded = load::load(&self.engine, source, sample).await?;
        Ok(Cutover::Wasm(Box::new(WasmCutover(loaded))))
    }

    /// Loads a translation policy and asks it once about `sample`.
    pub async fn load_translation(
        &self,
        source: &PolicySource,
        sample: &TranslationRequest,
    ) -> Result<Translation, PolicyFault> {
        let loaded = load::load(&self.engine, source, sample).await?;
        Ok(Translation::Wasm(Box::new(WasmTranslation(loaded))))
    }

    /// Loads a placement policy and asks it once about `sample`.
    pub async fn load_placement(
        &self,
        source: &PolicySource,
        sample: &Subject,
    ) -> Result<Placement, PolicyFault> {
        let loaded = load::load(&self.engine, source, sample).await?;
        Ok(Placement::Wasm(Box::new(WasmPlacement(loaded))))
    }

    /// Replaces the cutover policy of a route at run time. Whatever fails leaves the old one in place; a call that
    /// is under way ends with the policy it began with.
    pub async fn replace_cutover(
        &self,
        slot: &ArcSwap<Cutover>,
        source: &PolicySource,
        sample: &RouteStatus,
    ) -> Result<(), PolicyFault> {
        slot.store(Arc::new(self.load_cutover(source, sample).await?));
        Ok(())
    }
}
