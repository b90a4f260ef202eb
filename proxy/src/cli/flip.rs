//! Beginning an operation, and watching it to its end.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::ask::{Api, entries};
use super::{Exit, Failure, show};

/// How often a running operation is looked at.
const POLL: Duration = Duration::from_millis(300);

/// Begins a flip or a commit of a route.
pub(super) async fn begin(
    api: &Api,
    route: &str,
    what: &str,
    body: &Value,
    wait: bool,
) -> Result<(), Failure> {
    if route.is_empty() || route.contains(['/', '?', '#', ' ', '%']) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{route:?} is not the name of a route"),
        ));
    }
    let path = format!("/v1/routes/{route}/{what}");
    let answer = api.endpoint.call(Method::POST, &path, Some(body)).await?;
    let Some(id) = answer["id"].as_str() else {
        return plan(api, &answer);
    };
    if wait {
        return watch(api, id).await;
    }
    if api.json {
        return show::json(&answer);
    }
    show::line(&format!("operation {id} has begun"));
    Ok(())
}

/// What a dry run says.
fn plan(api: &Api, answer: &Value) -> Result<(), Failure> {
    if api.json {
        return show::json(answer);
    }
    let plan = &answer["plan"];
    show::line(&format!(
        "groups that would move: {}",
        show::cell(&plan["groups"])
    ));
    for refused in entries(&plan["groups_refused"]) {
        show::line(&format!(
            "group {} would not: {}",
            show::cell(&refused[0]),
            show::cell(&refused[1])
        ));
    }
    if plan["producers"] == true {
        match entries(&plan["producers_refused"]) {
            [] => show::line("the producers would move"),
            reasons => {
                for reason in reasons {
                    show::line(&format!("the producers would not: {}", show::cell(reason)));
                }
            }
        }
    }
    Ok(())
}

/// Shows each step as it ends, until the operation has ended.
async fn watch(api: &Api, id: &str) -> Result<(), Failure> {
    let mut shown = 0;
    loop {
        let operation = api.get(&format!("/v1/operations/{id}")).await?;
        let steps = entries(&operation["steps"]);
        let running = operation["state"] == "running";
        // A step has ended once its time is known; the last one is shown at the end in any case.
        let ended = steps.iter().filter(|step| !step["took_ms"].is_null());
        let ready = if running { ended.count() } else { steps.len() };
        for step in steps.iter().take(ready).skip(shown).filter(|_| !api.json) {
            show::line(&format!(
                "{:>8} ms  {}",
                show::cell(&step["took_ms"]),
                show::cell(&step["name"])
            ));
        }
        shown = ready.max(shown);
        if !running {
            return ended_with(api, &operation);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn ended_with(api: &Api, operation: &Value) -> Result<(), Failure> {
    if api.json {
        show::json(operation)?;
    }
    let state = show::cell(&operation["state"]);
    if state == "done" {
        if !api.json {
            show::line("done");
        }
        return Ok(());
    }
    let reason = show::cell(&operation["reason"]);
    Err(Failure::new(
        Exit::Failed,
        format!("the operation was {state}: {reason}"),
    ))
}
