//! Where a group continues at the destination.

use serde::de::DeserializeOwned;

use crate::Problem;
pub use crate::bindings::translation::exports::lockgate::policy::offsets::{
    CommittedOffset, DestinationOffset, Request,
};

/// Translates committed offsets.
pub trait TranslationPolicy: Sized + 'static {
    /// The route's `config`.
    type Config: DeserializeOwned;

    /// Makes the policy, or says what is wrong with the configuration and where.
    fn configure(config: Self::Config) -> Result<Self, Vec<Problem>>;

    /// One answer for each offset, in the order asked; or the reason why there is none at all.
    fn translate(&self, request: &Request) -> Result<Vec<DestinationOffset>, String>;
}

/// Makes a [`TranslationPolicy`] the policy of this crate's component. Natively it does nothing.
#[rustfmt::skip] // rustfmt cannot read the last line and indents differently at every run.
#[macro_export]
macro_rules! export_translation {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the exports of a component are made by the generated macro")]
        const _: () = {
            use $crate::bindings::translation as world;
            use $crate::translation::TranslationPolicy;
            use world::exports::lockgate::policy::offsets;

            ::std::thread_local! {
                static POLICY: $crate::Slot<$policy> = const { $crate::Slot::new() };
            }
            struct Component;
            impl offsets::Guest for Component {
                fn configure(config: String) -> Vec<$crate::Problem> {
                    POLICY.with(|policy| $crate::set_up(policy, &config, <$policy as TranslationPolicy>::configure))
                }
                fn translate(
                    request: offsets::Request,
                ) -> Result<Vec<offsets::DestinationOffset>, String> {
                    POLICY.with(|policy| policy.ask(|policy| TranslationPolicy::translate(policy, &request)))
                }
            }
            world::export!(Component with_types_in world);
        };
    };
}
