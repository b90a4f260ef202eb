//! What a policy author uses: a trait for each of the three questions, typed configuration, and Lockgate's log,
//! counters and facts.
//!
//! A policy is a struct that is made from its configuration and then asked. It is asked through `&self`: the same
//! configuration, question and facts give the same answer, on every instance and at every replay. Memory that an
//! instance gathers may vanish at any time.
//!
//! ```
//! use lockgate_sdk::cutover::{CutoverPolicy, Proposal, RouteStatus};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct NotBefore {
//!     not_before_ms: u64,
//! }
//!
//! impl CutoverPolicy for NotBefore {
//!     type Config = Self;
//!
//!     fn configure(config: Self) -> Result<Self, Vec<lockgate_sdk::Problem>> {
//!         Ok(config)
//!     }
//!
//!     fn next_step(&self, status: &RouteStatus) -> Proposal {
//!         if status.now_ms < self.not_before_ms || status.groups_moved {
//!             return Proposal::Wait("it is not the time".to_owned());
//!         }
//!         Proposal::MoveGroups(Vec::new())
//!     }
//! }
//!
//! lockgate_sdk::export_cutover!(NotBefore);
//! ```
//!
//! The crate of a policy is a `cdylib`, built for `wasm32-unknown-unknown` and made a component; `cargo xtask` does
//! both for every crate under `plugins/`. It is also an `rlib`, so that its unit tests run natively: there the log
//! is kept for the test ([`log::taken`]), counters go nowhere and facts are unknown.

pub mod cutover;
pub mod placement;
pub mod translation;

pub mod facts;
pub mod log;
pub mod metrics;

mod config;
mod export;

#[doc(hidden)]
pub mod bindings;

pub use bindings::cutover::lockgate::policy::types::{Cluster, Problem};
#[doc(hidden)]
pub use export::{Slot, set_up};

/// Whether a question is asked on trial, while the policy is being loaded; its answer is checked, not acted on.
pub fn is_trial(attributes: &[(String, String)]) -> bool {
    attributes
        .iter()
        .any(|(key, value)| key == "trial" && value == "true")
}
