//! Stand-in for the API table until the `api` room's lands.

use bytes::Bytes;

use super::Exchange;

/// One API.
#[derive(Debug)]
pub struct Api {
    /// Kafka's API key.
    pub key: i16,
    /// Lowest version.
    pub min: i16,
    /// Highest version.
    pub max: i16,
    /// What is done to it.
    pub treatment: Treatment,
}

/// What is done to an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Forwarded as it arrives.
    Pass,
    /// The session's own.
    Produce,
    /// The session's own.
    Fetch,
    /// Decoded by its handler.
    Handle,
}

const TABLE: [Api; 5] = [
    Api {
        key: 0,
        min: 3,
        max: 9,
        treatment: Treatment::Produce,
    },
    Api {
        key: 1,
        min: 4,
        max: 12,
        treatment: Treatment::Fetch,
    },
    Api {
        key: 3,
        min: 0,
        max: 12,
        treatment: Treatment::Handle,
    },
    Api {
        key: 18,
        min: 0,
        max: 4,
        treatment: Treatment::Handle,
    },
    Api {
        key: 32,
        min: 1,
        max: 4,
        treatment: Treatment::Pass,
    },
];

/// The row of an API.
#[must_use]
pub fn lookup(api_key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key == api_key)
}

/// What a handler decided.
#[derive(Debug)]
pub enum Outcome {
    /// A response body, no header.
    Answer(Bytes),
    /// Close the client's connection.
    Close(String),
}

/// Stand-in.
pub async fn handle(
    exchange: &Exchange<'_>,
    api_key: i16,
    _version: i16,
    _client_id: Option<&str>,
    _body: Bytes,
) -> Outcome {
    let mut queued = exchange.queued.clone();
    if api_key == 3 {
        let _ = queued.wait_for(|queued| *queued).await;
    }
    Outcome::Answer(Bytes::from_static(b"handled"))
}

/// Stand-in.
#[must_use]
pub fn unsupported(api_key: i16, _version: i16) -> Option<Bytes> {
    (api_key == 18).then(|| Bytes::from_static(b"\0\x23\0\0\0\0"))
}
