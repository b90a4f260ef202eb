//! Who this pair of clusters is, and what a start makes of what it finds. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entry::Entries;
use super::keys::{Key, Kind};
use crate::route::STATE_TOPIC;
use crate::words::Side;

/// The first record of both copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Drawn at the first start.
    pub id: Uuid,
    /// The source's cluster id, which clients see for ever.
    pub source: String,
    /// The destination's cluster id.
    pub destination: String,
}

impl Identity {
    /// The cluster id of one side.
    #[must_use]
    pub fn cluster_id(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

/// The key of the identity.
pub(super) fn key() -> Key {
    Key::new(Kind::Identity, "pair")
}

/// What was found at one side.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The cluster cannot be reached.
    Unreachable,
    /// The topic is not there.
    Missing,
    /// The topic was read.
    Read(&'a Entries),
}

/// What the start does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Nothing was ever written: draw an identity and write it to both.
    First,
    /// A first start was cut off between its two identity records: write this one to the other copy.
    Finish(Side, Identity),
    /// The usual case.
    Go(Identity),
}

/// Decides a start from what was found at the source and the destination.
pub(super) fn begin(found: [Found<'_>; 2]) -> Result<Beginning, String> {
    let mut identities = [None, None];
    for side in Side::BOTH {
        if let Found::Read(entries) = &found[side.index()] {
            identities[side.index()] = identity_of(entries)
                .map_err(|why| format!("the copy of the state at the {side}: {why}"))?;
        }
    }
    match (found, identities) {
        (_, [Some(source), Some(destination)]) if source == destination => {
            Ok(Beginning::Go(source))
        }
        (_, [Some(source), Some(destination)]) => Err(format!(
            "the copies of the state are of two pairs (identity {} at the source, {} at the destination); if one of \
             them is stale, `lockgate state copy` replaces it with the other",
            source.id, destination.id
        )),
        ([Found::Unreachable, _], [_, Some(identity)])
        | ([_, Found::Unreachable], [Some(identity), _]) => Ok(Beginning::Go(identity)),
        ([Found::Unreachable, _] | [_, Found::Unreachable], _) => Err(
            "no state was found at the one cluster that can be reached, and the first start needs both".to_owned(),
        ),
        (_, [None, None]) => Ok(Beginning::First),
        ([Found::Read(only), _], [Some(identity), None]) if only.len() == 1 => {
            Ok(Beginning::Finish(Side::Destination, identity))
        }
        ([_, Found::Read(only)], [None, Some(identity)]) if only.len() == 1 => {
            Ok(Beginning::Finish(Side::Source, identity))
        }
        ([source, _], [None, _]) => Err(lost(Side::Source, &source)),
        ([_, destination], [_, None]) => Err(lost(Side::Destination, &destination)),
    }
}

fn identity_of(entries: &Entries) -> Result<Option<Identity>, String> {
    match entries.get(&key()) {
        Some(versioned) => {
            let value = versioned.value.clone().unwrap_or_default();
            let identity = serde_json::from_value(value);
            identity
                .map(Some)
                .map_err(|cause| format!("its identity record cannot be read: {cause}"))
        }
        None if entries.is_empty() => Ok(None),
        None => Err("it has records but no identity".to_owned()),
    }
}

/// The sentence for a copy that was there and is gone.
fn lost(side: Side, found: &Found<'_>) -> String {
    let what = match found {
        Found::Missing => "missing",
        _ => "empty",
    };
    format!(
        "the copy of the state at the {side} (topic {STATE_TOPIC}) is {what}, the other is not; \
         `lockgate state copy` restores it from the other"
    )
}

#[cfg(test)]
mod tests {
    use super::super::entry::Versioned;
    use super::*;

    fn identity(id: u128) -> Identity {
        Identity {
            id: Uuid::from_u128(id),
            source: "s".to_owned(),
            destination: "d".to_owned(),
        }
    }

    fn copy(id: u128, more: bool) -> Entries {
        let value = |value| Versioned {
            version: 1,
            value: Some(value),
        };
        let mut entries =
            Entries::from([(key(), value(serde_json::to_value(identity(id)).unwrap()))]);
        if more {
            entries.insert(Key::new(Kind::Route, "a"), value(serde_json::json!(1)));
        }
        entries
    }

    #[test]
    fn first_starts() {
        let empty = Entries::new();
        for found in [
            [Found::Missing, Found::Missing],
            [Found::Read(&empty), Found::Missing],
        ] {
            assert_eq!(begin(found), Ok(Beginning::First));
        }
        let alone = begin([Found::Missing, Found::Unreachable]).unwrap_err();
        assert!(alone.contains("first start needs both"), "{alone}");
        let cut_off = begin([Found::Read(&copy(1, false)), Found::Missing]);
        assert_eq!(
            cut_off,
            Ok(Beginning::Finish(Side::Destination, identity(1)))
        );
    }

    #[test]
    fn later_starts() {
        let full = copy(1, true);
        let go = Ok(Beginning::Go(identity(1)));
        assert_eq!(begin([Found::Read(&full), Found::Read(&full)]), go);
        assert_eq!(begin([Found::Unreachable, Found::Read(&full)]), go);
        assert_eq!(begin([Found::Read(&full), Found::Unreachable]), go);
    }

    #[test]
    fn a_copy_that_is_gone_or_of_another_pair_ends_the_start() {
        let full = copy(1, true);
        let missing = begin([Found::Read(&full), Found::Missing]).unwrap_err();
        assert!(
            missing.contains("destination") && missing.contains("missing"),
            "{missing}"
        );
        let empty = begin([Found::Read(&Entries::new()), Found::Read(&full)]).unwrap_err();
        assert!(
            empty.contains("source") && empty.contains("empty"),
            "{empty}"
        );
        let other = begin([Found::Read(&full), Found::Read(&copy(2, true))]).unwrap_err();
        for sentence in [missing, empty, other] {
            assert!(sentence.contains("lockgate state copy"), "{sentence}");
        }
    }

    #[test]
    fn records_without_an_identity_are_refused() {
        let mut odd = copy(1, true);
        odd.remove(&key());
        assert!(begin([Found::Read(&odd), Found::Missing]).is_err());
    }
}
