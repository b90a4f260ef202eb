//! Pure: which settings a topic has on each side at each stage of a migration, from the source's own settings (those
//! that differ from its brokers' defaults).

use std::collections::BTreeMap;

/// A topic's own settings by name.
pub(super) type Settings = BTreeMap<String, String>;

/// One change of a setting; none takes the topic back to the broker's default.
pub(super) type Changes = BTreeMap<String, Option<String>>;

/// While filler is written: deletion by age must be on and filler is old, so that its segments go.
const FILLER_RETENTION_MS: &str = "86400000";
/// Batches may be larger than the source's limit of today; a broker takes no request above this by default.
const MAX_MESSAGE_BYTES: i64 = 100 << 20;
const NEVER: &str = "9223372036854775807";
/// Who gives records their time: the client, or the broker that appends them.
pub(super) const TIMESTAMP_TYPE: &str = "message.timestamp.type";
pub(super) const CREATE_TIME: &str = "CreateTime";
pub(super) const LOG_APPEND_TIME: &str = "LogAppendTime";

/// Settings that name brokers of the source, or that brokers of version 4 no longer have.
const NOT_COPIED: [&str; 6] = [
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
    "message.format.version",
    "message.timestamp.difference.max.ms",
    "message.downconversion.enable",
    "follower.replication.throttled.rate",
];
/// Settings that stay at their migration values until commit.
const UNTIL_COMMIT: [&str; 10] = [
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "message.timestamp.type",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
];

/// What the operator overrides, and what the destination's brokers know.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) min_insync_replicas: Option<i16>,
    /// Where clients' retries must be recognised batch by batch, the cleaner has to wait this long.
    pub(super) retry_window_ms: i64,
    /// The settings that the destination has.
    pub(super) known: &'a dyn Fn(&str) -> bool,
}

impl Target<'_> {
    /// While filler is written and deleted.
    pub(super) fn aligning(&self, source: &Settings) -> Changes {
        let mut changes = self.migrating(source);
        changes.insert("cleanup.policy".to_owned(), Some("delete".to_owned()));
        changes.insert(
            "retention.ms".to_owned(),
            Some(FILLER_RETENTION_MS.to_owned()),
        );
        changes
    }

    /// While batches are copied: nothing is recompressed, refused for its age or size, or deleted.
    pub(super) fn migrating(&self, source: &Settings) -> Changes {
        let mut changes = self.copied(source);
        changes.extend(self.as_copy(source));
        let cleanup = source
            .get("cleanup.policy")
            .map_or("delete", String::as_str);
        changes.insert("cleanup.policy".to_owned(), Some(cleanup.to_owned()));
        changes
    }

    /// What a topic needs to be a copy, whatever else it has.
    pub(super) fn as_copy(&self, source: &Settings) -> Changes {
        let largest = number(source, "max.message.bytes", 0).max(MAX_MESSAGE_BYTES);
        let mut fixed = vec![
            ("compression.type", "producer".to_owned()),
            ("max.message.bytes", largest.to_string()),
            (TIMESTAMP_TYPE, CREATE_TIME.to_owned()),
            ("message.timestamp.after.max.ms", NEVER.to_owned()),
            ("message.timestamp.before.max.ms", NEVER.to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
        ];
        if !(self.known)("message.timestamp.after.max.ms") {
            fixed.push(("message.timestamp.difference.max.ms", NEVER.to_owned()));
        }
        if is_compacted(source) {
            let lag = number(source, "min.compaction.lag.ms", 0).max(self.retry_window_ms);
            fixed.push(("min.compaction.lag.ms", lag.to_string()));
        }
        let known = fixed.into_iter().filter(|(name, _)| (self.known)(name));
        known
            .map(|(name, value)| (name.to_owned(), Some(value)))
            .collect()
    }

    /// The same before it is one: its records keep the times that they get, and clients their limits.
    pub(super) fn before_copy(&self, source: &Settings) -> Changes {
        let mut changes = self.as_copy(source);
        changes.remove(TIMESTAMP_TYPE);
        changes
    }

    /// The destination's topic as the home: it deletes and gives the time as the source's topic did. What else a copy
    /// needs stays until commit.
    pub(super) fn as_home(&self, source: &Settings) -> Changes {
        let given = [TIMESTAMP_TYPE, "retention.bytes", "retention.ms"];
        let known = given.into_iter().filter(|name| (self.known)(name));
        known
            .map(|name| (name.to_owned(), source.get(name).cloned()))
            .collect()
    }

    /// The source's topic as it was before it was a copy.
    pub(super) fn restored(&self, source: &Settings) -> Changes {
        let mut changes = self.as_copy(source);
        for (name, value) in &mut changes {
            *value = source.get(name).cloned();
        }
        changes
    }

    /// For good: the source's own value, or the destination's default where the source had none.
    pub(super) fn last(&self, source: &Settings) -> Changes {
        let mut changes = self.copied(source);
        for name in UNTIL_COMMIT {
            if (self.known)(name) {
                changes.insert(name.to_owned(), source.get(name).cloned());
            }
        }
        changes
    }

    /// The source's settings that need no care.
    fn copied(&self, source: &Settings) -> Changes {
        let mut changes: Changes = source
            .iter()
            .filter(|(name, _)| {
                let name = name.as_str();
                !NOT_COPIED.contains(&name) && !UNTIL_COMMIT.contains(&name) && (self.known)(name)
            })
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect();
        if let Some(replicas) = self.min_insync_replicas {
            changes.insert("min.insync.replicas".to_owned(), Some(replicas.to_string()));
        }
        changes
    }
}

/// Whether the brokers give the topic's records their time.
pub(super) fn is_stamped(source: &Settings) -> bool {
    source
        .get(TIMESTAMP_TYPE)
        .is_some_and(|kind| kind == LOG_APPEND_TIME)
}

/// Whether the cleaner works on the topic.
pub(super) fn is_compacted(source: &Settings) -> bool {
    policies(source).any(|policy| policy == "compact")
}

/// Whether the topic is compacted and nothing is ever deleted by age or size: brokers refuse DeleteRecords for it.
pub(super) fn is_compact_only(source: &Settings) -> bool {
    is_compacted(source) && !policies(source).any(|policy| policy == "delete")
}

fn policies(source: &Settings) -> impl Iterator<Item = &str> {
    let value = source
        .get("cleanup.policy")
        .map_or("delete", String::as_str);
    value.split(',').map(str::trim)
}

fn number(source: &Settings, name: &str, otherwise: i64) -> i64 {
    source
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(list: &[(&str, &str)]) -> Settings {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn new_brokers(name: &str) -> bool {
        name != "message.timestamp.difference.max.ms" && name != "message.format.version"
    }

    fn target(known: &dyn Fn(&str) -> bool) -> Target<'_> {
        Target {
            min_insync_replicas: Some(2),
            retry_window_ms: 900_000,
            known,
        }
    }

    #[test]
    fn compacted_topics_are_compacted_only_after_the_filler_is_gone() {
        let own = source(&[("cleanup.policy", "compact"), ("segment.ms", "60000")]);
        let target = target(&new_brokers);
        let aligning = target.aligning(&own);
        assert_eq!(aligning["cleanup.policy"].as_deref(), Some("delete"));
        assert_eq!(
            aligning["retention.ms"].as_deref(),
            Some(FILLER_RETENTION_MS)
        );
        let migrating = target.migrating(&own);
        assert_eq!(migrating["cleanup.policy"].as_deref(), Some("compact"));
        assert_eq!(migrating["retention.ms"].as_deref(), Some("-1"));
        assert_eq!(
            migrating["min.compaction.lag.ms"].as_deref(),
            Some("900000")
        );
        assert_eq!(migrating["segment.ms"].as_deref(), Some("60000"));
        assert!(is_compact_only(&own));
    }

    #[test]
    fn commit_gives_back_what_the_source_had() {
        let own = source(&[("retention.ms", "1000"), ("compression.type", "lz4")]);
        let last = target(&new_brokers).last(&own);
        assert_eq!(last["retention.ms"].as_deref(), Some("1000"));
        assert_eq!(last["compression.type"].as_deref(), Some("lz4"));
        assert_eq!(last["retention.bytes"], None);
        assert_eq!(last["max.message.bytes"], None);
        assert_eq!(last["min.insync.replicas"].as_deref(), Some("2"));
    }

    #[test]
    fn home_and_copy_exchange_deletion_and_the_time() {
        let own = source(&[("retention.ms", "1000"), (TIMESTAMP_TYPE, LOG_APPEND_TIME)]);
        assert!(is_stamped(&own));
        let target = target(&new_brokers);
        let home = target.as_home(&own);
        assert_eq!(home["retention.ms"].as_deref(), Some("1000"));
        assert_eq!(home["retention.bytes"], None);
        assert_eq!(home[TIMESTAMP_TYPE].as_deref(), Some(LOG_APPEND_TIME));
        let copy = target.as_copy(&own);
        assert_eq!(copy["retention.ms"].as_deref(), Some("-1"));
        assert_eq!(copy[TIMESTAMP_TYPE].as_deref(), Some(CREATE_TIME));
        assert!(!target.before_copy(&own).contains_key(TIMESTAMP_TYPE));
        let restored = target.restored(&own);
        assert!(restored.keys().eq(copy.keys()));
        assert_eq!(restored["retention.ms"].as_deref(), Some("1000"));
        assert_eq!(restored["compression.type"], None);
    }

    #[test]
    fn what_the_destination_does_not_know_is_left_out() {
        let own = source(&[("message.format.version", "2.8"), ("confluent.x", "1")]);
        let old = |name: &str| !name.starts_with("confluent") && !name.contains("er.max.ms");
        let migrating = target(&old).migrating(&own);
        assert!(!migrating.contains_key("message.format.version"));
        assert!(!migrating.contains_key("confluent.x"));
        assert!(!migrating.contains_key("message.timestamp.after.max.ms"));
        assert_eq!(
            migrating["message.timestamp.difference.max.ms"].as_deref(),
            Some(NEVER)
        );
    }
}
