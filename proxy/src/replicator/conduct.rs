//! The loop that keeps the others supplied: fetch, produce and marker loops for every broker, ids for links that need
//! one, inspections, comparisons after a change of leader, log starts that follow, and the gauges.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lockgate_wire::producer_id::ProducerId;
use tokio::task::JoinSet;

use super::engine::State;
use super::lane::Lane;
use super::link::{Link, Shared, wait};
use super::{ends, fetch, markers, produce, topic_calls};
use crate::error::Result;
use crate::upstream::ClusterView;
use crate::words::{Side, UpstreamNode};

/// How often everything is looked over without a signal.
const TICK: Duration = Duration::from_millis(100);
/// How often the gauges are set.
const GAUGES: Duration = Duration::from_secs(1);
/// How long outstanding writes may take to be answered when the replicator stops.
const STOP_WITHIN: Duration = Duration::from_secs(16);

/// Runs until the replicator stops; ends when all loops have.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut attention = shared.attention.subscribe();
    let mut loops = JoinSet::new();
    let mut tasks = JoinSet::new();
    let mut served: HashSet<(Side, Side, UpstreamNode)> = HashSet::new();
    let mut gauges_at = Instant::now();
    let mut checked: ([Arc<ClusterView>; 2], Arc<Vec<Arc<Link>>>) = Default::default();
    while !shared.is_stopping() {
        attention.borrow_and_update();
        serve_brokers(&shared, &mut served, &mut loops);
        if let Err(error) = activate(&shared).await {
            tracing::warn!(%error, "the links' ids cannot be journaled yet");
        }
        let views = Side::BOTH.map(|side| shared.clusters.on(side).view().clone());
        let now = (views, shared.links());
        let [source, destination] = &now.0;
        let seen = Arc::ptr_eq(source, &checked.0[0])
            && Arc::ptr_eq(destination, &checked.0[1])
            && Arc::ptr_eq(&now.1, &checked.1);
        for link in now.1.iter() {
            for side in Side::BOTH {
                if !seen {
                    link.check_id(side, &now.0[side.index()]);
                }
            }
            look_after(&shared, &now.0[link.home.index()], link, &mut tasks);
        }
        checked = now;
        while tasks.try_join_next().is_some() {}
        if gauges_at.elapsed() >= GAUGES {
            gauges_at = Instant::now();
            set_gauges(&shared);
        }
        wait(&mut attention, TICK).await;
    }
    tasks.shutdown().await;
    let ended = tokio::time::timeout(STOP_WITHIN, async {
        while loops.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!(
            "a write had no answer when the replicator stopped; the next start reads the destination's end"
        );
    }
}

fn serve_brokers(
    shared: &Arc<Shared>,
    served: &mut HashSet<(Side, Side, UpstreamNode)>,
    loops: &mut JoinSet<()>,
) {
    let links = shared.links();
    for home in Side::BOTH {
        if !links.iter().any(|link| link.home == home) {
            continue;
        }
        for side in Side::BOTH {
            for node in shared.clusters.on(side).view().brokers.keys() {
                if served.insert((home, side, *node)) {
                    serve_broker(shared, side == home, side, *node, loops);
                }
            }
        }
    }
}

fn serve_broker(
    shared: &Arc<Shared>,
    is_home: bool,
    side: Side,
    node: UpstreamNode,
    loops: &mut JoinSet<()>,
) {
    for lane in Lane::all() {
        if is_home {
            loops.spawn(fetch::run(shared.clone(), side, node, lane));
        } else {
            loops.spawn(produce::run(shared.clone(), side, node, lane));
            loops.spawn(markers::run(shared.clone(), side, node, lane));
        }
    }
}

/// Gives ids to the links that wait for one, journaled in one transaction before they are used.
async fn activate(shared: &Shared) -> Result<()> {
    let waiting: Vec<Arc<Link>> = shared
        .links()
        .iter()
        .filter(|link| link.engine().wants_activation())
        .cloned()
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = waiting
        .iter()
        .map(|link| (link.key(), ProducerId::own(rand::random())))
        .collect();
    shared.journal.put_links(&ids).await?;
    for (link, (_, id)) in waiting.iter().zip(ids) {
        let mut engine = link.engine();
        // Only this loop activates, and a link that restarted meanwhile may use the new id as well.
        if engine.wants_activation() {
            engine.activated(id);
        }
    }
    shared.writable.raise();
    Ok(())
}

fn look_after(shared: &Arc<Shared>, home: &ClusterView, link: &Arc<Link>, tasks: &mut JoinSet<()>) {
    let (wants_inspection, copying, acknowledged) = {
        let engine = link.engine();
        report(link, engine.state());
        (
            engine.wants_inspection().is_some(),
            *engine.state() == State::Copying,
            engine.acknowledged(),
        )
    };
    if wants_inspection {
        if link.begin_inspection() {
            let epoch = home_epoch(home, link);
            link.compared_epoch.store(epoch, Ordering::Release);
            tasks.spawn(ends::inspect(shared.clone(), link.clone()));
        }
        return;
    }
    if !copying {
        return;
    }
    let trim_to = link.trim_to.load(Ordering::Acquire);
    if trim_to >= 0 && acknowledged >= trim_to && link.begin_inspection() {
        tasks.spawn(trim(shared.clone(), link.clone(), trim_to));
        return;
    }
    let epoch = home_epoch(home, link);
    if epoch >= 0 && epoch != link.compared_epoch.load(Ordering::Acquire) && link.begin_inspection()
    {
        tasks.spawn(compare(shared.clone(), link.clone(), epoch, acknowledged));
    }
}

/// Logs a stop once.
fn report(link: &Link, state: &State) {
    match state {
        State::Stopped(reason) if !link.reported.swap(true, Ordering::Relaxed) => {
            tracing::error!(partition = %link.at, reason, "the link stopped");
        }
        State::Stopped(_) => {}
        _ => link.reported.store(false, Ordering::Relaxed),
    }
}

fn home_epoch(home: &ClusterView, link: &Link) -> i32 {
    let led = home.leader_and_epoch(&link.at);
    led.map_or(-1, |(_, epoch)| epoch)
}

/// The copy's log start follows the home's.
async fn trim(shared: Arc<Shared>, link: Arc<Link>, to: i64) {
    match topic_calls::delete_below(shared.copy_of(&link), &link.at, to).await {
        // It may have moved on meanwhile.
        Ok(_) => drop(
            link.trim_to
                .compare_exchange(to, -1, Ordering::AcqRel, Ordering::Acquire),
        ),
        Err(error) => {
            tracing::warn!(partition = %link.at, %error, "the log start cannot follow the home's yet");
            tokio::time::sleep(GAUGES).await;
        }
    }
    link.inspection_over();
}

/// A new leader of the home must still have what was copied from the old one.
async fn compare(shared: Arc<Shared>, link: Arc<Link>, epoch: i32, acknowledged: i64) {
    match ends::compare(&shared, &link, acknowledged).await {
        Ok(compared) => {
            link.compared_epoch.store(epoch, Ordering::Release);
            if let Some(reason) = compared.differs {
                link.engine().stop(reason);
            }
        }
        Err(error) => {
            tracing::debug!(partition = %link.at, %error, "the sides cannot be compared yet");
            tokio::time::sleep(GAUGES).await;
        }
    }
    link.inspection_over();
}

fn set_gauges(shared: &Shared) {
    let now = shared.now_ms();
    for link in shared.links().iter() {
        let lag = {
            let engine = link.engine();
            let bytes = i64::try_from(engine.pending_bytes()).unwrap_or(i64::MAX);
            [engine.lag.records(), bytes, engine.lag.ms(now)]
        };
        // Of thousands of links most have nothing new to say.
        if !link.shows(lag) {
            continue;
        }
        let labels = [
            ("topic", link.at.topic.to_string()),
            ("partition", link.at.partition.to_string()),
        ];
        // Gauges are floats; lags beyond 2^53 are of no interest.
        let [records, bytes, ms] = lag.map(|value| value as f64);
        metrics::gauge!("lockgate_replication_lag_records", &labels).set(records);
        metrics::gauge!("lockgate_replication_lag_bytes", &labels).set(bytes);
        metrics::gauge!("lockgate_replication_lag_ms", &labels).set(ms);
    }
}
