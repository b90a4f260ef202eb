//! `VerifiableProducer` and `VerifiableConsumer` with librdkafka inside: same arguments, same events.

mod arguments;
mod consume;
mod events;
mod produce;

use anyhow::Result;
use arguments::{Arguments, Role};
use clap::Parser;

fn main() -> Result<()> {
    let stop = events::stop_on_sigterm()?;
    match Arguments::parse().role {
        Role::Producer(arguments) => produce::run(&arguments, &stop),
        Role::Consumer(arguments) => consume::run(&arguments, &stop),
    }
}
