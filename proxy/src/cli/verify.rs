//! `lockgate verify`: begins a verification, shows how far it is, and what it found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::ask::{Api, entries};
use super::{Exit, Failure, Instance, show};

/// How often a running verification is looked at.
const POLL: Duration = Duration::from_millis(500);
/// Digits of a digest in a table; `--json` shows all.
const DIGITS: usize = 16;

/// What is to be verified, and how.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["route", "topic", "resume", "cancel"]))]
pub(super) struct Arguments {
    /// All topics of this route.
    #[arg(long)]
    route: Option<String>,
    /// One topic.
    #[arg(long)]
    topic: Option<String>,
    /// One partition of the topic.
    #[arg(long, requires = "topic")]
    partition: Option<i32>,
    /// The first offset [default: the later of both log starts].
    #[arg(long, requires = "topic")]
    from: Option<i64>,
    /// The offset behind the last [default: the lower of both ends].
    #[arg(long, requires = "topic")]
    to: Option<i64>,
    /// Go on with what this verification has left.
    #[arg(long, value_name = "ID")]
    resume: Option<String>,
    /// End this verification.
    #[arg(long, value_name = "ID")]
    cancel: Option<String>,
    /// Keep what is left in this file while waiting, and go on with it where the file is there: also after Lockgate has
    /// ended.
    #[arg(long, value_name = "FILE", requires = "wait", conflicts_with_all = ["resume", "cancel"])]
    resume_file: Option<PathBuf>,
    /// Megabytes a second, both clusters together [default: 67].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate_mb: Option<u64>,
    /// Partitions at the same time, 1 to 8 [default: 2].
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Do not look into batches with the same bytes: faster, without digests.
    #[arg(long)]
    fast: bool,
    /// Show how far it is until it has ended; the exit code is 0 where both sides are equal, else 1.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    pub(super) instance: Instance,
}

/// Does what the arguments say.
pub(super) async fn verify(api: &Api, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(id) = &arguments.cancel {
        let path = format!("/v1/operations/{}/cancel", in_path(id)?);
        let answer = api.endpoint.call(Method::POST, &path, None).await?;
        if api.json {
            return show::json(&answer);
        }
        show::line(&format!("verification {id} is cancelled"));
        return Ok(());
    }
    let body = body(arguments)?;
    let answer = api
        .endpoint
        .call(Method::POST, "/v1/verify", Some(&body))
        .await?;
    if !arguments.wait {
        if api.json {
            return show::json(&answer);
        }
        show::line(&format!(
            "verification {} has begun",
            show::cell(&answer["id"])
        ));
        return Ok(());
    }
    watch(
        api,
        &show::cell(&answer["id"]),
        arguments.resume_file.as_deref(),
    )
    .await
}

fn in_path(id: &str) -> Result<&str, Failure> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if id.is_empty() || !id.chars().all(plain) {
        let sentence = format!("{id:?} is not the id of a verification");
        return Err(Failure::new(Exit::Usage, sentence));
    }
    Ok(id)
}

/// The request.
fn body(arguments: &Arguments) -> Result<Value, Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.to_owned(), value);
        }
    };
    let kept = match &arguments.resume_file {
        Some(file) => kept(file)?,
        None => None,
    };
    match kept {
        Some(partitions) => put("partitions", partitions),
        None => {
            put("route", json!(arguments.route));
            put("topic", json!(arguments.topic));
            put("partition", json!(arguments.partition));
            put("from", json!(arguments.from));
            put("to", json!(arguments.to));
            put("resume", json!(arguments.resume));
        }
    }
    let rate = arguments.rate_mb.map(|rate| rate * 1_000_000);
    put("max_bytes_per_second", json!(rate));
    put("parallel", json!(arguments.parallel));
    put("fast", json!(arguments.fast));
    Ok(Value::Object(body))
}

/// What an earlier call has kept; none where there is no such file.
fn kept(file: &Path) -> Result<Option<Value>, Failure> {
    let unusable = |cause: String| {
        let sentence = format!("--resume-file {}: {cause}", file.display());
        Failure::new(Exit::Usage, sentence)
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unusable(cause.to_string())),
    };
    let value: Value = serde_json::from_str(&text).map_err(|cause| unusable(cause.to_string()))?;
    match value {
        Value::Array(list) if !list.is_empty() => Ok(Some(Value::Array(list))),
        _ => Err(unusable("it holds no list of ranges".to_owned())),
    }
}

/// Keeps what is left; nothing left removes the file.
fn keep(file: &Path, left: &Value) -> Result<(), Failure> {
    let kept = if entries(left).is_empty() {
        match std::fs::remove_file(file) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    } else {
        std::fs::write(file, left.to_string())
    };
    kept.map_err(|cause| {
        let sentence = format!("--resume-file {}: {cause}", file.display());
        Failure::new(Exit::Failed, sentence)
    })
}

/// Shows how far it is until it has ended, then what it found.
async fn watch(api: &Api, id: &str, file: Option<&Path>) -> Result<(), Failure> {
    let path = format!("/v1/operations/{id}");
    loop {
        let view = api.get(&path).await.inspect_err(|_| show::progress(None))?;
        if let Some(file) = file {
            keep(file, &view["left"])?;
        }
        if view["state"] != "running" {
            show::progress(None);
            return ended(api, &view);
        }
        show::progress(Some(&progress(&view)));
        tokio::time::sleep(POLL).await;
    }
}

fn progress(view: &Value) -> String {
    format!(
        "{} of {} partitions, {} of {} offsets, {} MB at {} MB/s, {} differences",
        view["partitions_done"],
        view["partitions_total"],
        view["offsets_done"],
        view["offsets_total"],
        megabytes(view),
        view["mb_per_second"],
        view["differences"],
    )
}

fn megabytes(view: &Value) -> u64 {
    view["bytes"].as_u64().unwrap_or_default() / 1_000_000
}

fn ended(api: &Api, view: &Value) -> Result<(), Failure> {
    if api.json {
        show::json(view)?;
    } else {
        table(view);
    }
    let records = &view["records"];
    match (view["state"].as_str(), view["outcome"].as_str()) {
        (Some("done"), Some("equal")) => {
            if !api.json {
                show::line(&format!(
                    "equal: {records} records of {}, {} MB in {} ms",
                    count(&view["partitions_total"], "partition", "partitions"),
                    megabytes(view),
                    view["took_ms"]
                ));
            }
            Ok(())
        }
        (Some("done"), Some("unresolved")) => Err(Failure::new(
            Exit::Failed,
            "unresolved: nothing was found to differ, but more keys stand on one side only than can be held; verify smaller ranges, or fewer partitions at a time",
        )),
        (_, Some("differs")) => Err(Failure::new(
            Exit::Failed,
            format!(
                "{}; the first: {}",
                count(&view["differences"], "offset differs", "offsets differ"),
                sentence(&view["first_difference"])
            ),
        )),
        _ => {
            let exit = match view["unreachable"] {
                Value::Bool(true) => Exit::Unreachable,
                _ => Exit::Failed,
            };
            let sentence = format!(
                "not verified: {}; `lockgate verify --resume {}` goes on with what is left",
                show::cell(&view["reason"]),
                show::cell(&view["id"])
            );
            Err(Failure::new(exit, sentence))
        }
    }
}

fn table(view: &Value) {
    let head = [
        "topic",
        "partition",
        "state",
        "from",
        "to",
        "records",
        "differences",
        "superseded",
        "digest",
    ];
    let rows: Vec<Vec<String>> = entries(&view["partitions"])
        .iter()
        .map(|one| {
            let mut row: Vec<String> = head[..8]
                .iter()
                .map(|field| show::cell(&one[*field]))
                .collect();
            row.push(digests(one));
            row
        })
        .collect();
    show::table(&head, &rows);
    for one in entries(&view["partitions"]) {
        let said = entries(&one["notes"]).iter().chain([&one["reason"]]);
        for note in said.filter(|note| !note.is_null()) {
            show::line(&format!(
                "{}-{}: {}",
                show::cell(&one["topic"]),
                one["partition"],
                show::cell(note)
            ));
        }
    }
}

/// One digest where both sides have the same.
fn digests(partition: &Value) -> String {
    let short = |side: &str| {
        let digest = show::cell(&partition[side]);
        digest.chars().take(DIGITS).collect::<String>()
    };
    let (source, destination) = (short("source_digest"), short("destination_digest"));
    if partition["source_digest"] == partition["destination_digest"] {
        source
    } else {
        format!("{source} / {destination}")
    }
}

fn count(number: &Value, one: &str, more: &str) -> String {
    format!("{number} {}", if *number == 1 { one } else { more })
}

/// A difference for people.
fn sentence(difference: &Value) -> String {
    let place = format!(
        "{}-{} offset {}",
        show::cell(&difference["topic"]),
        difference["partition"],
        difference["offset"]
    );
    match difference["missing_at"].as_str() {
        Some(side) => format!("{place} is missing at the {side}"),
        None => format!("{place} differs in {}", show::cell(&difference["what"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_kept_until_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("left.json");
        assert!(kept(&file).unwrap().is_none());
        let left = json!([{ "topic": "t", "partition": 0, "from": 7 }]);
        keep(&file, &left).unwrap();
        assert_eq!(kept(&file).unwrap(), Some(left));
        keep(&file, &json!([])).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "{}").unwrap();
        assert!(kept(&file).is_err());
    }

    #[test]
    fn a_difference_is_one_sentence() {
        let mut difference = json!({
            "topic": "t", "partition": 1, "offset": 7, "what": ["value", "headers"], "missing_at": null
        });
        assert_eq!(
            sentence(&difference),
            "t-1 offset 7 differs in value,headers"
        );
        difference["missing_at"] = json!("source");
        assert_eq!(
            sentence(&difference),
            "t-1 offset 7 is missing at the source"
        );
    }
}
