//! Pure: the state machine of moving a route's producers, and what a start makes of an unfinished move.
//!
//! Fence -> Drain -> Level -> Open -> Retire. Whatever fails before Open was sent to any copy of the journal lifts the
//! fence; from then on nothing does, and Open is written until it is known to be written (DESIGN section 7).

use std::time::Duration;

use crate::flip::journal::FlipStep;

/// How long after a failed journal write it is tried again.
pub const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// What goes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The fence is in the journal, or perhaps not and why.
    FenceJournaled(Result<(), String>),
    /// Every Produce decided before the fence was answered; `Lost` where connections were lost unanswered.
    Drained(Drained),
    /// Both clusters are level and the links sealed, or why not.
    Leveled(Result<(), String>),
    /// Open is in the journal, or perhaps not and why.
    OpenJournaled(Result<(), String>),
    /// The lift is in the journal, or perhaps not and why.
    LiftJournaled(Result<(), String>),
    /// The finished move was struck from the journal, or not.
    RetireJournaled(Result<(), String>),
    /// Time passed.
    Tick,
}

/// How the drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything was answered.
    Answered,
    /// At least one outcome is unknown (trap 25).
    WithLosses,
    /// Not in time.
    TimedOut,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Write the fence to both copies.
    JournalFence,
    /// Park writes from now on, and report the drain.
    FenceAndDrain,
    /// Copy the rest and prove both clusters level, within this time.
    Level {
        /// Whether the source's ends must have stood still for a while.
        settle: bool,
        /// What is left of the deadline.
        within: Duration,
    },
    /// Write Open, the new home's copy first.
    JournalOpen,
    /// Let writes go to the new home.
    PublishOpen,
    /// End the forward links.
    RetireLinks,
    /// Strike the finished move from the journal.
    JournalRetired,
    /// Write the lift to the home's copy.
    JournalLift,
    /// Let writes go to the old home again; links go on.
    PublishLift,
    /// The end.
    Finish(Outcome),
}

/// How a move ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The producers have moved.
    Moved,
    /// The fence was lifted, and why; everything is where it was.
    Lifted(String),
}

/// Where the move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The fence is being written.
    Fencing,
    /// Writes in flight are awaited.
    Draining,
    /// The clusters are being made level.
    Leveling,
    /// Open was sent.
    Opening,
    /// Open counts; the links retire.
    Retiring,
    /// The lift is being written.
    Lifting,
    /// Ended.
    Ended,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    deadline: Duration,
    why_lifted: String,
    retry_at: Option<Duration>,
}

impl Machine {
    /// A move that begins now and must have sent Open by `deadline`.
    #[must_use]
    pub fn begin(deadline: Duration) -> (Self, Vec<Command>) {
        let machine = Self {
            phase: Phase::Fencing,
            deadline,
            why_lifted: String::new(),
            retry_at: None,
        };
        (machine, vec![Command::JournalFence])
    }

    /// A move that an earlier process left unfinished, as the journal tells it. The data path begins with what the
    /// journal says: fenced, or open at the new home.
    #[must_use]
    pub fn resume(step: FlipStep) -> (Self, Vec<Command>) {
        let (phase, commands) = match step {
            // Whoever finds Open in a copy knows that no coordinator lifts it any more: what is left is to finish.
            FlipStep::Opened => (
                Phase::Retiring,
                vec![
                    Command::PublishOpen,
                    Command::RetireLinks,
                    Command::JournalRetired,
                ],
            ),
            FlipStep::Fenced => (Phase::Lifting, vec![Command::JournalLift]),
        };
        let machine = Self {
            phase,
            deadline: Duration::ZERO,
            why_lifted: "the process ended while the fence was up".to_owned(),
            retry_at: None,
        };
        (machine, commands)
    }

    /// Where the move is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes one event.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Command> {
        match (self.phase, event) {
            (Phase::Fencing, Event::FenceJournaled(Ok(()))) if now < self.deadline => {
                self.phase = Phase::Draining;
                vec![Command::FenceAndDrain]
            }
            (Phase::Fencing, Event::FenceJournaled(Ok(()))) => {
                self.lift("the fence could not be written in time".to_owned())
            }
            // One copy may hold the fence: it is lifted as if both did.
            (Phase::Fencing, Event::FenceJournaled(Err(why))) => {
                self.lift(format!("the fence could not be written: {why}"))
            }
            (Phase::Draining, Event::Drained(drained)) => self.drained(now, drained),
            (Phase::Leveling, Event::Leveled(Ok(()))) if now < self.deadline => {
                self.phase = Phase::Opening;
                vec![Command::JournalOpen]
            }
            (Phase::Leveling, Event::Leveled(Ok(()))) => {
                self.lift("the clusters were level only after the deadline".to_owned())
            }
            (Phase::Leveling, Event::Leveled(Err(why))) => {
                self.lift(format!("the clusters did not get level: {why}"))
            }
            (Phase::Opening, Event::OpenJournaled(Ok(()))) => {
                self.phase = Phase::Retiring;
                vec![
                    Command::PublishOpen,
                    Command::RetireLinks,
                    Command::JournalRetired,
                ]
            }
            (Phase::Lifting, Event::LiftJournaled(Ok(()))) => {
                self.phase = Phase::Ended;
                let why = std::mem::take(&mut self.why_lifted);
                vec![Command::PublishLift, Command::Finish(Outcome::Lifted(why))]
            }
            (Phase::Retiring, Event::RetireJournaled(Ok(()))) => {
                self.phase = Phase::Ended;
                vec![Command::Finish(Outcome::Moved)]
            }
            (Phase::Opening, Event::OpenJournaled(Err(_)))
            | (Phase::Lifting, Event::LiftJournaled(Err(_)))
            | (Phase::Retiring, Event::RetireJournaled(Err(_))) => {
                self.retry_at = Some(now + JOURNAL_RETRY);
                Vec::new()
            }
            (_, Event::Tick) => self.tick(now),
            // What belongs to a step that has been given up.
            _ => Vec::new(),
        }
    }

    fn drained(&mut self, now: Duration, drained: Drained) -> Vec<Command> {
        match drained {
            Drained::TimedOut => self.lift("writes in flight were not answered in time".to_owned()),
            Drained::Answered | Drained::WithLosses if now < self.deadline => {
                self.phase = Phase::Leveling;
                vec![Command::Level {
                    settle: drained == Drained::WithLosses,
                    within: self.deadline - now,
                }]
            }
            Drained::Answered | Drained::WithLosses => {
                self.lift("writes in flight were answered only after the deadline".to_owned())
            }
        }
    }

    fn lift(&mut self, why: String) -> Vec<Command> {
        self.phase = Phase::Lifting;
        self.why_lifted = why;
        vec![Command::JournalLift]
    }

    fn tick(&mut self, now: Duration) -> Vec<Command> {
        let overdue = now >= self.deadline;
        match self.phase {
            Phase::Draining if overdue => {
                self.lift("the drain was not over by the deadline".to_owned())
            }
            Phase::Leveling if overdue => {
                self.lift("the clusters were not level by the deadline".to_owned())
            }
            Phase::Opening | Phase::Lifting | Phase::Retiring => {
                if self.retry_at.is_none_or(|at| now < at) {
                    return Vec::new();
                }
                self.retry_at = None;
                vec![match self.phase {
                    Phase::Opening => Command::JournalOpen,
                    Phase::Lifting => Command::JournalLift,
                    _ => Command::JournalRetired,
                }]
            }
            Phase::Fencing | Phase::Draining | Phase::Leveling | Phase::Ended => Vec::new(),
        }
    }
}
