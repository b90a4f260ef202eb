//! Why a session ends.

use lockgate_wire::WireError;

use crate::error::Error;

/// What was wrong with a client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadFrame {
    /// The size prefix is negative or too small for a header.
    Size,
    /// The size prefix is over the limit.
    Oversized,
    /// The connection ended inside a frame.
    Truncated,
    /// The header names no API that Kafka has, or cannot be read.
    Header,
    /// A version that nobody speaks, where no answer can say so.
    Version,
    /// The body is not what the version says.
    Body,
}

impl BadFrame {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Oversized => "oversized",
            Self::Truncated => "truncated",
            Self::Header => "header",
            Self::Version => "version",
            Self::Body => "body",
        }
    }
}

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client closed its connection.
    Client,
    /// Lockgate closed it after everything was answered: retirement or shutdown.
    Done(&'static str),
    /// The client misbehaved.
    Bad(BadFrame, String),
    /// A request could not be served, and closing is the only answer that loses nothing.
    Unserved(String),
    /// The broker behind the session is gone with answers outstanding, or misbehaved.
    Broker(Error),
}

impl Ended {
    /// A body that does not walk.
    pub(super) fn body(what: &str, cause: &WireError) -> Self {
        Self::Bad(BadFrame::Body, format!("{what}: {cause}"))
    }
}

pub(super) type Step<T> = Result<T, Ended>;
