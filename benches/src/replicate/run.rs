//! One work: a pair of clusters, the topic filled, then each copier in turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lockgate_tests::admin::Progress;
use lockgate_tests::kafka::{ClusterSpec, Pair};

use super::copier::{Copier, Running};
use super::report::Figures;
use super::{COPIERS, Work, fill, steady};
use crate::cpu;

/// How often the destination's ends are read.
const LOOK: Duration = Duration::from_millis(50);
/// How long one copy may take.
const COPY_MAX: Duration = Duration::from_secs(600);

/// A pair of clusters of one broker each.
///
/// # Errors
/// When they do not start.
pub async fn pair() -> Result<Pair> {
    let one = |spec: ClusterSpec| ClusterSpec { brokers: 1, ..spec };
    let (source, destination) = (ClusterSpec::source(), ClusterSpec::destination());
    Box::pin(Pair::start_with(one(source), one(destination))).await
}

/// Does one work with every copier.
///
/// # Errors
/// When a copier does not finish it.
pub async fn work(work: Work, steady_for: Duration) -> Result<Vec<(Copier, Figures)>> {
    let pair = pair().await?;
    let source = pair.source.admin();
    source
        .create_topic(work.topic, work.partitions, 1, &[])
        .await?;
    fill::fill(&pair.source, work).await?;
    let mut results = Vec::new();
    for copier in COPIERS {
        let ends = Progress::of(&source, work.topic, work.partitions)
            .await?
            .ends()
            .await?;
        let running = copier.start(&pair, &work)?;
        let mut figures = copy(&pair, &work, &running, &ends)
            .await
            .with_context(|| format!("{} copying {:?}", copier.name(), work.name))?;
        if work.steady {
            figures.add(steady::measure(&pair, &work, steady_for).await?);
        }
        figures.peak_mib = vec![cpu::peak_mib(running.pid()?)?];
        drop(running);
        pair.destination.admin().delete_topic(work.topic).await?;
        results.push((copier, figures));
    }
    Ok(results)
}

/// Waits until everything is copied; what it cost from the end of the warm-up on.
async fn copy(pair: &Pair, work: &Work, running: &Running, ends: &[i64]) -> Result<Figures> {
    let destination = pair.destination.admin();
    let mut progress = Progress::of(&destination, work.topic, work.partitions).await?;
    let total: i64 = ends.iter().sum();
    let warm = work.warm_up_records();
    let mut begun: Option<(Instant, f64, u64)> = None;
    let deadline = Instant::now() + COPY_MAX;
    loop {
        let pid = running.pid()?;
        let copied: i64 = progress.ends().await?.iter().sum();
        let (now, used) = (Instant::now(), cpu::seconds(pid)?);
        let records = copied.unsigned_abs();
        match begun {
            None if records >= warm => begun = Some((now, used, records)),
            Some((since, used_before, before)) if copied == total => {
                let megabytes = work.megabytes_of(records - before);
                let seconds = (now - since).as_secs_f64();
                let cpu_seconds = used - used_before;
                return Ok(Figures {
                    mb_per_s: vec![megabytes / seconds],
                    mb_per_cpu_s: vec![megabytes / cpu_seconds.max(0.01)],
                    counted_mb: vec![megabytes],
                    ..Figures::default()
                });
            }
            _ => {}
        }
        if copied > total {
            bail!("{copied} records are there, {total} at the source");
        }
        if now >= deadline {
            let tail = running.log_tail();
            bail!("{copied} of {total} records after {COPY_MAX:?}; the log ends:\n{tail}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
