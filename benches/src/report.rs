//! The table and the file: medians over the repetitions, and Lockgate divided by the others.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::stats::{median, percentile};

/// The way a run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Straight to the broker.
    Direct,
    /// Through HAProxy in TCP mode, copying.
    Haproxy,
    /// Through Lockgate.
    Lockgate,
}

impl Way {
    /// The word in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "HAProxy",
            Self::Lockgate => "Lockgate",
        }
    }
}

/// The raw figures of one kind of work over one way, one entry per repetition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Payload throughput.
    pub mb_per_s: Vec<f64>,
    /// CPU seconds of the intermediary per 1e9 bytes of payload; empty for `direct`.
    pub cpu_s_per_gb: Vec<f64>,
    /// Median latency of the rate-limited Produce.
    pub p50_ms: Vec<f64>,
    /// 99th percentile of the same.
    pub p99_ms: Vec<f64>,
    /// The intermediary's resident memory after the run.
    pub resident_mib: Vec<f64>,
}

/// Work, then way, then figures.
pub type Raw = BTreeMap<String, BTreeMap<Way, Figures>>;

/// What goes to `target/bench/proxy.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Lockgate's Produce throughput over HAProxy's; the lowest of the Produce loads.
    pub produce_throughput_vs_haproxy: Option<f64>,
    /// The same for consuming.
    pub consume_throughput_vs_haproxy: Option<f64>,
    /// Lockgate's CPU seconds per GB over HAProxy's, the larger of produce and consume.
    pub cpu_s_per_gb_vs_haproxy: Option<f64>,
    /// The rate-limited Produce's p99 over that of the direct way.
    pub p99_vs_direct: Option<f64>,
    /// Where it was measured.
    pub machine: String,
    /// Runs of each kind over each way.
    pub repetitions: usize,
    /// All figures.
    pub raw: Raw,
}

impl Report {
    /// Computes the ratios. Works whose name begins with `produce` or `consume` count for the respective ratio.
    #[must_use]
    pub fn new(raw: Raw, repetitions: usize, machine: String) -> Self {
        let throughput = |kind: &str| {
            works(&raw, kind)
                .filter_map(|work| {
                    ratio(work, Way::Lockgate, Way::Haproxy, |figures| {
                        &figures.mb_per_s
                    })
                })
                .reduce(f64::min)
        };
        let cpu = ["produce", "consume"]
            .into_iter()
            .flat_map(|kind| works(&raw, kind))
            .filter_map(|work| {
                ratio(work, Way::Lockgate, Way::Haproxy, |figures| {
                    &figures.cpu_s_per_gb
                })
            })
            .reduce(f64::max);
        let p99 = works(&raw, "rate")
            .find_map(|work| ratio(work, Way::Lockgate, Way::Direct, |figures| &figures.p99_ms));
        Self {
            produce_throughput_vs_haproxy: throughput("produce"),
            consume_throughput_vs_haproxy: throughput("consume"),
            cpu_s_per_gb_vs_haproxy: cpu,
            p99_vs_direct: p99,
            machine,
            repetitions,
            raw,
        }
    }

    /// The table for people, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| work | way | MB/s | CPU s/GB of the intermediary | p50 ms | p99 ms | resident MiB |\n|---|---|---|---|---|---|---|\n",
        );
        for (work, ways) in &self.raw {
            for (way, figures) in ways {
                text.push_str(&format!(
                    "| {work} | {} | {} | {} | {} | {} | {} |\n",
                    way.name(),
                    spread(&figures.mb_per_s, 0),
                    spread(&figures.cpu_s_per_gb, 2),
                    spread(&figures.p50_ms, 2),
                    spread(&figures.p99_ms, 2),
                    spread(&figures.resident_mib, 0),
                ));
            }
        }
        let ratio = |value: Option<f64>| {
            value.map_or_else(|| "absent".to_owned(), |value| format!("{value:.2}"))
        };
        text.push_str(&format!(
            "\nproduce throughput vs HAProxy {}, consume {}, CPU per GB vs HAProxy {}, p99 vs direct {}\n{}, {} repetitions; median (min to max)\n",
            ratio(self.produce_throughput_vs_haproxy),
            ratio(self.consume_throughput_vs_haproxy),
            ratio(self.cpu_s_per_gb_vs_haproxy),
            ratio(self.p99_vs_direct),
            self.machine,
            self.repetitions,
        ));
        text
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(self, path)
    }
}

/// Writes a report, and the folder around it.
pub(crate) fn write_json(report: &impl Serialize, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn works<'a>(raw: &'a Raw, kind: &'a str) -> impl Iterator<Item = &'a BTreeMap<Way, Figures>> {
    raw.iter()
        .filter(move |(name, _)| name.starts_with(kind))
        .map(|(_, ways)| ways)
}

fn ratio(
    ways: &BTreeMap<Way, Figures>,
    over: Way,
    under: Way,
    figure: impl Fn(&Figures) -> &Vec<f64>,
) -> Option<f64> {
    let over = median(figure(ways.get(&over)?))?;
    let under = median(figure(ways.get(&under)?))?;
    (under > 0.0).then_some(over / under)
}

/// The median, with the range in parentheses where there are several values.
pub(crate) fn spread(values: &[f64], digits: usize) -> String {
    if let [only] = values {
        return format!("{only:.digits$}");
    }
    match (
        median(values),
        percentile(values, 0.0),
        percentile(values, 100.0),
    ) {
        (Some(middle), Some(low), Some(high)) => {
            format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
        }
        _ => String::new(),
    }
}

/// Cores, model and memory, for the line under the table.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name.to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let memory_gib = read("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        })
        .map_or(0.0, |kib| kib / 1024.0 / 1024.0);
    format!("{cores} cores of {model}, {memory_gib:.0} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians_and_absent_without_the_other() {
        let figures = |mb: &[f64], cpu: &[f64]| Figures {
            mb_per_s: mb.to_vec(),
            cpu_s_per_gb: cpu.to_vec(),
            ..Figures::default()
        };
        let produce = BTreeMap::from([
            (Way::Haproxy, figures(&[100.0, 200.0, 300.0], &[0.4])),
            (Way::Lockgate, figures(&[90.0, 100.0, 400.0], &[0.6])),
        ]);
        let consume = BTreeMap::from([(Way::Lockgate, figures(&[10.0], &[0.5]))]);
        let raw = Raw::from([
            ("produce acks=1".to_owned(), produce),
            ("consume".to_owned(), consume),
        ]);
        let report = Report::new(raw, 3, String::new());
        assert_eq!(report.produce_throughput_vs_haproxy, Some(0.5));
        assert_eq!(report.consume_throughput_vs_haproxy, None);
        assert!((report.cpu_s_per_gb_vs_haproxy.unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(report.p99_vs_direct, None);
    }
}
