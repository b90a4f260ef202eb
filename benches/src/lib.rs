//! The load benches: the same work done direct, through HAProxy and through Lockgate, in turn; the same topics copied
//! by MirrorMaker 2 and by Lockgate.
//!
//! One machine's noise moves absolute figures by a factor of two from one minute to the next, so nothing here is
//! quoted alone: targets alternate within each repetition, and what is reported are medians and ratios of medians.

pub mod cpu;
pub mod load;
pub mod replicate;
pub mod report;
pub mod stats;
pub mod targets;
