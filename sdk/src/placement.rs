//! Which cluster serves a client, group or topic.

use serde::de::DeserializeOwned;

use crate::Problem;
pub use crate::bindings::placement::exports::lockgate::policy::places::{
    Subject, SubjectKind, Verdict,
};

/// Places clients, groups and topics.
pub trait PlacementPolicy: Sized + 'static {
    /// The route's `config`.
    type Config: DeserializeOwned;

    /// Makes the policy, or says what is wrong with the configuration and where.
    fn configure(config: Self::Config) -> Result<Self, Vec<Problem>>;

    /// Who serves the subject, until the route's generation changes.
    fn place(&self, subject: &Subject) -> Verdict;
}

/// Makes a [`PlacementPolicy`] the policy of this crate's component. Natively it does nothing.
#[rustfmt::skip] // rustfmt cannot read the last line and indents differently at every run.
#[macro_export]
macro_rules! export_placement {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the exports of a component are made by the generated macro")]
        const _: () = {
            use $crate::bindings::placement as world;
            use $crate::placement::PlacementPolicy;
            use world::exports::lockgate::policy::places;

            ::std::thread_local! {
                static POLICY: $crate::Slot<$policy> = const { $crate::Slot::new() };
            }
            struct Component;
            impl places::Guest for Component {
                fn configure(config: String) -> Vec<$crate::Problem> {
                    POLICY.with(|policy| $crate::set_up(policy, &config, <$policy as PlacementPolicy>::configure))
                }
                fn place(subject: places::Subject) -> places::Verdict {
                    POLICY.with(|policy| policy.ask(|policy| PlacementPolicy::place(policy, &subject)))
                }
            }
            world::export!(Component with_types_in world);
        };
    };
}
