//! The next step of a route.

use serde::de::DeserializeOwned;

use crate::Problem;
pub use crate::bindings::cutover::exports::lockgate::policy::steps::{
    Attributes, GroupState, GroupStatus, LagSample, LagSummary, Operation, OperationKind, Phase,
    Proposal, RouteStatus, StoppedLink,
};

/// Decides when each piece of a route moves.
pub trait CutoverPolicy: Sized + 'static {
    /// The route's `config`.
    type Config: DeserializeOwned;

    /// Makes the policy, or says what is wrong with the configuration and where.
    fn configure(config: Self::Config) -> Result<Self, Vec<Problem>>;

    /// What is to happen next. Pure: no memory, no clock but `status.now_ms`.
    fn next_step(&self, status: &RouteStatus) -> Proposal;
}

/// Makes a [`CutoverPolicy`] the policy of this crate's component. Natively it does nothing.
#[rustfmt::skip] // rustfmt cannot read the last line and indents differently at every run.
#[macro_export]
macro_rules! export_cutover {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the exports of a component are made by the generated macro")]
        const _: () = {
            use $crate::bindings::cutover as world;
            use $crate::cutover::CutoverPolicy;
            use world::exports::lockgate::policy::steps;

            ::std::thread_local! {
                static POLICY: $crate::Slot<$policy> = const { $crate::Slot::new() };
            }
            struct Component;
            impl steps::Guest for Component {
                fn configure(config: String) -> Vec<$crate::Problem> {
                    POLICY.with(|policy| $crate::set_up(policy, &config, <$policy as CutoverPolicy>::configure))
                }
                fn next_step(status: steps::RouteStatus) -> steps::Proposal {
                    POLICY.with(|policy| policy.ask(|policy| CutoverPolicy::next_step(policy, &status)))
                }
            }
            world::export!(Component with_types_in world);
        };
    };
}
