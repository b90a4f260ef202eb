//! The topics that one connection has named: their routes (globs are matched once) and what was already done for them.

use std::collections::HashMap;
use std::sync::Arc;

use super::ended::{BadFrame, Ended, Step};
use crate::route::{RouteId, RouteTable};
use crate::words::Generation;

/// Topics that one connection may name. Large estates have thousands; a client that invents names is cut off.
const TOPICS_MAX: usize = 50_000;

/// One topic of this connection.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// None for topics that no route may hold.
    pub(super) route: Option<RouteId>,
    /// Whether this connection has written it non-idempotently.
    pub(super) sticky: bool,
    /// Under which generation older requests of the client on the other side were waited for.
    pub(super) waited: Option<Generation>,
}

/// A topic's place in [`Topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicIndex(usize);

/// All topics of one connection.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: HashMap<Arc<str>, TopicIndex>,
    list: Vec<Topic>,
}

impl Topics {
    /// The topic of a name. Allocates when it is named for the first time.
    pub(super) fn index(&mut self, name: &str, table: &RouteTable) -> Step<TopicIndex> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        if self.list.len() >= TOPICS_MAX {
            let what = format!("more than {TOPICS_MAX} topics on one connection");
            return Err(Ended::Bad(BadFrame::Body, what));
        }
        let (index, name) = (TopicIndex(self.list.len()), Arc::<str>::from(name));
        self.list.push(Topic {
            name: name.clone(),
            route: table.topic(&name),
            sticky: false,
            waited: None,
        });
        self.by_name.insert(name, index);
        Ok(index)
    }

    pub(super) fn get(&self, index: TopicIndex) -> &Topic {
        &self.list[index.0]
    }

    pub(super) fn get_mut(&mut self, index: TopicIndex) -> &mut Topic {
        &mut self.list[index.0]
    }
}
