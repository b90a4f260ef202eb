//! Translation: where a group continues at the destination.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::PolicyInfo;
use super::bindings::translation as world;
use super::fault::{PolicyFault, printable};
use super::guest::Guest;
use super::instance::Loaded;
use super::limits::REASON_CHARS_MAX;
use super::question::{DestinationOffset, TranslationRequest};
use super::world::{Checked, Problem, World, trial_attributes};
use world::exports::lockgate::policy::offsets as wit;

/// Who translates committed offsets.
pub enum Translation {
    /// The offset map.
    BuiltIn(Exact),
    /// A component.
    Wasm(Box<WasmTranslation>),
}

/// The built-in translation. Under the `Identity` map a client offset is the destination's own offset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exact;

/// A translation policy in WASM.
pub struct WasmTranslation(pub(super) Loaded<world::Translation>);

impl Default for Translation {
    fn default() -> Self {
        Self::BuiltIn(Exact)
    }
}

impl Translation {
    /// One answer for each committed offset, in the order asked.
    pub async fn translate(
        &self,
        request: &TranslationRequest,
    ) -> Result<Vec<DestinationOffset>, PolicyFault> {
        match self {
            Self::BuiltIn(exact) => Ok(exact.translate(request)),
            Self::Wasm(policy) => policy.0.ask(request).await,
        }
    }

    /// Who translates, and how it fares.
    pub fn info(&self) -> PolicyInfo {
        match self {
            Self::BuiltIn(_) => PolicyInfo::built_in("exact"),
            Self::Wasm(policy) => policy.0.info(),
        }
    }
}

impl Exact {
    /// Each offset unchanged.
    pub fn translate(self, request: &TranslationRequest) -> Vec<DestinationOffset> {
        request
            .offsets
            .iter()
            .map(|committed| DestinationOffset::Offset(committed.offset))
            .collect()
    }
}

impl World for world::Translation {
    const NAME: &'static str = "translation";
    const INTERFACE: &'static str = "offsets";
    const QUESTION: &'static str = "translate";
    type Pre = world::TranslationPre<Guest>;
    type Question = TranslationRequest;
    type Answer = Vec<DestinationOffset>;

    fn pre(linked: InstancePre<Guest>) -> wasmtime::Result<Self::Pre> {
        world::TranslationPre::new(linked)
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
            .lockgate_policy_offsets()
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
        request: &TranslationRequest,
    ) -> wasmtime::Result<Checked<Vec<DestinationOffset>>> {
        let answer = self
            .lockgate_policy_offsets()
            .call_translate(store, &lower(request))
            .await?;
        Ok(answer.and_then(|offsets| lift(offsets, request)))
    }

    fn trial(request: &TranslationRequest) -> TranslationRequest {
        TranslationRequest {
            attributes: trial_attributes(&request.attributes),
            ..request.clone()
        }
    }
}

/// One answer too few, or a negative offset, and none of them is used: they could belong to other partitions.
fn lift(
    offsets: Vec<wit::DestinationOffset>,
    request: &TranslationRequest,
) -> Checked<Vec<DestinationOffset>> {
    if offsets.len() != request.offsets.len() {
        return Err(format!(
            "{} answers for {} committed offsets",
            offsets.len(),
            request.offsets.len()
        ));
    }
    let lifted = offsets
        .into_iter()
        .zip(&request.offsets)
        .map(|(offset, asked)| match offset {
            wit::DestinationOffset::Offset(offset) if offset < 0 => Err(format!(
                "offset {offset} for {}-{}",
                asked.topic, asked.partition
            )),
            wit::DestinationOffset::Offset(offset) => Ok(DestinationOffset::Offset(offset)),
            wit::DestinationOffset::Earliest => Ok(DestinationOffset::Earliest),
            wit::DestinationOffset::Latest => Ok(DestinationOffset::Latest),
            wit::DestinationOffset::Untranslatable(reason) => Ok(
                DestinationOffset::Untranslatable(printable(&reason, REASON_CHARS_MAX)),
            ),
        });
    lifted.collect()
}

fn lower(request: &TranslationRequest) -> wit::Request {
    let offsets = request
        .offsets
        .iter()
        .map(|committed| wit::CommittedOffset {
            topic: committed.topic.clone(),
            partition: committed.partition,
            offset: committed.offset,
            metadata: committed.metadata.clone(),
        });
    wit::Request {
        group: request.group.clone(),
        generation: request.generation,
        now_ms: request.now_ms,
        offsets: offsets.collect(),
        attributes: request.attributes.clone(),
    }
}
