//! The policy host against guests written by hand; no WASM toolchain is needed.

mod faults;
mod guests;
mod loading;

use std::path::PathBuf;

use tempfile::TempDir;

use super::question::{
    CommittedOffset, GroupState, GroupStatus, RouteStatus, Side, Subject, SubjectKind,
};
use super::question::{Proposal, TranslationRequest};
use super::{Cutover, Limits, PolicyFault, PolicyHost, PolicySource};

/// A folder with components, removed with the test.
struct Shelf {
    folder: TempDir,
}

impl Shelf {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a file and names it as a policy.
    fn put(&self, name: &str, bytes: &[u8]) -> PolicySource {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut source = PolicySource::from_file(path, serde_json::Value::Null);
        // Room for a debug build on a loaded machine; the grain of the epoch is what is tested.
        source.limits = Limits {
            answer_bytes: 64 << 10,
            ..Limits::default()
        };
        source
    }
}

/// A route with one group. The guest of `guests::CUTOVER` behaves by the generation.
fn status(generation: u64) -> RouteStatus {
    let group = GroupStatus {
        name: "g".to_owned(),
        home: Side::Source,
        state: GroupState::Stable,
        members: 1,
    };
    RouteStatus {
        groups: vec![group],
        ..RouteStatus::at_source("orders", generation, 1_000)
    }
}

fn request(offsets: usize) -> TranslationRequest {
    let committed = CommittedOffset {
        topic: "orders".to_owned(),
        partition: 0,
        offset: 3,
        metadata: String::new(),
    };
    TranslationRequest {
        group: "g".to_owned(),
        generation: 1,
        now_ms: 1_000,
        offsets: vec![committed; offsets],
        attributes: Vec::new(),
    }
}

fn subject() -> Subject {
    Subject {
        kind: SubjectKind::Group,
        name: "g".to_owned(),
        route: "orders".to_owned(),
        generation: 1,
        current: Side::Source,
        principal: String::new(),
        address: String::new(),
        now_ms: 1_000,
        attributes: Vec::new(),
    }
}

/// Loads the guest that behaves by generation, on trial with a generation that waits.
async fn loaded(shelf: &Shelf, change: impl FnOnce(&mut PolicySource)) -> Cutover {
    let mut source = shelf.put("by-generation.wasm", &guests::cutover());
    change(&mut source);
    PolicyHost::start()
        .unwrap()
        .load_cutover(&source, &status(guests::WAITS))
        .await
        .unwrap()
}

/// Loads what must not load, and says why not.
async fn refused(source: &PolicySource) -> PolicyFault {
    let host = PolicyHost::start().unwrap();
    match host.load_cutover(source, &status(guests::WAITS)).await {
        Ok(_) => panic!("{} was loaded", source.path.display()),
        Err(fault) => fault,
    }
}

fn waits() -> Proposal {
    Proposal::Wait("wait a moment".to_owned())
}
