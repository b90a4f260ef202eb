//! What came of it: a table for people, JSON for programs.

use std::fmt::Write;

use lockgate_tests::clients::{ClientKind, ClientReport};
use lockgate_tests::history::{Counts, Findings};
use lockgate_tests::logs::Difference;
use serde_json::{Value, json};

/// At most this many errors of one client are written down.
const ERRORS_WRITTEN: usize = 20;

/// One flip.
#[derive(Debug, Clone)]
pub(crate) struct Flip {
    route: String,
    lag_records: Value,
    steps: Value,
    said: Option<String>,
}

impl Flip {
    /// From an operation of the API.
    pub(crate) fn operation(route: &str, operation: &Value) -> Self {
        let (lag_records, steps) = (
            operation["lag_at_start"].clone(),
            operation["steps"].clone(),
        );
        Self {
            route: route.to_owned(),
            lag_records,
            steps,
            said: None,
        }
    }

    /// From what the CLI printed: its JSON operation where it is one, else its words.
    pub(crate) fn said(route: &str, output: &str) -> Self {
        match serde_json::from_str::<Value>(output) {
            Ok(operation) => Self::operation(route, &operation),
            Err(_) => Self {
                route: route.to_owned(),
                lag_records: Value::Null,
                steps: Value::Null,
                said: Some(output.trim().to_owned()),
            },
        }
    }

    /// One line.
    pub(crate) fn words(&self) -> String {
        let took: f64 = self
            .steps
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|step| step["took_ms"].as_f64())
            .sum();
        format!(
            "moved in {took:.0} ms, {} records behind at the start",
            self.lag_records
        )
    }

    fn to_json(&self) -> Value {
        json!({ "route": self.route, "lag_records": self.lag_records, "steps": self.steps, "said": self.said })
    }
}

/// The outcome of the demo.
#[derive(Debug)]
pub(crate) struct Report {
    findings: Findings,
    clients: Vec<ClientReport>,
    parity_differences: u64,
    differences: Vec<String>,
    flips: Vec<Flip>,
}

impl Report {
    /// Puts the pieces together. A record that is not where it was acknowledged counts as a parity difference.
    pub(crate) fn new(
        findings: &Findings,
        clients: Vec<ClientReport>,
        differences: &[Difference],
        flips: Vec<Flip>,
    ) -> Self {
        let differing: u64 = differences.iter().map(|difference| difference.count).sum();
        let differences = differences
            .iter()
            .map(|at| {
                format!(
                    "{}-{}: {} offsets, {}",
                    at.topic,
                    at.partition,
                    at.count,
                    at.examples.join("; ")
                )
            })
            .collect();
        let parity_differences = differing + findings.total.misplaced + findings.foreign;
        Self {
            findings: findings.clone(),
            clients,
            parity_differences,
            differences,
            flips,
        }
    }

    fn restarts(&self) -> u64 {
        self.clients.iter().map(|client| client.restarts).sum()
    }

    fn client_errors(&self) -> usize {
        self.clients.iter().map(|client| client.errors.len()).sum()
    }

    /// Whether every total is zero.
    pub(crate) fn is_clean(&self) -> bool {
        let total = self.findings.total;
        total.lost + total.duplicated + total.reordered + self.restarts() + self.parity_differences
            == 0
            && self.client_errors() == 0
    }

    /// `report.json`.
    pub(crate) fn to_json(&self) -> Value {
        let total = self.findings.total;
        json!({
            "lost": total.lost,
            "duplicated": total.duplicated,
            "reordered": total.reordered,
            "restarts": self.restarts(),
            "client_errors": self.client_errors(),
            "parity_differences": self.parity_differences,
            "acknowledged": total.acknowledged,
            "clients": self.clients.iter().map(|client| self.client_json(client)).collect::<Vec<_>>(),
            "groups": self.findings.groups.iter().map(|(name, counts)| counts_json(name, *counts)).collect::<Vec<_>>(),
            "flips": self.flips.iter().map(Flip::to_json).collect::<Vec<_>>(),
            "differences": self.differences,
            "examples": self.findings.examples,
        })
    }

    fn client_json(&self, client: &ClientReport) -> Value {
        let counts = self.counts(client);
        let mut row = counts_json(&client.name, counts);
        match &client.kind {
            ClientKind::Producer { .. } => row["role"] = json!("producer"),
            ClientKind::Consumer { group } => {
                (row["role"], row["group"]) = (json!("consumer"), json!(group))
            }
        }
        row["topic"] = json!(client.topic);
        row["restarts"] = json!(client.restarts);
        row["client_errors"] = json!(client.errors.len());
        row["errors"] = json!(
            client
                .errors
                .iter()
                .take(ERRORS_WRITTEN)
                .collect::<Vec<_>>()
        );
        row["longest_pause_ms"] = json!(client.longest_pause.as_millis() as u64);
        row
    }

    /// A producer's counts are those of its values; a consumer's are its group's, and its own records.
    fn counts(&self, client: &ClientReport) -> Counts {
        match &client.kind {
            ClientKind::Producer { prefix } => self
                .findings
                .producers
                .get(prefix)
                .copied()
                .unwrap_or_default(),
            ClientKind::Consumer { group } => {
                let counts = self.findings.groups.get(group).copied().unwrap_or_default();
                Counts {
                    acknowledged: 0,
                    read: client.records,
                    ..counts
                }
            }
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<22} {:>9} {:>9} {:>5} {:>5} {:>9} {:>8} {:>6} {:>9}\n",
            "client", "acked", "read", "lost", "dup", "reordered", "restarts", "errors", "pause ms"
        );
        for client in &self.clients {
            let counts = self.counts(client);
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{:<22} {:>9} {:>9} {:>5} {:>5} {:>9} {:>8} {:>6} {:>9}",
                client.name,
                counts.acknowledged,
                counts.read,
                counts.lost,
                counts.duplicated,
                counts.reordered,
                client.restarts,
                client.errors.len(),
                client.longest_pause.as_millis(),
            );
        }
        for flip in &self.flips {
            let _ = writeln!(text, "route {:<16} {}", flip.route, flip.words());
        }
        let total = self.findings.total;
        let _ = writeln!(
            text,
            "lost {}, duplicated {}, reordered {}, restarts {}, client errors {}, parity differences {}",
            total.lost,
            total.duplicated,
            total.reordered,
            self.restarts(),
            self.client_errors(),
            self.parity_differences,
        );
        for line in self.findings.examples.iter().chain(&self.differences) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

fn counts_json(name: &str, counts: Counts) -> Value {
    json!({
        "name": name, "acknowledged": counts.acknowledged, "read": counts.read, "lost": counts.lost,
        "duplicated": counts.duplicated, "reordered": counts.reordered, "misplaced": counts.misplaced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_tests::history::History;

    fn report(history: &History, differences: &[Difference]) -> Report {
        let flip = Flip::said(
            "orders",
            r#"{"lag_at_start": 3, "steps": [{"name": "fence", "took_ms": 2}]}"#,
        );
        Report::new(&history.check(), Vec::new(), differences, vec![flip])
    }

    #[test]
    fn the_totals_have_the_agreed_keys_and_decide() {
        let history = History::default();
        history.acknowledged("t", 0, 0, "1.0", 0);
        history.read("g", "t", 0, 0, "1.0", 0);
        let clean = report(&history, &[]);
        assert!(clean.is_clean());
        let json = clean.to_json();
        for key in [
            "lost",
            "duplicated",
            "reordered",
            "restarts",
            "client_errors",
            "parity_differences",
        ] {
            assert_eq!(json[key], 0, "{key}");
        }
        assert!(json["clients"].is_array());
        assert_eq!(json["flips"][0]["lag_records"], 3);

        let difference = Difference {
            topic: "t".into(),
            partition: 0,
            count: 2,
            examples: Vec::new(),
        };
        assert_eq!(
            report(&history, &[difference]).to_json()["parity_differences"],
            2
        );
        history.acknowledged("t", 0, 1, "1.1", 0);
        let lost = report(&history, &[]);
        assert!(!lost.is_clean() && lost.table().contains("lost 1, duplicated 0"));
    }
}
