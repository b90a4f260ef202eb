//! What thousands of partitions cost in which nothing happens.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::copier::{Copier, Running};
use super::{Shape, Work, run};
use crate::cpu;

/// How long all partitions may take to be copied.
const READY_MAX: Duration = Duration::from_secs(240);
/// What follows the start (ends read, settings compared) is not idleness.
const SETTLE: Duration = Duration::from_secs(10);

/// Lockgate beside idle partitions.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Idle {
    /// How many.
    pub partitions: i32,
    /// From the start of the process until every link copies.
    pub ready_s: f64,
    /// Of one core, in percent.
    pub core_percent: f64,
    /// Resident at the end.
    pub resident_mib: f64,
    /// The most that was resident, the start included.
    pub peak_mib: f64,
}

/// Lets `partitions` empty partitions be copied for `lasting`.
///
/// # Errors
/// When they do not all come to be copied.
pub async fn measure(partitions: i32, lasting: Duration) -> Result<Idle> {
    let pair = run::pair().await?;
    let work = Work {
        name: "idle",
        topic: "idle",
        partitions,
        shape: Shape::Singles,
        record_bytes: 1,
        megabytes: 0,
        warm_up_megabytes: 0,
        steady: false,
    };
    let source = pair.source.admin();
    source.create_topic(work.topic, partitions, 1, &[]).await?;
    let start = Instant::now();
    let running = Copier::Lockgate.start(&pair, &work)?;
    if let Running::Lockgate(lockgate) = &running {
        let copying = |links: &serde_json::Value| {
            let all = links.as_array().map(Vec::as_slice).unwrap_or_default();
            let ours = all
                .iter()
                .filter(|link| link["topic"] == work.topic && link["state"] == "copying");
            ours.count() == partitions.unsigned_abs() as usize
        };
        lockgate.wait_ready().await?;
        lockgate
            .api()
            .wait_until("/v1/links", READY_MAX, copying)
            .await?;
    }
    let ready_s = start.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let pid = running.pid()?;
    let (since, before) = (Instant::now(), cpu::seconds(pid)?);
    tokio::time::sleep(lasting).await;
    let used = cpu::seconds(pid)? - before;
    Ok(Idle {
        partitions,
        ready_s,
        core_percent: 100.0 * used / since.elapsed().as_secs_f64(),
        resident_mib: cpu::resident_mib(pid)?,
        peak_mib: cpu::peak_mib(pid)?,
    })
}
