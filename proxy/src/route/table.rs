//! Which route owns a name. Fixed for the life of the process; every topic, group and transactional id belongs to
//! exactly one route, or to none where it is Kafka's or Lockgate's own.

use globset::{Glob, GlobMatcher};

use crate::config::RouteConfig;

/// A route's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// The topic in which Lockgate keeps its state.
pub const STATE_TOPIC: &str = "__lockgate_state";

const NEVER_ROUTED: [&str; 5] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
    STATE_TOPIC,
];

/// Groups of Lockgate's own begin so; no route holds them.
const OWN_GROUP_PREFIX: &str = "lockgate-";

#[derive(Debug, Clone, Default)]
struct Patterns {
    exact: Vec<(String, RouteId)>,
    globs: Vec<(GlobMatcher, RouteId)>,
}

/// The patterns of all routes.
#[derive(Debug, Clone)]
pub struct RouteTable {
    names: Vec<String>,
    topics: Patterns,
    groups: Patterns,
    transactional_ids: Patterns,
}

impl RouteTable {
    /// The route that owns what no other names.
    pub const DEFAULT: &'static str = "default";

    /// Builds the table; refuses names that two routes hold. `routes` ends with `default`.
    pub fn new(routes: &[RouteConfig]) -> Result<Self, String> {
        let mut table = Self {
            names: Vec::with_capacity(routes.len()),
            topics: Patterns::default(),
            groups: Patterns::default(),
            transactional_ids: Patterns::default(),
        };
        for (index, route) in routes.iter().enumerate() {
            if route.name.is_empty() || table.names.contains(&route.name) {
                return Err(format!(
                    "two routes are named {:?}; names are unique and not empty",
                    route.name
                ));
            }
            table.names.push(route.name.clone());
            let id = RouteId(index);
            table.topics.add(id, &route.topics)?;
            table.groups.add(id, &route.groups)?;
            table.transactional_ids.add(id, &route.transactional_ids)?;
        }
        table.topics.check("topic", &table.names)?;
        table.groups.check("group", &table.names)?;
        table
            .transactional_ids
            .check("transactional id", &table.names)?;
        Ok(table)
    }

    /// The routes' names in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A route by name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<RouteId> {
        self.names
            .iter()
            .position(|known| known == name)
            .map(RouteId)
    }

    /// A route's name; empty for an id of another table.
    #[must_use]
    pub fn name(&self, id: RouteId) -> &str {
        self.names.get(id.0).map_or("", String::as_str)
    }

    /// The route of a topic; none for Kafka's and Lockgate's own topics.
    #[must_use]
    pub fn topic(&self, topic: &str) -> Option<RouteId> {
        if NEVER_ROUTED.contains(&topic) {
            return None;
        }
        Some(
            self.topics
                .find(topic)
                .unwrap_or_else(|| self.default_route()),
        )
    }

    /// The route of a consumer group; none for Lockgate's own.
    #[must_use]
    pub fn group(&self, group: &str) -> Option<RouteId> {
        if group.starts_with(OWN_GROUP_PREFIX) {
            return None;
        }
        Some(
            self.groups
                .find(group)
                .unwrap_or_else(|| self.default_route()),
        )
    }

    /// The route of a transactional id; none for Lockgate's own.
    #[must_use]
    pub fn transactional_id(&self, id: &str) -> Option<RouteId> {
        if id.starts_with(OWN_GROUP_PREFIX) {
            return None;
        }
        Some(
            self.transactional_ids
                .find(id)
                .unwrap_or_else(|| self.default_route()),
        )
    }

    /// Whether the route holds any transactional id by configuration.
    #[must_use]
    pub fn names_transactional_ids(&self, id: RouteId) -> bool {
        let ids = &self.transactional_ids;
        ids.exact.iter().any(|(_, owner)| *owner == id)
            || ids.globs.iter().any(|(_, owner)| *owner == id)
    }

    /// A name that two routes hold, among names seen at run time; globs can overlap on them.
    #[must_use]
    pub fn two_owners(&self, topic: &str) -> Option<(RouteId, RouteId)> {
        self.topics.two_owners(topic)
    }

    fn default_route(&self) -> RouteId {
        RouteId(self.names.len().saturating_sub(1))
    }
}

impl Patterns {
    fn add(&mut self, id: RouteId, patterns: &[String]) -> Result<(), String> {
        for pattern in patterns {
            if pattern.contains(['*', '?', '[', '{']) {
                let glob = Glob::new(pattern)
                    .map_err(|cause| format!("{pattern:?} is not a glob: {cause}"))?;
                self.globs.push((glob.compile_matcher(), id));
            } else {
                self.exact.push((pattern.clone(), id));
            }
        }
        Ok(())
    }

    /// Refuses an exact name that two routes hold, by name or by glob, and equal globs.
    fn check(&self, what: &str, names: &[String]) -> Result<(), String> {
        let overlap = |name: &str, a: RouteId, b: RouteId| {
            format!(
                "{what} {name:?} belongs to two routes, {:?} and {:?}; it must belong to one",
                names[a.0], names[b.0]
            )
        };
        for (name, _) in &self.exact {
            if let Some((a, b)) = self.two_owners(name) {
                return Err(overlap(name, a, b));
            }
        }
        for (index, (glob, id)) in self.globs.iter().enumerate() {
            for (other, owner) in &self.globs[index + 1..] {
                if owner != id && glob.glob().glob() == other.glob().glob() {
                    return Err(overlap(glob.glob().glob(), *id, *owner));
                }
            }
        }
        Ok(())
    }

    fn owners<'a>(&'a self, name: &'a str) -> impl Iterator<Item = RouteId> + 'a {
        let exact = self
            .exact
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, id)| *id);
        let globs = self
            .globs
            .iter()
            .filter(move |(glob, _)| glob.is_match(name))
            .map(|(_, id)| *id);
        exact.chain(globs)
    }

    fn find(&self, name: &str) -> Option<RouteId> {
        self.owners(name).next()
    }

    fn two_owners(&self, name: &str) -> Option<(RouteId, RouteId)> {
        let first = self.find(name)?;
        self.owners(name)
            .find(|other| *other != first)
            .map(|other| (first, other))
    }
}
