//! The end of a session that Lockgate wants to end, without a request on the wire being lost (DESIGN section 7,
//! commit): some clients never follow Metadata, and go to the right node only when their connection ends.
//!
//! A client that still writes a committed route through a source node is answered with a throttle time, for which it
//! mutes the connection (KIP-219); once nothing has come for [`QUIET`] and nothing is outstanding, Lockgate says FIN.
//! What the client then still sends is read and dropped unanswered, so that it never sees RST.

use std::time::Duration;

use tokio::time::Instant;

use super::ended::{Ended, Step};
use super::requests::Requests;
use crate::words::Side;

/// What a client that has to move is told to wait for. The connection is quiet for that long.
pub(super) const THROTTLE_MS: i32 = 1_500;
/// After the last throttled answer: time for what was on the wire. Well below the throttle time.
const QUIET: Duration = Duration::from_millis(500);
/// How long a session at the source may stay quiet once every route has left.
const LEAVING: Duration = Duration::from_secs(1);
/// Between looks whether anything is outstanding.
const AGAIN: Duration = Duration::from_millis(100);

impl Requests {
    /// An answer with a throttle time is on its way.
    pub(super) fn retire_soon(&mut self) {
        self.retire_at = Some(Instant::now() + QUIET);
    }

    /// Once every route is committed, all sessions on source nodes go.
    pub(super) fn check_leaving(&mut self) {
        self.routes_changed.mark_unchanged();
        if self.side == Side::Source
            && self.retire_at.is_none()
            && self.path.routes.load().source_leaving()
        {
            self.retire_at = Some(Instant::now() + LEAVING);
        }
    }

    /// Ends the session if nothing is outstanding in either direction.
    pub(super) fn retire_when_quiet(&mut self) -> Step<()> {
        if self.connection.is_waited_for() || !self.inbound.pending().is_empty() {
            self.retire_at = Some(Instant::now() + AGAIN);
            return Ok(());
        }
        Err(Ended::Done("its routes have left the source"))
    }
}
