//! What a key server decides. Pure: it takes bytes and a time, and touches no socket.
//!
//! ```text
//!  bytes ──▶ Session ──▶ decide ──▶ Lanes ──▶ Job::sign ──▶ answer
//!            frames,     access,    quick     off the
//!            bounds,     key,       before    network's
//!            deadlines   quota      slow      threads
//! ```
//!
//! What reads, signs on threads and writes is [`KeyServer`](crate::KeyServer).

mod config;
mod decide;
mod histogram;
mod job;
mod lanes;
mod pace;
mod refusal;
mod session;
mod stats;
mod told;

pub(crate) use decide::Rules;
pub(crate) use job::Job;
pub(crate) use lanes::{Lane, Lanes};
pub(crate) use pace::Paces;
pub(crate) use session::{Desk, Session, Turn};
pub(crate) use stats::Counters;
pub(crate) use told::Told;

pub use crate::tokio::server::{Bound, ServerHandle};
pub use config::{KeyServerConfig, SessionConfig};
pub use histogram::Times;
pub use refusal::Refusal;
pub use stats::{Ending, Gauges, Rejection, ServerStats};
pub use told::REFUSALS_RECORDED;

#[cfg(test)]
mod tests;
