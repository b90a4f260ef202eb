//! A cutover policy for tests: it loads, and then never answers a question.

use lockgate_sdk::cutover::{CutoverPolicy, Proposal, RouteStatus};
use lockgate_sdk::{Problem, is_trial};
use serde::Deserialize;

/// The policy, which is its configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spinner {
    /// Whether it spins while it is being loaded already, and so is refused.
    #[serde(default)]
    in_trial: bool,
}

impl CutoverPolicy for Spinner {
    type Config = Self;

    fn configure(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn next_step(&self, status: &RouteStatus) -> Proposal {
        if is_trial(&status.attributes) && !self.in_trial {
            return Proposal::Wait("on trial".to_owned());
        }
        loop {
            std::hint::spin_loop();
        }
    }
}

lockgate_sdk::export_cutover!(Spinner);
