//! One error for the whole proxy. It carries whose fault it is, what went wrong, the Kafka error code where a
//! broker gave one, and whether trying again can help; logs, metrics and protocol replies are made from these
//! fields and from nothing else.

use std::fmt;

use kafka_protocol::ResponseError;

use crate::words::Side;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client sent something that cannot be served.
    Client,
    /// The source cluster, or the way to it.
    Source,
    /// The destination cluster, or the way to it.
    Destination,
    /// Lockgate itself: configuration, policy, state.
    Internal,
}

impl From<Side> for Origin {
    fn from(side: Side) -> Self {
        match side {
            Side::Source => Self::Source,
            Side::Destination => Self::Destination,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Internal => "internal",
        })
    }
}

/// What went wrong, in the sense that decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection, or it was lost. A request that was sent may or may not have been executed.
    Disconnected,
    /// No answer in time. As with `Disconnected`, the request may have been executed.
    TimedOut,
    /// The bytes are not what the protocol says.
    Malformed,
    /// The broker answered with this error code.
    Kafka(ResponseError),
    /// The peer does not speak a version that Lockgate needs.
    UnsupportedVersion,
    /// A rule of Lockgate forbids it.
    Refused,
    /// Anything else.
    Failed,
}

/// An error with its origin, kind, one clear sentence and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {what}")]
pub struct Error {
    /// Whose fault it is.
    pub origin: Origin,
    /// What it is.
    pub kind: Kind,
    /// One sentence that names the culprit.
    pub what: String,
    /// What caused it.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a cause.
    pub fn new(origin: impl Into<Origin>, kind: Kind, what: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            kind,
            what: what.into(),
            cause: None,
        }
    }

    /// An error code that a broker of `side` answered with.
    pub fn kafka(side: Side, code: i16, doing: impl fmt::Display) -> Self {
        let kind = match ResponseError::try_from_code(code) {
            Some(error) => Kind::Kafka(error),
            None => Kind::Failed,
        };
        let name = match kind {
            Kind::Kafka(error) => format!("{error:?}"),
            _ => "no error".to_owned(),
        };
        Self::new(
            side,
            kind,
            format!("{doing}: the broker answered {name} ({code})"),
        )
    }

    /// A rule of Lockgate forbids it.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(Origin::Internal, Kind::Refused, what)
    }

    /// An internal failure.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Origin::Internal, Kind::Failed, what)
    }

    /// The same error with the error that caused it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        self.what = format!("{}: {cause}", self.what);
        self.cause = Some(cause);
        self
    }

    /// Whether the same request may succeed later without anybody's help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self.kind {
            Kind::Disconnected | Kind::TimedOut => true,
            Kind::Kafka(error) => error.is_retriable(),
            Kind::Malformed | Kind::UnsupportedVersion | Kind::Refused | Kind::Failed => false,
        }
    }

    /// Whether the request may have been executed although no answer came.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        matches!(self.kind, Kind::Disconnected | Kind::TimedOut)
            || matches!(
                self.kind,
                Kind::Kafka(
                    ResponseError::RequestTimedOut
                        | ResponseError::NotEnoughReplicasAfterAppend
                        | ResponseError::UnknownServerError
                )
            )
    }
}
