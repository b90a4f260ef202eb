//! What the three worlds have in common, so that one life cycle (`instance`) and one loader (`load`) serve all.

use std::future::Future;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::guest::Guest;

/// The package that this Lockgate speaks.
pub(super) const PACKAGE: &str = "lockgate:policy";
/// Its version.
pub(super) const VERSION: &str = "0.1.0";

/// A problem of a configuration, as the policy reports it.
pub(super) struct Problem {
    pub(super) path: String,
    pub(super) message: String,
}

/// An answer that was understood, or the reason why it does not fit the question.
pub(super) type Checked<T> = Result<T, String>;

/// One world: how it is bound to an instance, and how its question is asked.
pub(super) trait World: Sized + Send + Sync + 'static {
    /// The world, which is also the name of what it decides.
    const NAME: &'static str;
    /// The exported interface that carries the question.
    const INTERFACE: &'static str;
    /// The question, as a label.
    const QUESTION: &'static str;
    /// The checked but not yet instantiated component.
    type Pre: Send + Sync;
    /// What is asked.
    type Question: Send + Sync;
    /// What is answered.
    type Answer: Send;

    fn pre(linked: InstancePre<Guest>) -> wasmtime::Result<Self::Pre>;

    fn instantiate(
        pre: &Self::Pre,
        store: &mut Store<Guest>,
    ) -> impl Future<Output = wasmtime::Result<Self>> + Send;

    fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> impl Future<Output = wasmtime::Result<Vec<Problem>>> + Send;

    fn ask(
        &self,
        store: &mut Store<Guest>,
        question: &Self::Question,
    ) -> impl Future<Output = wasmtime::Result<Checked<Self::Answer>>> + Send;

    /// The question with the attributes of a trial.
    fn trial(question: &Self::Question) -> Self::Question;
}

/// The attributes of a question that is asked on trial.
pub(super) fn trial_attributes(attributes: &[(String, String)]) -> Vec<(String, String)> {
    let mut marked = attributes.to_vec();
    marked.push(("trial".to_owned(), "true".to_owned()));
    marked
}
