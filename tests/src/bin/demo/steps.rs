//! The steps of the migration, in the order in which they are played.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lockgate_tests::admin::Admin;
use lockgate_tests::clients::{Clients, ConsumerSpec, Software, write_backlog};
use lockgate_tests::folders;
use lockgate_tests::history::History;
use lockgate_tests::kafka::Pair;
use lockgate_tests::lockgate::{Config, Lockgate};
use lockgate_tests::logs::{compare_topic, read_records};
use serde_json::Value;

use crate::display::Display;
use crate::estate::{Live, TOPICS, routes};
use crate::report::{Flip, Report};

/// How long the history may take to be replicated.
const REPLICATION_DEADLINE: Duration = Duration::from_secs(300);
/// How long clients may take to start, read, move or end.
const CLIENT_DEADLINE: Duration = Duration::from_secs(120);
/// How long a flip, a group move or a commit may take.
const MOVE_DEADLINE: Duration = Duration::from_secs(120);
/// Live traffic between two moves.
const BREATH: Duration = Duration::from_secs(3);
/// Live traffic after the source is dead.
const WITHOUT_SOURCE: Duration = Duration::from_secs(10);
/// Destination node ids, as clients see them, begin here (DESIGN section 2).
const DESTINATION_BASE: i32 = 1_000_000;
const POLL: Duration = Duration::from_millis(200);

/// Everything that takes part.
pub(crate) struct Migration<'a> {
    display: &'a Display,
    // In the order in which they are to go: clients first, clusters last.
    live: Option<Live>,
    clients: Clients,
    lockgate: Option<Lockgate>,
    pair: Pair,
    history: History,
    flips: Vec<Flip>,
}

impl<'a> Migration<'a> {
    /// Step 1: two clusters, and history on the source.
    pub(crate) async fn prepare(display: &'a Display) -> Result<Self> {
        let step = display.step("two clusters");
        let pair = Box::pin(Pair::start()).await?;
        step.done(&format!(
            "source {}, destination {}",
            pair.source.bootstrap(),
            pair.destination.bootstrap()
        ));

        let step = display.step("history on the source");
        let history = History::default();
        for topic in TOPICS {
            step.progress(topic.name);
            pair.source
                .admin()
                .create_topic(topic.name, topic.partitions, 2, &[])
                .await?;
            write_backlog(&pair.source, &topic.backlog(), &history).await?;
        }
        let records: u64 = TOPICS.iter().map(|topic| topic.history).sum();
        step.done(&format!(
            "{records} records, the oldest fifth deleted again"
        ));
        let logs = folders::reports("demo")?.join("logs");
        if logs.exists() {
            std::fs::remove_dir_all(&logs).context("cannot remove the logs of the last demo")?;
        }
        let clients = Clients::in_folder(&history, &logs)?;
        Ok(Self {
            display,
            live: None,
            clients,
            lockgate: None,
            pair,
            history,
            flips: Vec::new(),
        })
    }

    /// Step 2, first half: Lockgate between the clusters.
    pub(crate) async fn start_lockgate(&mut self) -> Result<()> {
        let step = self.display.step("Lockgate");
        let config = Config::new(
            &self.pair.source.bootstrap(),
            &self.pair.destination.bootstrap(),
            routes(),
        )?;
        let lockgate = Lockgate::start_in_folder(config, &folders::reports("demo")?.join("logs"))?;
        lockgate.wait_ready().await?;
        step.done(&format!(
            "clients use {}, the API is at {}",
            lockgate.bootstrap(),
            lockgate.config().admin()
        ));
        self.lockgate = Some(lockgate);
        Ok(())
    }

    /// Step 2, second half: every partition is replicated and level.
    pub(crate) async fn replicate_history(&mut self) -> Result<()> {
        let step = self.display.step("parity and replication of the history");
        let partitions: usize = TOPICS.iter().map(|topic| topic.partitions as usize).sum();
        let end = Instant::now() + REPLICATION_DEADLINE;
        loop {
            let links = self.lockgate()?.api().fetch("/v1/links").await?;
            let links = entries(&links, "links");
            // A link that is not copying yet has not measured its lag.
            let lags: Vec<u64> = links
                .iter()
                .filter(|link| link["state"] == "copying")
                .filter_map(|link| link["lag_records"].as_u64())
                .collect();
            step.progress(&format!(
                "{} links, {} records behind",
                links.len(),
                lags.iter().sum::<u64>()
            ));
            if lags.len() >= partitions && lags.iter().all(|lag| *lag == 0) {
                break;
            }
            ensure!(
                Instant::now() < end,
                "replication is not level after {REPLICATION_DEADLINE:?}: {links:?}"
            );
            tokio::time::sleep(POLL).await;
        }
        step.done(&format!("{partitions} partitions are level"));
        Ok(())
    }

    /// Step 3: live clients, all through Lockgate.
    pub(crate) async fn start_clients(&mut self) -> Result<()> {
        let step = self.display.step("live clients");
        let live = Live::start(
            &self.clients,
            self.pair.source.kafka(),
            &self.lockgate()?.bootstrap(),
        )?;
        for client in live.all() {
            client.wait_for_records(1_000, CLIENT_DEADLINE).await?;
        }
        for topic in TOPICS {
            self.wait_until_read(topic.group, topic.name, 2_000).await?;
        }
        live.all()
            .for_each(lockgate_tests::clients::Client::measure_pauses);
        step.done(&format!(
            "{} producers and {} consumers",
            live.producers.len(),
            live.consumers.len()
        ));
        self.live = Some(live);
        self.breathe().await;
        Ok(())
    }

    /// Step 4a: `lag-gate` moves the groups of `orders` by itself, then the producers are flipped by HTTP.
    pub(crate) async fn move_orders(&mut self) -> Result<()> {
        let step = self.display.step("route orders");
        step.progress("waiting for lag-gate to move the groups");
        let moved = |route: &Value| {
            let groups = entries(&route["groups"], "groups");
            let crossed = groups.iter().all(|group| group["home"] == "destination");
            // The policy's own operation may still be on its last steps.
            !groups.is_empty() && crossed && route["operation"].is_null()
        };
        self.lockgate()?
            .api()
            .wait_until("/v1/routes/orders", MOVE_DEADLINE, moved)
            .await?;
        step.progress("flipping the producers");
        let operation = self
            .lockgate()?
            .api()
            .flip("orders", "producers", MOVE_DEADLINE)
            .await?;
        let flip = self.moved("orders", &operation).await?;
        step.done(&flip);
        self.breathe().await;
        Ok(())
    }

    /// Step 4b: `payments` follows by CLI.
    pub(crate) async fn move_payments(&mut self) -> Result<()> {
        let step = self.display.step("route payments");
        let said = self
            .lockgate()?
            .cli(&["flip", "payments", "--move", "all"])
            .await?;
        ensure!(
            said.status.success(),
            "the CLI failed: {}",
            String::from_utf8_lossy(&said.stderr)
        );
        let home = |route: &Value| route["home"] == "destination" && route["operation"].is_null();
        self.lockgate()?
            .api()
            .wait_until("/v1/routes/payments", MOVE_DEADLINE, home)
            .await?;
        self.flips.push(Flip::said(
            "payments",
            &String::from_utf8_lossy(&said.stdout),
        ));
        step.done("moved by CLI");
        self.breathe().await;
        Ok(())
    }

    /// Step 4c: `default`, which owns every name not listed.
    pub(crate) async fn move_default(&mut self) -> Result<()> {
        let step = self.display.step("route default");
        let operation = self
            .lockgate()?
            .api()
            .flip("default", "all", MOVE_DEADLINE)
            .await?;
        let flip = self.moved("default", &operation).await?;
        step.done(&flip);
        self.breathe().await;
        Ok(())
    }

    /// Step 5a: commit; the source leaves Metadata.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        let step = self.display.step("commit");
        for route in ["orders", "payments", "default"] {
            step.progress(route);
            let operation = self.lockgate()?.api().commit(route, MOVE_DEADLINE).await?;
            ensure!(
                operation["state"] == "done" || operation["committed"] == true,
                "{route} is not committed: {operation}"
            );
        }
        step.progress("waiting for the source to leave Metadata");
        let lockgate = Admin::new(vec![self.lockgate()?.bootstrap().parse()?]);
        let end = Instant::now() + MOVE_DEADLINE;
        loop {
            let nodes = lockgate.live_brokers().await?;
            if !nodes.is_empty() && nodes.iter().all(|id| *id >= DESTINATION_BASE) {
                break;
            }
            ensure!(
                Instant::now() < end,
                "source nodes are still in Metadata: {nodes:?}"
            );
            tokio::time::sleep(POLL).await;
        }
        // Clients believe their metadata for ten seconds.
        tokio::time::sleep(Duration::from_secs(11)).await;
        step.done("all routes are committed, the source has left Metadata");
        Ok(())
    }

    /// Step 5b: the source dies, the clients go on.
    pub(crate) async fn kill_source(&mut self) -> Result<()> {
        let step = self.display.step("the source is killed");
        self.pair.source.kill_brokers().await?;
        self.go_on(WITHOUT_SOURCE).await?;
        step.done("every client goes on");
        Ok(())
    }

    /// Step 6: a consumer of the same group past Lockgate.
    pub(crate) async fn leave_lockgate(&mut self) -> Result<()> {
        let step = self.display.step("a consumer leaves Lockgate");
        let left = self
            .live()?
            .consumers
            .iter()
            .position(|client| client.name() == "java-consumer-2");
        let left = left.context("java-consumer-2 does not run")?;
        self.live()?.consumers[left].stop().await?;
        let spec = ConsumerSpec::new(
            "java-consumer-direct",
            &self.pair.destination.bootstrap(),
            "orders",
            "billing",
        );
        let direct = self.clients.consumer(
            &Software::Java(self.pair.destination.kafka().clone()),
            &spec,
        )?;
        direct.wait_for_records(1_000, CLIENT_DEADLINE).await?;
        let partitions = direct.assigned();
        self.live
            .as_mut()
            .context("the clients are not started")?
            .consumers
            .push(direct);
        step.done(&format!("connected straight to the destination it reads {partitions} partitions of the same group"));
        Ok(())
    }

    /// Step 7a: producers stop, consumers read to the end, everything stops.
    pub(crate) async fn stop_clients(&mut self) -> Result<()> {
        let step = self.display.step("everything stops");
        let live = self.live()?;
        live.all()
            .for_each(lockgate_tests::clients::Client::stop_measuring);
        for producer in &live.producers {
            producer.stop().await?;
        }
        for topic in TOPICS {
            // What is not read by then is lost, and the checker will say which.
            self.wait_until_read(topic.group, topic.name, 0).await.ok();
        }
        for consumer in &live.consumers {
            consumer.stop().await?;
        }
        if let Some(lockgate) = &self.lockgate {
            lockgate.stop().await?;
        }
        step.done("clients and Lockgate have ended");
        Ok(())
    }

    /// Step 7b: acknowledged against read, and both logs offset by offset up to the flip.
    pub(crate) async fn compare(&mut self) -> Result<Report> {
        let step = self.display.step("comparing");
        step.progress("the source comes back for the comparison");
        self.pair.source.restart_all().await?;
        let mut differences = Vec::new();
        for topic in TOPICS {
            step.progress(topic.name);
            self.pair.source.admin().wait_in_sync(topic.name).await?;
            differences.extend(
                compare_topic(&self.pair.source, &self.pair.destination, topic.name).await?,
            );
            self.read_log(topic.name).await?;
        }
        let clients = self
            .live()?
            .all()
            .map(lockgate_tests::clients::Client::report)
            .collect();
        let report = Report::new(
            &self.history.check(),
            clients,
            &differences,
            std::mem::take(&mut self.flips),
        );
        let path = folders::reports("demo")?.join("report.json");
        std::fs::write(&path, format!("{:#}\n", report.to_json()))
            .context("cannot write the report")?;
        step.done(&format!("report in {}", path.display()));
        Ok(report)
    }

    /// Puts the destination's final log into the history.
    async fn read_log(&self, topic: &str) -> Result<()> {
        let ranges = self.pair.destination.admin().log_ranges(topic).await?;
        for (partition, range) in ranges.iter().enumerate() {
            let (partition, bootstrap) = (partition as i32, self.pair.destination.bootstrap());
            for record in read_records(&bootstrap, topic, partition, range.start, range.end).await?
            {
                let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
                    .into_owned();
                self.history.in_log(topic, partition, record.offset, &value);
            }
        }
        Ok(())
    }

    /// Checks that an operation is done and notes it.
    async fn moved(&mut self, route: &str, operation: &Value) -> Result<String> {
        if operation["state"] != "done" {
            bail!("route {route} did not move: {operation}");
        }
        let flip = Flip::operation(route, operation);
        let words = flip.words();
        self.flips.push(flip);
        Ok(words)
    }

    async fn breathe(&self) {
        tokio::time::sleep(BREATH).await;
    }

    /// Lets clients run for a while and insists that each of them works on records in that time.
    async fn go_on(&self, time: Duration) -> Result<()> {
        let before: Vec<u64> = self
            .live()?
            .all()
            .map(lockgate_tests::clients::Client::records)
            .collect();
        tokio::time::sleep(time).await;
        for (client, before) in self.live()?.all().zip(before) {
            ensure!(
                client.records() > before,
                "{} stands still; its log: {}",
                client.name(),
                client.process().log_tail()
            );
        }
        Ok(())
    }

    async fn wait_until_read(&self, group: &str, topic: &str, at_most: u64) -> Result<()> {
        let end = Instant::now() + CLIENT_DEADLINE;
        while self.history.unread(group, topic) > at_most {
            ensure!(
                Instant::now() < end,
                "{group} has {} records of {topic} to read",
                self.history.unread(group, topic)
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn lockgate(&self) -> Result<&Lockgate> {
        self.lockgate.as_ref().context("Lockgate is not started")
    }

    fn live(&self) -> Result<&Live> {
        self.live.as_ref().context("the clients are not started")
    }
}

/// A list, alone or under a name of its own.
fn entries<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let list = value.as_array().or_else(|| value[name].as_array());
    list.map_or(&[], Vec::as_slice)
}
