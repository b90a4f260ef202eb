//! A start: both copies opened and checked, the identity written at the first one, both brought level, and this process
//! named as the one that writes.

use std::sync::Arc;

use uuid::Uuid;

use super::copy::{Copy, coordinator_key};
use super::entry::{Entries, Versioned};
use super::identity::{self, Beginning, Found, Identity};
use super::level::level;
use super::topic;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Clusters};
use crate::words::Side;

/// Added to every version where one copy was not seen: what it may hold stays lower than what is written now.
pub(super) const UNSEEN_STRIDE: u64 = 1_000;

/// What a start found and made.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) me: Uuid,
    pub(super) identity: Identity,
    pub(super) known: Entries,
    pub(super) copies: [Option<Copy>; 2],
}

/// Opens both copies and brings them level.
pub(super) async fn open(clusters: &Clusters) -> Result<Opened> {
    let me = Uuid::new_v4();
    let (source, destination) =
        tokio::join!(look(&clusters.source, me), look(&clusters.destination, me));
    let mut looks = [source?, destination?];
    let beginning = identity::begin([looks[0].found(), looks[1].found()]);
    let identity = match beginning.map_err(Error::refused)? {
        Beginning::Go(identity) => identity,
        Beginning::First => {
            let identity = Identity {
                id: uuid::Uuid::new_v4(),
                source: clusters.source.view().cluster_id.clone(),
                destination: clusters.destination.view().cluster_id.clone(),
            };
            tracing::info!(id = %identity.id, "first start: the state topic is made on both clusters");
            for side in Side::BOTH {
                write_identity(clusters.on(side), &mut looks[side.index()], &identity, me).await?;
            }
            identity
        }
        Beginning::Finish(side, identity) => {
            write_identity(clusters.on(side), &mut looks[side.index()], &identity, me).await?;
            identity
        }
    };
    for side in Side::BOTH {
        check_cluster(clusters.on(side), &identity, &looks[side.index()])?;
    }
    let mut copies = looks.map(Look::copy);
    let mut known = bring_level(&mut copies).await?;
    let mark = coordinator_mark(me, &known, copies.iter().any(Option::is_none))?;
    for side in Side::BOTH {
        if let Some(copy) = &mut copies[side.index()] {
            let written = copy.write(&mark).await;
            written.map_err(|error| error.into_error(side))?;
        }
    }
    known.extend(mark);
    Ok(Opened {
        me,
        identity,
        known,
        copies,
    })
}

/// The record that says who writes from now on.
fn coordinator_mark(me: Uuid, known: &Entries, unseen: bool) -> Result<Entries> {
    let key = coordinator_key();
    let value = serde_json::to_value(me).map_err(|cause| {
        Error::internal("the coordinator record cannot be written").because(cause)
    })?;
    let last = known.get(&key).map_or(0, |versioned| versioned.version);
    let versioned = Versioned {
        version: last + 1 + if unseen { UNSEEN_STRIDE } else { 0 },
        value: Some(value),
    };
    Ok(Entries::from([(key, versioned)]))
}

enum Look {
    Unreachable,
    Missing,
    Open(Box<Copy>),
}

impl Look {
    fn found(&self) -> Found<'_> {
        match self {
            Self::Unreachable => Found::Unreachable,
            Self::Missing => Found::Missing,
            Self::Open(copy) => Found::Read(copy.entries()),
        }
    }

    fn copy(self) -> Option<Copy> {
        match self {
            Self::Open(copy) => Some(*copy),
            Self::Unreachable | Self::Missing => None,
        }
    }
}

async fn look(cluster: &Arc<Cluster>, me: Uuid) -> Result<Look> {
    let exists = match topic::exists(cluster).await {
        Ok(exists) => exists,
        Err(error) => return unreachable_or(cluster, error),
    };
    if !exists {
        return Ok(Look::Missing);
    }
    match Copy::open(cluster.clone(), None, me).await {
        Ok(copy) => Ok(Look::Open(Box::new(copy))),
        Err(error) => unreachable_or(cluster, error),
    }
}

fn unreachable_or(cluster: &Cluster, error: Error) -> Result<Look> {
    if !matches!(error.kind, Kind::Disconnected | Kind::TimedOut) {
        return Err(error);
    }
    tracing::warn!(side = %cluster.side(), %error, "this copy of the state cannot be reached");
    Ok(Look::Unreachable)
}

async fn write_identity(
    cluster: &Arc<Cluster>,
    look: &mut Look,
    identity: &Identity,
    me: Uuid,
) -> Result<()> {
    if matches!(look, Look::Missing) {
        topic::create(cluster).await?;
        *look = Look::Open(Box::new(Copy::open(cluster.clone(), None, me).await?));
    }
    let Look::Open(copy) = look else {
        return Err(Error::refused("the first start needs both clusters"));
    };
    let value = serde_json::to_value(identity)
        .map_err(|cause| Error::internal("the identity cannot be written").because(cause))?;
    let versioned = Versioned {
        version: 1,
        value: Some(value),
    };
    let entries = Entries::from([(identity::key(), versioned)]);
    copy.write(&entries)
        .await
        .map_err(|error| error.into_error(cluster.side()))
}

fn check_cluster(cluster: &Cluster, identity: &Identity, look: &Look) -> Result<()> {
    let side = cluster.side();
    let (wanted, found) = (identity.cluster_id(side), cluster.view().cluster_id.clone());
    if matches!(look, Look::Open(_)) && wanted != found {
        return Err(Error::refused(format!(
            "the state belongs to cluster {wanted} as the {side}, but the configured {side} is cluster {found}"
        )));
    }
    Ok(())
}

/// Writes to each open copy what only the other holds; returns what both hold then.
pub(super) async fn bring_level(copies: &mut [Option<Copy>; 2]) -> Result<Entries> {
    let [source, destination] = copies;
    let (Some(source), Some(destination)) = (source.as_mut(), destination.as_mut()) else {
        let only = source.as_ref().or(destination.as_ref());
        return Ok(only.map_or_else(Entries::new, |copy| copy.entries().clone()));
    };
    let levelled = level(source.entries(), destination.entries()).map_err(|key| {
        Error::refused(format!(
            "the two copies of the state hold different values of {key} under one version; `lockgate state copy` \
             replaces one copy with the other"
        ))
    })?;
    let (at_source, at_destination) = tokio::join!(
        source.write(&levelled.to_first),
        destination.write(&levelled.to_second)
    );
    at_source.map_err(|error| error.into_error(Side::Source))?;
    at_destination.map_err(|error| error.into_error(Side::Destination))?;
    Ok(levelled.merged)
}
