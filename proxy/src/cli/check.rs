//! `lockgate check`: everything that a start needs, looked at without starting.

use serde_json::json;
use tokio::net::TcpListener;

use super::{Exit, Failure, show};
use crate::app;
use crate::config::Config;
use crate::upstream::Cluster;
use crate::words::Side;

/// APIs without which Lockgate cannot work, and the version that it needs at least.
const NEEDED: [(i16, &str, i16); 8] = [
    (0, "Produce", 7),
    (1, "Fetch", 11),
    (2, "ListOffsets", 5),
    (3, "Metadata", 8),
    (21, "DeleteRecords", 0),
    (22, "InitProducerId", 3),
    (23, "OffsetForLeaderEpoch", 3),
    (26, "EndTxn", 1),
];

struct Finding {
    about: String,
    problem: Option<String>,
    unreachable: bool,
    says: String,
}

pub(super) async fn check(config: &Config, json: bool) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let clusters = app::clusters(config);
    for side in Side::BOTH {
        findings.push(cluster(clusters.on(side)).await);
    }
    findings.push(ports(config).await);
    findings.push(policies(config).await);
    if json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| {
                json!({
                    "about": finding.about,
                    "ok": finding.problem.is_none(),
                    "says": finding.problem.as_ref().unwrap_or(&finding.says),
                })
            })
            .collect();
        show::json(&json!(list))?;
    } else {
        let rows: Vec<Vec<String>> = findings
            .iter()
            .map(|finding| {
                let verdict = if finding.problem.is_none() {
                    "ok"
                } else {
                    "FAILS"
                };
                let says = finding.problem.as_ref().unwrap_or(&finding.says);
                vec![finding.about.clone(), verdict.to_owned(), says.clone()]
            })
            .collect();
        show::table(&["what", "", ""], &rows);
    }
    let failing = findings.iter().find(|finding| finding.problem.is_some());
    match failing {
        None => Ok(()),
        Some(finding) => Err(Failure::new(
            if finding.unreachable {
                Exit::Unreachable
            } else {
                Exit::Usage
            },
            format!("{} would fail", finding.about),
        )),
    }
}

fn ok(about: &str, says: String) -> Finding {
    Finding {
        about: about.to_owned(),
        problem: None,
        unreachable: false,
        says,
    }
}

fn fails(about: &str, problem: String) -> Finding {
    Finding {
        problem: Some(problem),
        ..ok(about, String::new())
    }
}

async fn cluster(cluster: &Cluster) -> Finding {
    let about = cluster.side().as_str();
    let view = match cluster.refresh().await {
        Ok(view) => view,
        Err(error) => {
            return Finding {
                unreachable: true,
                ..fails(about, error.to_string())
            };
        }
    };
    // Every broker is asked: one that cannot be reached is found now rather than by the first client.
    for (node, address) in &view.brokers {
        let connection = match cluster.connection(*node).await {
            Ok(connection) => connection,
            Err(error) => {
                return Finding {
                    unreachable: true,
                    ..fails(about, format!("broker {node} at {address}: {error}"))
                };
            }
        };
        for (key, name, version) in NEEDED {
            if connection
                .versions()
                .get(key)
                .is_none_or(|(_, max)| max < version)
            {
                return fails(
                    about,
                    format!("broker {node} at {address} does not speak {name} version {version}"),
                );
            }
        }
    }
    ok(
        about,
        format!(
            "cluster {}, {} brokers, {} topics",
            view.cluster_id,
            view.brokers.len(),
            view.topics.len()
        ),
    )
}

/// The ports of clients and of the admin API. A running instance holds them, which is worth knowing too.
async fn ports(config: &Config) -> Finding {
    let bootstrap = (config.listen.bind, config.listen.bootstrap_port).into();
    for (address, what) in [
        (bootstrap, "[listen] bootstrap_port"),
        (config.admin, "[admin] listen"),
    ] {
        if let Err(cause) = TcpListener::bind(address).await {
            return fails(
                "ports",
                format!("{what}: cannot listen on {address}: {cause}"),
            );
        }
    }
    let mut free = 0;
    for port in config.listen.node_ports.clone() {
        if TcpListener::bind((config.listen.bind, port)).await.is_ok() {
            free += 1;
        }
    }
    let all = config.listen.node_ports.len();
    if free == 0 {
        return fails("ports", "[listen] node_ports: none is free".to_owned());
    }
    ok("ports", format!("{free} of {all} node ports are free"))
}

async fn policies(config: &Config) -> Finding {
    match app::load_policies(config).await {
        Ok(policies) => ok("policies", format!("{} routes", policies.len())),
        Err(error) => fails("policies", error.what),
    }
}
