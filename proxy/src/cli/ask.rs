//! What is asked of a running instance.

use hyper::Method;
use serde_json::Value;

use super::http::Endpoint;
use super::{Exit, Failure, Instance, show};
use crate::config;

const DEFAULT: &str = "http://127.0.0.1:8080";

/// The API of a running instance, and how its answers are shown.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) endpoint: Endpoint,
    pub(super) json: bool,
}

impl Api {
    /// The API that the arguments name.
    pub(super) fn of(instance: &Instance) -> Result<Self, Failure> {
        let endpoint = match (&instance.admin, &instance.config) {
            (Some(url), _) => Endpoint::parse(url)?,
            (None, Some(path)) => {
                let config = config::load(path)
                    .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
                Endpoint(config.admin.to_string())
            }
            (None, None) => Endpoint::parse(DEFAULT)?,
        };
        Ok(Self {
            endpoint,
            json: instance.json,
        })
    }

    /// `GET path`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.endpoint.call(Method::GET, path, None).await
    }
}

pub(super) async fn routes(api: &Api) -> Result<(), Failure> {
    let routes = api.get("/v1/routes").await?;
    if api.json {
        return show::json(&routes);
    }
    let rows: Vec<Vec<String>> = entries(&routes)
        .iter()
        .map(|route| {
            let groups = entries(&route["groups"]);
            let moved = groups
                .iter()
                .filter(|group| group["home"] == "destination")
                .count();
            vec![
                show::cell(&route["name"]),
                show::cell(&route["home"]),
                show::cell(&route["phase"]),
                show::cell(&route["committed"]),
                show::cell(&route["generation"]),
                entries(&route["topics"]).len().to_string(),
                format!("{moved}/{}", groups.len()),
                show::cell(&route["lag"]["records"]),
                show::cell(&route["operation"]),
                entries(&route["refused"])
                    .first()
                    .map_or("-".to_owned(), show::cell),
            ]
        })
        .collect();
    show::table(
        &[
            "route",
            "home",
            "phase",
            "committed",
            "generation",
            "topics",
            "groups moved",
            "lag",
            "operation",
            "producers stay because",
        ],
        &rows,
    );
    Ok(())
}

pub(super) async fn links(api: &Api) -> Result<(), Failure> {
    let links = api.get("/v1/links").await?;
    if api.json {
        return show::json(&links);
    }
    let fields = [
        "topic",
        "partition",
        "state",
        "source_end",
        "next_offset",
        "lag_records",
        "lag_bytes",
        "lag_ms",
        "reason",
    ];
    let rows: Vec<Vec<String>> = entries(&links)
        .iter()
        .map(|link| fields.map(|field| show::cell(&link[field])).to_vec())
        .collect();
    show::table(&fields, &rows);
    Ok(())
}

/// A list; empty where the answer holds none.
pub(super) fn entries(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
