//! `kill -9` of Lockgate: under load, right after each journal record of a migration, and with the source dead. The
//! same clients live through all of it.
//!
//! Between the record and the kill there must be nothing, so Lockgate ends itself there (an abort runs no destructor
//! and flushes nothing); the plain kill under load is a real SIGKILL. `group-back` is left out: it is written when one
//! copy of the journal refused the move of a group for seconds, which no kill brings about.

use std::time::{Duration, Instant};

use lockgate_tests::history::Findings;
use lockgate_tests::logs::compare_topic;
use serde_json::{Value, json};

use crate::fixture::{DEADLINE, Play, ROUTE, TOPIC};

/// The prefix of java-plain's values: it is started third.
const PLAIN: &str = "3";
/// Clients believe their metadata for ten seconds.
const METADATA_AGE: Duration = Duration::from_secs(11);
/// What a client may say when its node is gone, beside lines about connections alone: it tries again by itself, and
/// what it does then is judged by the records.
const SAID_OF_A_KILL: &[&str] = &[
    "NETWORK_EXCEPTION",
    "DisconnectException",
    "BrokerTransportFailure",
    "AllBrokersDown",
];

/// Ends Lockgate where a test wants it, and starts it again.
trait Killed {
    /// Flips and sees Lockgate end by itself.
    async fn flip_until_it_ends(&self, route: &str, what: &str);
    /// Starts again, so that it ends after `next`, and lets the clients go on.
    async fn back(&self, next: Option<&str>);
    /// Starts again, and it ends after `record` while it ends what was under way.
    async fn ends_while_it_starts(&self, record: &str);
    /// Sees Lockgate end by itself.
    async fn ended(&self);
}

impl Killed for Play {
    async fn flip_until_it_ends(&self, route: &str, what: &str) {
        let path = format!("/v1/routes/{route}/flip");
        let api = self.lockgate.api();
        // Lockgate may end before the answer is out; a refusal is an answer and must not be one.
        if let Ok(answer) = api.post(&path, &json!({ "move": what })).await {
            assert!(answer.status.is_success(), "{answer:?}");
        }
        self.ended().await;
    }

    async fn back(&self, next: Option<&str>) {
        match next {
            Some(record) => self.lockgate.restart_to_end_after(record).unwrap(),
            None => self.lockgate.restart().unwrap(),
        }
        self.lockgate.wait_ready().await.unwrap();
        self.go_on(500).await;
        for group in self.groups() {
            self.read_down_to(&group, 1_000).await;
        }
    }

    async fn ends_while_it_starts(&self, record: &str) {
        self.lockgate.restart_to_end_after(record).unwrap();
        self.ended().await;
    }

    async fn ended(&self) {
        let code = self.lockgate.wait_for_end(DEADLINE).await.unwrap();
        assert_eq!(code, None, "lockgate was to end by a signal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_survives_a_kill_at_each_journal_record() {
    let mut play = Play::begin().await;
    play.usual_clients().await;
    play.lockgate.kill().await.unwrap();

    play.back(Some("group-prepare")).await;
    play.flip_until_it_ends(ROUTE, "groups").await;
    play.back(Some("group-move")).await;
    assert_eq!(homes_of_groups(&play).await, ["source", "source"]);
    play.flip_until_it_ends(ROUTE, "groups").await;
    play.back(Some("fence")).await;
    // The record of the move counts: the first group has crossed, although nobody was told so before the kill.
    let mut homes = homes_of_groups(&play).await;
    homes.sort();
    assert_eq!(homes, ["destination", "source"]);
    play.flip("groups").await;
    assert_eq!(homes_of_groups(&play).await, ["destination", "destination"]);

    play.wait_level().await;
    play.flip_until_it_ends(ROUTE, "producers").await;
    play.ends_while_it_starts("lift").await;
    play.back(Some("open")).await;
    assert_eq!(place(&play, ROUTE).await, ["source", "open"]);
    play.wait_level().await;
    play.flip_until_it_ends(ROUTE, "producers").await;
    play.ends_while_it_starts("retired").await;
    play.back(Some("commit")).await;
    assert_eq!(place(&play, ROUTE).await, ["destination", "open"]);

    commit_until_it_ends(&play).await;
    play.back(Some("first-copy")).await;
    assert_eq!(view(&play, ROUTE).await["committed"], true);

    // Open is in the new home's copy alone: the start finds it there and finishes.
    play.flip_until_it_ends("default", "all").await;
    play.back(None).await;
    assert_eq!(place(&play, "default").await, ["destination", "open"]);
    play.go_on(500).await;
    stop(&play).await;
    logs_are_equal(&play).await;
    judge(&play).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lockgate_starts_again_without_the_source_once_all_is_committed() {
    let mut play = Play::begin().await;
    play.usual_clients().await;
    for route in [ROUTE, "default"] {
        let api = play.lockgate.api();
        let operation = api.flip(route, "all", DEADLINE).await.unwrap();
        assert_eq!(operation["state"], "done", "{operation:#}");
        let committed = api.commit(route, DEADLINE).await.unwrap();
        assert_eq!(committed["state"], "done", "{committed:#}");
    }
    let end = Instant::now() + METADATA_AGE;
    while Instant::now() < end {
        play.go_on(100).await;
    }
    // Now, and not after the kill: a killed broker may forget how far its log was deleted.
    logs_are_equal(&play).await;
    play.pair.source.kill_brokers().await.unwrap();
    play.lockgate.kill().await.unwrap();
    play.back(None).await;
    play.go_on(2_000).await;
    stop(&play).await;
    judge(&play).await;
}

/// Asks for the commit for as long as clients still read at the source, and sees Lockgate end by itself.
async fn commit_until_it_ends(play: &Play) {
    let path = format!("/v1/routes/{ROUTE}/commit");
    let end = Instant::now() + DEADLINE;
    while let Ok(answer) = play.lockgate.api().post(&path, &json!({})).await {
        assert!(Instant::now() < end, "{answer:?}");
        if answer.status.is_success() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    play.ended().await;
}

async fn view(play: &Play, route: &str) -> Value {
    let path = format!("/v1/routes/{route}");
    play.lockgate.api().fetch(&path).await.unwrap()
}

/// A route's home and phase.
async fn place(play: &Play, route: &str) -> [String; 2] {
    let view = view(play, route).await;
    ["home", "phase"].map(|key| view[key].as_str().unwrap_or_default().to_owned())
}

async fn homes_of_groups(play: &Play) -> Vec<String> {
    let view = view(play, ROUTE).await;
    let groups = view["groups"].as_array().cloned().unwrap_or_default();
    groups
        .iter()
        .map(|group| group["home"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Stops the clients after everything was read; none of them ended.
async fn stop(play: &Play) {
    for client in &play.producers {
        client.stop().await.unwrap();
    }
    for group in play.groups() {
        play.read_down_to(&group, 0).await;
    }
    for client in &play.consumers {
        client.stop().await.unwrap();
    }
    for client in play.producers.iter().chain(&play.consumers) {
        let report = client.report();
        assert_eq!(report.restarts, 0, "{} was restarted", report.name);
    }
}

/// Offset by offset, up to where the producers moved.
async fn logs_are_equal(play: &Play) {
    let differences = compare_topic(&play.pair.source, &play.pair.destination, TOPIC)
        .await
        .unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The history is as clean as kills allow, and no client said more than that it lost a node.
async fn judge(play: &Play) {
    let findings = play.findings().await;
    assert!(forgiven(&findings), "{findings:#?}");
    let mut said = Vec::new();
    for client in play.producers.iter().chain(&play.consumers) {
        let report = client.report();
        let harmless = |line: &String| SAID_OF_A_KILL.iter().any(|said| line.contains(said));
        let errors = report.errors.into_iter().filter(|line| !harmless(line));
        said.extend(errors.map(|line| format!("{}: {line}", report.name)));
    }
    assert!(said.is_empty(), "{said:#?}");
}

/// A producer that is not idempotent loses its connection with requests outstanding at every kill and sends their
/// records again, as it does when a broker is killed: the second copies and their order are its own. What was
/// acknowledged to it must be there all the same, since no broker dies before it is copied.
fn forgiven(findings: &Findings) -> bool {
    findings.foreign == 0
        && findings.producers.iter().all(|(producer, counts)| {
            if producer == PLAIN {
                counts.lost == 0
            } else {
                counts.is_clean()
            }
        })
}
