//! The move of a route's producers with every order of failing steps and crashes. The model keeps what the journal's
//! copies hold and who lets writes through; after every command the rules are checked.

use std::time::Duration;

use lockgate::flip::journal::FlipStep;
use lockgate::flip::producers::machine::{Command, Drained, Event, Machine, Outcome};
use lockgate::words::Side;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SEEDS: u64 = 20_000;
const DEADLINE: Duration = Duration::from_secs(5);
const STEPS_MAX: usize = 500;

/// One copy's last record, with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copy {
    version: u64,
    home: Side,
    step: Option<FlipStep>,
}

struct World {
    seed: u64,
    rng: StdRng,
    now: Duration,
    /// The source's, the destination's.
    copies: [Copy; 2],
    version: u64,
    /// Whose writes the running process lets through.
    writes: Option<Side>,
    level: bool,
    /// Open was written to some copy, ever.
    opened: bool,
    faults_left: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let copy = Copy {
            version: 0,
            home: Side::Source,
            step: None,
        };
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            copies: [copy; 2],
            version: 0,
            writes: Some(Side::Source),
            level: false,
            opened: false,
            faults_left: 6,
        }
    }

    fn fault(&mut self, per_cent: u32) -> bool {
        let fault = self.faults_left > 0 && self.rng.random_range(0..100) < per_cent;
        if fault {
            self.faults_left -= 1;
        }
        fault
    }

    /// Writes to the copies in order. A fault may strike before, between or after them.
    fn write(
        &mut self,
        home: Side,
        step: Option<FlipStep>,
        order: [Side; 2],
        enough: usize,
    ) -> Result<(), String> {
        self.version += 1;
        let copy = Copy {
            version: self.version,
            home,
            step,
        };
        for (written, side) in order.into_iter().enumerate() {
            if self.fault(15) {
                return if written >= enough {
                    Ok(())
                } else {
                    Err("the copy is away".to_owned())
                };
            }
            self.copies[side.index()] = copy;
            self.opened |= home == Side::Destination;
        }
        // The answer may be lost, though the store reads the outcome back before it says so.
        if self.fault(5) {
            return Err("the answer was lost".to_owned());
        }
        Ok(())
    }

    fn newest(&self) -> Copy {
        let [a, b] = self.copies;
        if a.version >= b.version { a } else { b }
    }

    fn fence(&mut self) -> Event {
        let both = self
            .copies
            .iter()
            .all(|copy| copy.step == Some(FlipStep::Fenced));
        assert!(
            both,
            "seed {}: fenced before both copies hold it",
            self.seed
        );
        self.writes = None;
        Event::Drained(match self.rng.random_range(0..10) {
            0 => Drained::TimedOut,
            1 => Drained::WithLosses,
            _ => Drained::Answered,
        })
    }

    fn make_level(&mut self) -> Event {
        assert_eq!(self.writes, None, "seed {}", self.seed);
        let result = if self.fault(15) {
            Err("a link is stopped".to_owned())
        } else {
            self.level = true;
            Ok(())
        };
        Event::Leveled(result)
    }

    fn perform(&mut self, command: &Command) -> Option<Event> {
        use Side::{Destination, Source};
        self.now += Duration::from_millis(self.rng.random_range(0..1_500));
        match command {
            Command::JournalFence => Some(Event::FenceJournaled(self.write(
                Source,
                Some(FlipStep::Fenced),
                [Source, Destination],
                2,
            ))),
            Command::FenceAndDrain => Some(self.fence()),
            Command::Level { .. } => Some(self.make_level()),
            Command::JournalOpen => {
                assert!(self.level, "seed {}: Open before level", self.seed);
                Some(Event::OpenJournaled(self.write(
                    Destination,
                    Some(FlipStep::Opened),
                    [Destination, Source],
                    2,
                )))
            }
            Command::PublishOpen => {
                assert!(self.opened, "seed {}: Open before the journal", self.seed);
                assert_ne!(self.writes, Some(Source), "seed {}: two writers", self.seed);
                self.writes = Some(Destination);
                None
            }
            Command::RetireLinks => {
                assert_eq!(self.writes, Some(Destination), "seed {}", self.seed);
                None
            }
            Command::JournalRetired => Some(Event::RetireJournaled(self.write(
                Destination,
                None,
                [Destination, Source],
                1,
            ))),
            Command::JournalLift => {
                assert!(!self.opened, "seed {}: Open was lifted", self.seed);
                Some(Event::LiftJournaled(self.write(
                    Source,
                    None,
                    [Source, Destination],
                    1,
                )))
            }
            Command::PublishLift => {
                assert!(!self.opened, "seed {}: Open was lifted", self.seed);
                assert_ne!(
                    self.writes,
                    Some(Destination),
                    "seed {}: two writers",
                    self.seed
                );
                self.level = false;
                self.writes = Some(Source);
                None
            }
            Command::Finish(_) => None,
        }
    }

    /// Kills the process and starts it again from the newer copy; the copies are brought level first.
    fn crash(&mut self) -> Option<(Machine, Vec<Command>)> {
        let newest = self.newest();
        self.copies = [newest; 2];
        self.level = false;
        self.now = Duration::ZERO;
        match newest.step {
            Some(step) => {
                self.writes = None;
                Some(Machine::resume(step))
            }
            None => {
                self.writes = Some(newest.home);
                None
            }
        }
    }
}

fn run(seed: u64) -> (Option<Outcome>, World) {
    let mut world = World::new(seed);
    let (mut machine, first) = Machine::begin(DEADLINE);
    let mut commands: std::collections::VecDeque<Command> = first.into();
    for _ in 0..STEPS_MAX {
        let Some(command) = commands.pop_front() else {
            world.now += Duration::from_millis(200);
            commands.extend(machine.handle(world.now, Event::Tick));
            continue;
        };
        if let Command::Finish(outcome) = command {
            return (Some(outcome), world);
        }
        let event = world.perform(&command);
        if world.fault(8) {
            match world.crash() {
                None => return (None, world),
                Some((resumed, next)) => {
                    machine = resumed;
                    commands = next.into();
                    continue;
                }
            }
        }
        if let Some(event) = event {
            commands.extend(machine.handle(world.now, event));
        }
    }
    panic!("seed {seed}: the move never ended");
}

#[test]
fn at_most_one_writer_and_open_is_never_lifted() {
    let (mut moved, mut lifted, mut at_rest) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (outcome, world) = run(seed);
        let expected = if world.opened {
            Side::Destination
        } else {
            Side::Source
        };
        assert_eq!(world.writes, Some(expected), "seed {seed}");
        match outcome {
            Some(Outcome::Moved) => {
                moved += 1;
                assert!(world.opened, "seed {seed}");
            }
            Some(Outcome::Lifted(_)) => lifted += 1,
            None => at_rest += 1,
        }
    }
    let counts = (moved, lifted, at_rest);
    assert!(
        moved > 1_000 && lifted > 1_000 && at_rest > 100,
        "{counts:?}"
    );
}
