//! Which connection serves a link. Every broker has one for the links that keep up and some for those that have much to
//! copy, so that a partition with a terabyte of history does not delay the records of the others.

use std::sync::Arc;

use super::engine::Write;
use super::link::{Link, Shared};
use crate::upstream::ClusterView;
use crate::words::{Side, UpstreamNode};

/// Connections of one broker for links that are far behind: while one request is answered, the next is made.
const FAR_LANES: u8 = 2;

/// One connection's share of a broker's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Those that keep up.
    Near,
    /// A share of those that are far behind.
    Far(u8),
}

impl Lane {
    /// All lanes of a broker.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Near).chain((0..FAR_LANES).map(Self::Far))
    }

    /// The lane of a far link, told by its name.
    pub(super) fn far(number: u64) -> Self {
        Self::Far((number % u64::from(FAR_LANES)) as u8)
    }
}

/// The links whose partitions one broker leads, at their home or as their copy, looked up again only when links or leaders have changed.
#[derive(Debug)]
pub(super) struct Led {
    home: Side,
    side: Side,
    node: UpstreamNode,
    all: Arc<Vec<Arc<Link>>>,
    view: Arc<ClusterView>,
    led: Vec<Arc<Link>>,
    /// Where the next request begins, so that a full one starves nobody.
    next: usize,
}

impl Led {
    /// Those with this home that the broker of this side leads.
    pub(super) fn by(home: Side, side: Side, node: UpstreamNode) -> Self {
        Self {
            home,
            side,
            node,
            all: Arc::default(),
            view: Arc::default(),
            led: Vec::new(),
            next: 0,
        }
    }

    /// Sorted by topic and partition.
    pub(super) fn links(&mut self, shared: &Shared) -> &[Arc<Link>] {
        let all = shared.links();
        let view = shared.clusters.on(self.side).view();
        if !Arc::ptr_eq(&all, &self.all) || !Arc::ptr_eq(&view, &self.view) {
            let leads = |link: &&Arc<Link>| {
                let leader = || view.leader(&link.at.topic, link.at.partition);
                link.home == self.home && leader() == Some(self.node)
            };
            self.led = all.iter().filter(leads).cloned().collect();
            self.view = view.clone();
            self.all = all;
        }
        &self.led
    }

    /// What `take` gives for the links of a lane, sorted by topic and partition. They are asked in turn, beginning
    /// behind the last one that was served.
    pub(super) fn take_writes(
        &mut self,
        shared: &Shared,
        lane: Lane,
        mut take: impl FnMut(&Link) -> Option<Write>,
    ) -> Vec<(Arc<Link>, Write)> {
        self.links(shared);
        let (before, after) = self.led.split_at(self.next.min(self.led.len()));
        let mut writes: Vec<_> = after
            .iter()
            .chain(before)
            .filter(|link| link.lane() == lane)
            .filter_map(|link| take(link).map(|write| (link.clone(), write)))
            .collect();
        if let Some((last, _)) = writes.last() {
            let found = self.led.binary_search_by(|link| link.at.cmp(&last.at));
            self.next = found.map_or(0, |index| (index + 1) % self.led.len());
        }
        writes.sort_by(|(one, _), (other, _)| one.at.cmp(&other.at));
        writes
    }
}
