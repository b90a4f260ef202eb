//! The configuration file of DESIGN section 12, written from what a test wants.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::ports::Ports;

/// How many ports are set aside for virtual nodes.
const NODE_PORTS: u16 = 12;

/// One `[[route]]`.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Topic names or globs.
    pub topics: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// The component that decides when it moves.
    pub cutover_policy: Option<PathBuf>,
    /// The policy's configuration: the inside of a TOML inline table.
    pub cutover_config: String,
}

/// What a Lockgate is to be; its ports are reserved for as long as this value lives.
#[derive(Debug)]
pub struct Config {
    /// `bootstrap` of the source.
    pub source: String,
    /// `bootstrap` of the destination.
    pub destination: String,
    /// The host that Lockgate tells clients; with 127.0.0.2 they go through relays that listen there on the
    /// same ports.
    pub advertised_host: String,
    /// The routes.
    pub routes: Vec<Route>,
    /// Appended as it is: further tables or keys under test.
    pub further: String,
    ports: Ports,
}

impl Config {
    /// Between two clusters, on free ports.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn new(source: &str, destination: &str, routes: Vec<Route>) -> Result<Self> {
        let ports = Ports::reserve(NODE_PORTS + 2)?;
        let (source, destination) = (source.to_owned(), destination.to_owned());
        let advertised_host = "127.0.0.1".to_owned();
        Ok(Self {
            source,
            destination,
            advertised_host,
            routes,
            further: String::new(),
            ports,
        })
    }

    /// What clients use as `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.ports.address(1).to_string()
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn admin(&self) -> std::net::SocketAddr {
        self.ports.address(0)
    }

    /// The ports that may be given to virtual nodes.
    #[must_use]
    pub fn node_ports(&self) -> std::ops::RangeInclusive<u16> {
        self.ports.at(2)..=self.ports.last()
    }

    /// The file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "[source]\nbootstrap = {}\n\n[destination]\nbootstrap = {}\n\n\
             [listen]\nbind = \"127.0.0.1\"\nadvertised_host = \"{}\"\nbootstrap_port = {}\n\
             node_ports = \"{}-{}\"\n\n[admin]\nlisten = \"{}\"\n",
            list(self.source.split(',')),
            list(self.destination.split(',')),
            self.advertised_host,
            self.ports.at(1),
            self.ports.at(2),
            self.ports.last(),
            self.admin(),
        );
        for route in &self.routes {
            route.write(&mut text);
        }
        text.push_str(&self.further);
        text
    }
}

impl Route {
    fn write(&self, text: &mut String) {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "\n[[route]]\nname = {:?}\ntopics = {}\ngroups = {}\n",
            self.name,
            list(self.topics.iter().map(String::as_str)),
            list(self.groups.iter().map(String::as_str)),
        );
        if let Some(policy) = &self.cutover_policy {
            let policy = policy.display().to_string();
            let _ = write!(
                text,
                "[route.cutover]\npolicy = {policy:?}\nconfig = {{ {} }}\n",
                self.cutover_config
            );
        }
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!(
        "[{}]",
        items
            .map(|item| format!("{item:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_documented_keys() {
        let route = Route {
            name: "orders".to_owned(),
            topics: vec!["orders".to_owned()],
            groups: vec!["billing".to_owned()],
            cutover_policy: Some("lag-gate.wasm".into()),
            cutover_config: "max_lag_records = 100".to_owned(),
        };
        let config = Config::new("127.0.0.1:1,127.0.0.1:2", "127.0.0.1:3", vec![route]).unwrap();
        let text = config.to_toml();
        assert!(
            text.contains("bootstrap = [\"127.0.0.1:1\", \"127.0.0.1:2\"]"),
            "{text}"
        );
        assert!(
            text.contains(
                "[[route]]\nname = \"orders\"\ntopics = [\"orders\"]\ngroups = [\"billing\"]\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("policy = \"lag-gate.wasm\"\nconfig = { max_lag_records = 100 }"),
            "{text}"
        );
    }
}
