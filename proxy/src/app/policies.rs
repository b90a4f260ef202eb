//! The policies of every route, loaded and tried before anything depends on them.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::config::{Config, PolicyConfig, RouteConfig};
use crate::error::{Error, Result};
use crate::flip::RoutePolicies;
use crate::policy::question::{RouteStatus, TranslationRequest};
use crate::policy::{Cutover, Limits, PolicyFault, PolicyHost, PolicySource, Translation};

/// Loads the policies of all routes, in the configuration's order. One that does not load ends the start.
pub async fn load(config: &Config) -> Result<Vec<RoutePolicies>> {
    // The engine costs a thread; without a component there is none.
    let named = |route: &RouteConfig| route.cutover.is_some() || route.translation.is_some();
    let host = match config.routes.iter().any(named) {
        true => Some(PolicyHost::start().map_err(|fault| refused("", &fault))?),
        false => None,
    };
    let mut loaded = Vec::with_capacity(config.routes.len());
    for route in &config.routes {
        if route.placement.is_some() {
            return Err(Error::refused(format!(
                "route {:?}: placement policies are not built yet",
                route.name
            )));
        }
        loaded.push(match &host {
            Some(host) => load_route(host, route).await?,
            None => RoutePolicies::default(),
        });
    }
    Ok(loaded)
}

async fn load_route(host: &PolicyHost, route: &RouteConfig) -> Result<RoutePolicies> {
    let refused = |fault: PolicyFault| refused(&route.name, &fault);
    let cutover = match &route.cutover {
        Some(policy) => {
            let sample = RouteStatus::at_source(&route.name, 0, now_ms());
            host.load_cutover(&source(policy), &sample)
                .await
                .map_err(refused)?
        }
        None => Cutover::default(),
    };
    let translation = match &route.translation {
        Some(policy) => {
            let sample = TranslationRequest {
                group: "trial".to_owned(),
                generation: 0,
                now_ms: now_ms(),
                offsets: Vec::new(),
                attributes: Vec::new(),
            };
            host.load_translation(&source(policy), &sample)
                .await
                .map_err(refused)?
        }
        None => Translation::default(),
    };
    Ok(RoutePolicies {
        cutover: Arc::new(ArcSwap::from_pointee(cutover)),
        translation: Arc::new(translation),
    })
}

fn source(policy: &PolicyConfig) -> PolicySource {
    let mut source = PolicySource::from_file(policy.path.clone(), policy.config.clone());
    source.limits = Limits {
        deadline: policy.deadline,
        memory_bytes: policy.memory_bytes_max,
        ..Limits::default()
    };
    source
}

fn refused(route: &str, fault: &PolicyFault) -> Error {
    Error::refused(format!("route {route:?}: {fault}"))
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
