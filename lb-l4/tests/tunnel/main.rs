//! Packets in tunnels: what goes in comes out, and what stands around it is right.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod cutting;
mod hostile;
mod judged;
mod outer;
mod setup;
mod size;
