//! Placement: which cluster serves a client, group or topic.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::PolicyInfo;
use super::bindings::cutover::lockgate::policy::types::Cluster;
use super::bindings::placement as world;
use super::cutover::side;
use super::fault::{PolicyFault, printable};
use super::guest::Guest;
use super::instance::Loaded;
use super::limits::REASON_CHARS_MAX;
use super::question::{Side, Subject, SubjectKind, Verdict};
use super::world::{Checked, Problem, World, trial_attributes};
use world::exports::lockgate::policy::places as wit;

/// Who places.
pub enum Placement {
    /// The route's own homes.
    BuiltIn(Stay),
    /// A component.
    Wasm(Box<WasmPlacement>),
}

/// The built-in placement: everything is served from its home.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stay;

/// A placement policy in WASM.
pub struct WasmPlacement(pub(super) Loaded<world::Placement>);

impl Default for Placement {
    fn default() -> Self {
        Self::BuiltIn(Stay)
    }
}

impl Placement {
    /// Which cluster serves `subject`. The caller keeps the answer for the generation it was given for.
    pub async fn place(&self, subject: &Subject) -> Result<Verdict, PolicyFault> {
        match self {
            Self::BuiltIn(Stay) => Ok(Verdict::Stay),
            Self::Wasm(policy) => policy.0.ask(subject).await,
        }
    }

    /// Who places, and how it fares.
    pub fn info(&self) -> PolicyInfo {
        match self {
            Self::BuiltIn(_) => PolicyInfo::built_in("stay"),
            Self::Wasm(policy) => policy.0.info(),
        }
    }
}

impl World for world::Placement {
    const NAME: &'static str = "placement";
    const INTERFACE: &'static str = "places";
    const QUESTION: &'static str = "place";
    type Pre = world::PlacementPre<Guest>;
    type Question = Subject;
    type Answer = Verdict;

    fn pre(linked: InstancePre<Guest>) -> wasmtime::Result<Self::Pre> {
        world::PlacementPre::new(linked)
    }

    async fn instantiate(pre: &Self::Pre, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        pre.instantiate_async(store).await
    }

    async fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Vec<Problem>> {
        let problems = self
            .lockgate_policy_places()
            .call_configure(store, config)
            .await?;
        Ok(problems
            .into_iter()
            .map(|problem| Problem {
                path: problem.path,
                message: problem.message,
            })
            .collect())
    }

    async fn ask(
        &self,
        store: &mut Store<Guest>,
        subject: &Subject,
    ) -> wasmtime::Result<Checked<Verdict>> {
        let verdict = self
            .lockgate_policy_places()
            .call_place(store, &lower(subject))
            .await?;
        Ok(Ok(match verdict {
            wit::Verdict::Stay => Verdict::Stay,
            wit::Verdict::ServeFrom(Cluster::Source) => Verdict::ServeFrom(Side::Source),
            wit::Verdict::ServeFrom(Cluster::Destination) => Verdict::ServeFrom(Side::Destination),
            wit::Verdict::Hold(reason) => Verdict::Hold(printable(&reason, REASON_CHARS_MAX)),
            wit::Verdict::Deny(reason) => Verdict::Deny(printable(&reason, REASON_CHARS_MAX)),
        }))
    }

    fn trial(subject: &Subject) -> Subject {
        Subject {
            attributes: trial_attributes(&subject.attributes),
            ..subject.clone()
        }
    }
}

fn lower(subject: &Subject) -> wit::Subject {
    let kind = match subject.kind {
        SubjectKind::Client => wit::SubjectKind::Client,
        SubjectKind::Group => wit::SubjectKind::Group,
        SubjectKind::Topic => wit::SubjectKind::Topic,
    };
    wit::Subject {
        kind,
        name: subject.name.clone(),
        route: subject.route.clone(),
        generation: subject.generation,
        current: side(subject.current),
        principal: subject.principal.clone(),
        address: subject.address.clone(),
        now_ms: subject.now_ms,
        attributes: subject.attributes.clone(),
    }
}
