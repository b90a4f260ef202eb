//! A cutover policy for tests: it loads, and then traps at every question.

use lockgate_sdk::cutover::{CutoverPolicy, Proposal, RouteStatus};
use lockgate_sdk::{Problem, is_trial};
use serde::Deserialize;

/// The policy, which is its configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlwaysTrap {
    /// Whether it traps while it is being loaded already, and so is refused.
    #[serde(default)]
    in_trial: bool,
}

impl CutoverPolicy for AlwaysTrap {
    type Config = Self;

    fn configure(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn next_step(&self, status: &RouteStatus) -> Proposal {
        if is_trial(&status.attributes) && !self.in_trial {
            return Proposal::Wait("on trial".to_owned());
        }
        panic!("always-trap was asked about route {}", status.name);
    }
}

lockgate_sdk::export_cutover!(AlwaysTrap);
