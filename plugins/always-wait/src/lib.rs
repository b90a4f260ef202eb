//! A cutover policy for tests: it waits, whatever it is told.

use lockgate_sdk::Problem;
use lockgate_sdk::cutover::{CutoverPolicy, Proposal, RouteStatus};
use serde::Deserialize;

/// The policy, which is its configuration: there is nothing to set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlwaysWait {}

impl CutoverPolicy for AlwaysWait {
    type Config = Self;

    fn configure(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn next_step(&self, _: &RouteStatus) -> Proposal {
        Proposal::Wait("always".to_owned())
    }
}

lockgate_sdk::export_cutover!(AlwaysWait);
