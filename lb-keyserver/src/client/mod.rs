//! Asking key servers for signatures: what is decided, without a socket or a clock.
//!
//! ```text
//!   Course ──▶ Servers ──▶ Multiplexer ══ frames ══▶ key server
//!   one request  whom to ask   one connection
//! ```
//!
//! | type | question |
//! |---|---|
//! | [`Course`] | what becomes of one request: ask, wait, ask another, give up? |
//! | [`Servers`] | which server now, and may it be asked? |
//! | [`Multiplexer`] | whose answer is this? |
//! | [`Percentile`], [`Allowance`] | when is a second question worth it, and may it be? |
//!
//! [`KeyClient`](crate::KeyClient) drives them over TLS; a simulation drives them as well.

mod allowance;
mod breaker;
mod choice;
mod config;
mod course;
mod endpoint;
mod fallback;
mod fault;
mod hedge;
mod latency;
mod local;
mod multiplexer;
mod servers;
mod standing;
mod stats;
mod verify;

pub(crate) use servers::Tidings;
pub(crate) use standing::{Turn, WholeTurn};

pub use allowance::Allowance;
pub use breaker::{BreakerConfig, BreakerState};
pub use config::{AskConfig, ConfigError, ConnectionConfig, Home, KeyClientConfig, Waiting};
pub use course::{Ask, Course, Failure, Step};
pub use endpoint::{Passed, ServerId};
pub use fallback::WithFallback;
pub use fault::{Fault, Faults};
pub use hedge::Percentile;
pub use local::LocalSigner;
pub use multiplexer::{Answered, Multiplexer, Overdue, Strays, Unasked};
pub use servers::Servers;
pub use stats::{ClientStats, Failures, Refusals, ServerCounts, ServerStats};
pub use verify::Verify;
