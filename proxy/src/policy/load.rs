//! From a file to a policy that counts as loaded: read, compile, check, link, try.
//!
//! Whatever is wrong is said in one sentence that names the file and the cure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::cutover::lockgate::policy::{facts, log, metrics as counters};
use super::fault::{FaultKind, PolicyFault};
use super::guest::{Budget, Facts, Guest};
use super::instance::Loaded;
use super::limits::{COMPONENT_BYTES_MAX, Limits};
use super::world::{PACKAGE, VERSION, World};

/// How a component is made of a Rust crate.
const BUILD_CURE: &str = "build it for wasm32-unknown-unknown and make a component of it, as `cargo xtask` does \
                          for the crates under plugins/";

/// What a policy may use. What is not granted is not linked.
#[derive(Clone)]
pub struct Capabilities {
    /// Lines in Lockgate's log.
    pub log: bool,
    /// Counters of its own.
    pub metrics: bool,
    /// Read-only facts; granted when there is somebody to answer.
    pub facts: Option<Arc<dyn Facts>>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            log: true,
            metrics: true,
            facts: None,
        }
    }
}

/// Where a policy comes from, and what it lives with.
#[derive(Clone)]
pub struct PolicySource {
    /// Its name in logs, metrics and the API.
    pub name: String,
    /// The component file.
    pub path: PathBuf,
    /// Its configuration; `Null` counts as an empty object.
    pub config: serde_json::Value,
    /// Its bounds.
    pub limits: Limits,
    /// What it may use.
    pub capabilities: Capabilities,
}

impl PolicySource {
    /// A policy with the default bounds and capabilities, named after its file.
    pub fn from_file(path: impl Into<PathBuf>, config: serde_json::Value) -> Self {
        let path = path.into();
        let name = path.file_stem().map_or_else(
            || "policy".to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        Self {
            name,
            path,
            config,
            limits: Limits::default(),
            capabilities: Capabilities::default(),
        }
    }
}

/// A fault of loading, in the making.
struct Refusal<'a> {
    source: &'a PolicySource,
    world: &'static str,
    digest: String,
}

impl Refusal<'_> {
    fn because(&self, why: &str) -> PolicyFault {
        let path = self.source.path.display();
        let message = format!("the {} policy {path} cannot be loaded: {why}", self.world);
        PolicyFault::new(FaultKind::Load, &self.source.name, &self.digest, &message)
    }
}

/// Loads a policy and tries it once with `sample`. Only what has answered counts as loaded.
pub(super) async fn load<W: World>(
    engine: &Arc<Engine>,
    source: &PolicySource,
    sample: &W::Question,
) -> Result<Loaded<W>, PolicyFault> {
    let mut refusal = Refusal {
        source,
        world: W::NAME,
        digest: String::new(),
    };
    let path = source.path.clone();
    let bytes = blocking(move || read(&path))
        .await
        .map_err(|why| refusal.because(&why))?;
    refusal.digest = hex(&Sha256::digest(&bytes));

    let compiler = Arc::clone(engine);
    let component = blocking(move || compile(&compiler, &bytes))
        .await
        .map_err(|why| refusal.because(&why))?;
    check_exports::<W>(engine, &component).map_err(|why| refusal.because(&why))?;
    check_imports(engine, &component, &source.capabilities).map_err(|why| refusal.because(&why))?;
    let pre = link::<W>(engine, &component, &source.capabilities)
        .map_err(|error| refusal.because(&format!("it does not fit this Lockgate: {error:#}")))?;

    let config = if source.config.is_null() {
        "{}".to_owned()
    } else {
        source.config.to_string()
    };
    let loaded = Loaded {
        name: source.name.clone(),
        digest: refusal.digest.clone(),
        engine: Arc::clone(engine),
        pre,
        config,
        limits: source.limits,
        facts: source.capabilities.facts.clone(),
        budget: Arc::new(Budget::new(&source.name)),
        slot: tokio::sync::Mutex::new(None),
        record: std::sync::Mutex::default(),
    };
    loaded
        .answer(&W::trial(sample))
        .await
        .map_err(|fault| refusal.because(&fault.message))?;
    Ok(loaded)
}

/// Runs what takes long off the runtime's threads: a large component compiles for seconds.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the work on it was cut short ({error})")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("there is no such file; give the path of a component, or {BUILD_CURE}")
        }
        _ => format!("it cannot be read ({error})"),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("it is not a file; give the path of a component".to_owned());
    }
    if metadata.len() > COMPONENT_BYTES_MAX {
        let size = metadata.len();
        return Err(format!(
            "it has {size} bytes, more than the {COMPONENT_BYTES_MAX} allowed; strip it"
        ));
    }
    std::fs::read(path).map_err(unreadable)
}

fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, String> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(
            "it is precompiled native code, which is never accepted; give the component".to_owned(),
        );
    }
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(format!(
            "it is a core module, not a component; {BUILD_CURE}"
        )),
        [0, b'a', b's', b'm', ..] => Component::from_binary(engine, bytes)
            .map_err(|error| format!("it is not a valid component ({error:#}); {BUILD_CURE}")),
        _ => Err(format!("it is not WASM; {BUILD_CURE}")),
    }
}

/// Says which world a component was built for when it is not `W`, and which version.
fn check_exports<W: World>(engine: &Engine, component: &Component) -> Result<(), String> {
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let wanted = interface(W::INTERFACE);
    if exports.contains(&wanted.as_str()) {
        return Ok(());
    }
    let prefix = format!("{PACKAGE}/{}@", W::INTERFACE);
    if let Some(version) = exports.iter().find_map(|name| name.strip_prefix(&prefix)) {
        return Err(format!(
            "it was built for version {version} of {PACKAGE}, this Lockgate speaks {VERSION}; rebuild it"
        ));
    }
    let worlds = [
        ("steps", "cutover"),
        ("offsets", "translation"),
        ("places", "placement"),
    ];
    let other = worlds
        .iter()
        .find(|(name, _)| exports.contains(&interface(name).as_str()));
    Err(match other {
        Some((_, world)) => {
            format!("it is a {world} policy; name it in the route's `{world}` section, not here")
        }
        None => format!(
            "it exports nothing of {PACKAGE}@{VERSION}; build it for the world `{}`",
            W::NAME
        ),
    })
}

fn check_imports(
    engine: &Engine,
    component: &Component,
    granted: &Capabilities,
) -> Result<(), String> {
    let ty = component.component_type();
    for (name, _) in ty.imports(engine) {
        let capability = name
            .strip_prefix(PACKAGE)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_suffix(VERSION))
            .and_then(|rest| rest.strip_suffix('@'));
        let allowed = match capability {
            Some("types") => true,
            Some("log") => granted.log,
            Some("metrics") => granted.metrics,
            Some("facts") => granted.facts.is_some(),
            _ if name.starts_with("wasi:") => {
                return Err(format!(
                    "it wants `{name}`, and policies get no WASI (no files, no sockets, no clock); build it for \
                     wasm32-unknown-unknown instead of a wasip target"
                ));
            }
            _ => {
                return Err(format!(
                    "it wants `{name}`, which this Lockgate does not offer; rebuild it for {PACKAGE}@{VERSION}"
                ));
            }
        };
        if !allowed {
            return Err(format!(
                "it wants the capability `{name}`, which it is not granted; grant it or do without"
            ));
        }
    }
    Ok(())
}

fn link<W: World>(
    engine: &Engine,
    component: &Component,
    granted: &Capabilities,
) -> wasmtime::Result<W::Pre> {
    let mut linker = Linker::<Guest>::new(engine);
    if granted.log {
        log::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    }
    if granted.metrics {
        counters::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    }
    if granted.facts.is_some() {
        facts::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    }
    W::pre(linker.instantiate_pre(component)?)
}

fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
