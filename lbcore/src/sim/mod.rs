//! For tests, ours and yours: virtual time, a network that fails by dice, and what must hold in it.
//!
//! ```text
//! Clock   time that moves when told        ──┐
//! Link    latency, loss, order, from a seed ─┼─▶ cluster::run   nodes, clients and trouble; judged
//! laws    what each public trait must keep   │                  after every step
//!                                your protocol, as a Replicate
//! ```
//!
//! Nothing here waits, and nothing is random but by a seed: a run that fails names its seed, and the
//! same seed fails again, at the same step. It needs the feature `sim`.

mod clock;
pub mod cluster;
pub mod laws;
mod link;

pub use clock::Clock;
pub use link::{Arrival, Link, LinkConfig, LinkConfigError, LinkStats};

/// A node of a simulated network: its number, from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_structs, reason = "a number")]
pub struct NodeId(pub usize);
