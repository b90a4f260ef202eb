//! What home and copy exchange when the producers move: who deletes, and who gives the time (DESIGN section 4). Before
//! the fence the former home stops deleting; inside it, when nothing is copied any more, the new home begins to give
//! the time; everything else follows after Open. Each step is journaled before it is taken and may be repeated.

use std::sync::Arc;
use std::time::Duration;

use super::apply;
use crate::error::{Error, Result};
use crate::replicator::link::Shared;
use crate::replicator::settings::{Changes, LOG_APPEND_TIME, TIMESTAMP_TYPE, is_stamped};
use crate::replicator::topic_calls;
use crate::upstream::Target as Broker;
use crate::words::Side;

/// How often the leaders are asked whether they have a new setting.
const APPLIED_CHECK: Duration = Duration::from_millis(5);

/// Before the fence: from here on the former home deletes nothing by itself, and takes what a copy has to take.
pub(in crate::replicator) async fn before_open(
    shared: &Shared,
    topics: &[Arc<str>],
    to: Side,
) -> Result<()> {
    for topic in topics {
        let Some(mut record) = shared.journal.topic(topic)? else {
            return Err(unknown(topic));
        };
        if to == Side::Destination && !record.source_is_copy {
            record.source_is_copy = true;
            shared.journal.put_topic(topic, record.clone()).await?;
        }
        apply(shared, to.other(), topic, &record, |target, own| {
            target.before_copy(own)
        })
        .await?;
    }
    Ok(())
}

/// Inside the fence, with the links at rest: the new home gives the records of stamped topics their time.
pub(in crate::replicator) async fn take_time(
    shared: &Shared,
    topics: &[Arc<str>],
    to: Side,
) -> Result<()> {
    for topic in topics {
        let record = shared.journal.topic(topic)?.ok_or_else(|| unknown(topic))?;
        if !is_stamped(&record.own()) {
            continue;
        }
        let cluster = shared.clusters.on(to);
        let kind = Some(LOG_APPEND_TIME.to_owned());
        let changes = Changes::from([(TIMESTAMP_TYPE.to_owned(), kind)]);
        topic_calls::alter(cluster, topic, &changes).await?;
        applied(shared, to, topic).await?;
    }
    Ok(())
}

/// Waits until every broker that leads a partition has the new setting; the fence's deadline bounds it.
async fn applied(shared: &Shared, side: Side, topic: &Arc<str>) -> Result<()> {
    let cluster = shared.clusters.on(side);
    let leaders: std::collections::BTreeSet<_> = {
        let view = cluster.view();
        let topic = view.topics.get(topic);
        let partitions = topic.into_iter().flat_map(|topic| &topic.partitions);
        partitions
            .filter_map(|partition| partition.leader)
            .collect()
    };
    for node in leaders {
        loop {
            let there = topic_calls::describe_at(cluster, Broker::Broker(node), topic).await?;
            if is_stamped(&there.own) {
                break;
            }
            tokio::time::sleep(APPLIED_CHECK).await;
        }
    }
    Ok(())
}

/// The fence was lifted. Links whose copy got a home's settings are prepared again; the others go on at once. The
/// topics' followers give the home back what `before_open` took.
pub(in crate::replicator) fn lifted(shared: &Shared, topics: &[Arc<str>]) {
    for topic in topics {
        let stamped = match shared.journal.topic(topic) {
            Ok(Some(record)) => is_stamped(&record.own()),
            // Not known: the careful way.
            _ => true,
        };
        for link in shared.links_of(&|name| name == &**topic) {
            let mut engine = link.engine();
            if stamped {
                engine.unprepare();
            } else {
                engine.resume();
            }
        }
        shared.again(topic);
    }
    shared.rerouted.raise();
}

pub(super) fn unknown(topic: &str) -> Error {
    Error::refused(format!("topic {topic:?} was not made by Lockgate"))
}
