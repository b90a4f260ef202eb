//! The table and the file of the replication bench.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::copier::Copier;
use super::idle::Idle;
use crate::report::{spread, write_json};
use crate::stats::median;

/// The raw figures of one copier at one work, one entry per repetition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Payload per second.
    pub mb_per_s: Vec<f64>,
    /// Payload per CPU second of the copying process.
    pub mb_per_cpu_s: Vec<f64>,
    /// The most memory that was resident.
    pub peak_mib: Vec<f64>,
    /// Payload that counted, behind the warm-up.
    pub counted_mb: Vec<f64>,
    /// At a steady rate: from the producer until a consumer of the destination has a record.
    pub p50_ms: Vec<f64>,
    /// Its 99th percentile.
    pub p99_ms: Vec<f64>,
    /// The same until a consumer of the source has it.
    pub plain_p50_ms: Vec<f64>,
    /// Its 99th percentile.
    pub plain_p99_ms: Vec<f64>,
}

impl Figures {
    /// Takes over what another run measured.
    pub fn add(&mut self, other: Self) {
        self.mb_per_s.extend(other.mb_per_s);
        self.mb_per_cpu_s.extend(other.mb_per_cpu_s);
        self.peak_mib.extend(other.peak_mib);
        self.counted_mb.extend(other.counted_mb);
        self.p50_ms.extend(other.p50_ms);
        self.p99_ms.extend(other.p99_ms);
        self.plain_p50_ms.extend(other.plain_p50_ms);
        self.plain_p99_ms.extend(other.plain_p99_ms);
    }
}

/// Topic of the work, then copier, then figures.
pub type Raw = BTreeMap<String, BTreeMap<Copier, Figures>>;

/// What goes to `target/bench/replicate.json`. Ratios are of medians, Lockgate over MirrorMaker 2 where nothing else
/// is said.
#[derive(Debug, Serialize)]
pub struct Report {
    /// MB per CPU second on ordinary batches.
    pub mb_per_cpu_s_vs_mm2: Option<f64>,
    /// The same on lz4 batches.
    pub lz4_mb_per_cpu_s_vs_mm2: Option<f64>,
    /// The same where every record is a batch.
    pub tiny_mb_per_cpu_s_vs_mm2: Option<f64>,
    /// The same on 1,000 partitions.
    pub wide_mb_per_cpu_s_vs_mm2: Option<f64>,
    /// MirrorMaker's time over Lockgate's; of all works the one that suits Lockgate least.
    pub wall_vs_mm2: Option<f64>,
    /// Peak memory; of all works the one that suits Lockgate least.
    pub peak_memory_vs_mm2: Option<f64>,
    /// Lockgate's p99 delay over that of the plain produce-and-fetch loop of the same run.
    pub delay_p99_vs_plain: Option<f64>,
    /// MirrorMaker's.
    pub mm2_delay_p99_vs_plain: Option<f64>,
    /// Partitions in which nothing happens.
    pub idle: Option<Idle>,
    /// Where it was measured.
    pub machine: String,
    /// All figures.
    pub raw: Raw,
}

impl Report {
    /// Computes the ratios.
    #[must_use]
    pub fn new(raw: Raw, idle: Option<Idle>, machine: String) -> Self {
        let cpu = |topic: &str| ratio(raw.get(topic)?, |figures| &figures.mb_per_cpu_s);
        let each = |figure: fn(&Figures) -> &Vec<f64>| {
            raw.values()
                .filter_map(move |copiers| ratio(copiers, figure))
        };
        Self {
            mb_per_cpu_s_vs_mm2: cpu("plain"),
            lz4_mb_per_cpu_s_vs_mm2: cpu("lz4"),
            tiny_mb_per_cpu_s_vs_mm2: cpu("tiny"),
            wide_mb_per_cpu_s_vs_mm2: cpu("wide"),
            wall_vs_mm2: each(|figures| &figures.mb_per_s).reduce(f64::min),
            peak_memory_vs_mm2: each(|figures| &figures.peak_mib).reduce(f64::max),
            delay_p99_vs_plain: delay(&raw, Copier::Lockgate),
            mm2_delay_p99_vs_plain: delay(&raw, Copier::MirrorMaker),
            idle,
            machine,
            raw,
        }
    }

    /// The tables for people, in Markdown; `name` tells a work by its topic.
    #[must_use]
    pub fn table(&self, name: impl Fn(&str) -> String) -> String {
        let mut text = String::from(
            "| work | copier | MB/s | MB per CPU s | peak MiB | p50 ms (plain) | p99 ms (plain) |\n|---|---|---|---|---|---|---|\n",
        );
        for (topic, copiers) in &self.raw {
            for (copier, figures) in copiers {
                let delay = |copied: &[f64], plain: &[f64]| match (median(copied), median(plain)) {
                    (Some(copied), Some(plain)) => format!("{copied:.1} ({plain:.1})"),
                    _ => String::new(),
                };
                text.push_str(&format!(
                    "| {} | {} | {} | {} | {} | {} | {} |\n",
                    name(topic),
                    copier.name(),
                    spread(&figures.mb_per_s, 0),
                    spread(&figures.mb_per_cpu_s, 0),
                    spread(&figures.peak_mib, 0),
                    delay(&figures.p50_ms, &figures.plain_p50_ms),
                    delay(&figures.p99_ms, &figures.plain_p99_ms),
                ));
            }
        }
        if let Some(idle) = &self.idle {
            text.push_str(&format!(
                "\n{} idle partitions: {:.1} % of one core, {:.0} MiB (peak {:.0}), all copied after {:.0} s\n",
                idle.partitions,
                idle.core_percent,
                idle.resident_mib,
                idle.peak_mib,
                idle.ready_s,
            ));
        }
        let told = |value: Option<f64>| {
            value.map_or_else(|| "absent".to_owned(), |value| format!("{value:.2}"))
        };
        text.push_str(&format!(
            "\nMB per CPU second over MirrorMaker 2: {} (lz4 {}, tiny {}, wide {}); wall {}, peak memory {}, p99 over plain {} (MirrorMaker 2 {})\n{}\n",
            told(self.mb_per_cpu_s_vs_mm2),
            told(self.lz4_mb_per_cpu_s_vs_mm2),
            told(self.tiny_mb_per_cpu_s_vs_mm2),
            told(self.wide_mb_per_cpu_s_vs_mm2),
            told(self.wall_vs_mm2),
            told(self.peak_memory_vs_mm2),
            told(self.delay_p99_vs_plain),
            told(self.mm2_delay_p99_vs_plain),
            self.machine,
        ));
        text
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(self, path)
    }
}

fn ratio(
    copiers: &BTreeMap<Copier, Figures>,
    figure: impl Fn(&Figures) -> &Vec<f64>,
) -> Option<f64> {
    let ours = median(figure(copiers.get(&Copier::Lockgate)?))?;
    let theirs = median(figure(copiers.get(&Copier::MirrorMaker)?))?;
    (theirs > 0.0).then_some(ours / theirs)
}

fn delay(raw: &Raw, copier: Copier) -> Option<f64> {
    let figures = raw.values().find_map(|copiers| {
        let figures = copiers.get(&copier)?;
        (!figures.p99_ms.is_empty()).then_some(figures)
    })?;
    Some(median(&figures.p99_ms)? / median(&figures.plain_p99_ms)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_that_suits_lockgate_least_decides() {
        let figures = |mb: f64, peak: f64| Figures {
            mb_per_s: vec![mb],
            mb_per_cpu_s: vec![10.0 * mb],
            peak_mib: vec![peak],
            p99_ms: vec![30.0],
            plain_p99_ms: vec![10.0],
            ..Figures::default()
        };
        let both = |ours, theirs| {
            BTreeMap::from([(Copier::Lockgate, ours), (Copier::MirrorMaker, theirs)])
        };
        let raw = Raw::from([
            (
                "plain".to_owned(),
                both(figures(300.0, 50.0), figures(100.0, 1_000.0)),
            ),
            (
                "tiny".to_owned(),
                both(figures(40.0, 90.0), figures(20.0, 1_000.0)),
            ),
        ]);
        let report = Report::new(raw, None, String::new());
        assert_eq!(report.mb_per_cpu_s_vs_mm2, Some(3.0));
        assert_eq!(report.tiny_mb_per_cpu_s_vs_mm2, Some(2.0));
        assert_eq!(report.wide_mb_per_cpu_s_vs_mm2, None);
        assert_eq!(report.wall_vs_mm2, Some(2.0));
        assert_eq!(report.peak_memory_vs_mm2, Some(0.09));
        assert_eq!(report.delay_p99_vs_plain, Some(3.0));
    }
}
