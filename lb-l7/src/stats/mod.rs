//! What a proxy has done: counters and latencies that workers write apart and readers add up.
//!
//! ```text
//!   Writers ──▶ Writer (one a worker) ──┬─▶ ListenerStats   connections, handshakes, terminations
//!                                       ├─▶ ExchangeStats   of a route: answers, bytes, latencies
//!                           Report ─────┴─▶ UpstreamStats   of an upstream, and each backend
//! ```
//!
//! A worker's share of every counter is written by that worker alone: counting locks nothing, and
//! costs a few nanoseconds. Reading adds the shares up, and disturbs no writer.

mod counter;
mod exchange;
mod histogram;
mod listener;
mod upstream;

pub use counter::{Writer, Writers};
pub use exchange::{ExchangeFigures, ExchangeStats, StatusClass};
pub use histogram::{DEFAULT_BOUNDS, Histogram, HistogramSnapshot};
pub use listener::{ListenerFigures, ListenerStats, Protocol, Refused};
pub use upstream::UpstreamStats;
