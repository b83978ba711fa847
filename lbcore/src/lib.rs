//! Decides which backend takes a session; does no I/O, reads no clock, starts no thread.
//!
//! ```text
//!   Delta, probe outcomes, timeouts ──▶ Pool ──▶ PoolView, Event        off the path, behind a lock
//!                                        │ one atomic swap
//!                     Pick ──▶ Balancer (one a worker) ──▶ Lease or Ticket ──▶ Outcome
//!                                │  Scheduler: plan, cursor, pick, observe
//!                                ▼
//!                    no lock, no allocation, no panic
//! ```
//!
//! # Words
//!
//! - A **[`Backend`]** is one real server; its **[`BackendId`]** is the caller's, and stays.
//! - A **[`Pool`]** is the backends of a service. Changes go in as **[`Delta`]**s; what comes out is
//!   one immutable [`PoolView`](pool::PoolView) at a time, and a log of [`Event`](pool::Event)s.
//! - A **[`Balancer`]** is one worker's hand on a pool. It gives a **[`Lease`]** to a stream and a
//!   **[`Ticket`]** of 8 bytes to a session that lives in a table.
//! - An **[`Outcome`]** says how a session ended; a failure is charged a penalty, so that failing
//!   fast is never the best answer.
//! - A **[`Scheduler`](schedule::Scheduler)** chooses; [`Health`](health::Health) is what probes say,
//!   [`Admin`](backend::Admin) what the operator says.
//!
//! | module | question |
//! |---|---|
//! | [`schedule`] | which backend? |
//! | [`persist`] | the same backend again? |
//! | [`session`] | what is under way? |
//! | [`health`] | who is alive? |
//! | [`limit`], [`address_list`], [`budget`] | may it begin at all? |
//! | [`connect`], [`proxy_protocol`] | what transports and both layers share |
//! | [`ticket_ring`] | which keys do TLS sessions resume by? |
//!
//! | feature | adds |
//! |---|---|
//! | `sim` | a simulated clock, link and cluster, and the laws of every public trait |
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use lbcore::schedule::{LeastConnections, Tried};
//! use lbcore::{Backend, Instant, Outcome, Pick, Pool};
//!
//! let pool = Pool::new(LeastConnections::weighted())
//!     .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?).weight(2))
//!     .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?));
//! let mut balancer = pool.balancer(0);
//! let now = Instant::ZERO;
//!
//! // A request fails on one backend and is sent to the other.
//! let mut tried = Tried::default();
//! let first = balancer.acquire(now, &Pick::default())?;
//! tried.add(first.ticket());
//! first.finish(now + Duration::from_millis(2), Outcome::ConnectFailed);
//! let second = balancer.acquire(now, &Pick::default().tried(&tried))?;
//! second.finish(now + Duration::from_millis(30), Outcome::Ok);
//!
//! let stats = pool.stats();
//! assert_eq!(stats.iter().map(|backend| backend.finished()).sum::<u64>(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod address_list;
mod atomic;
pub mod backend;
mod balancer;
pub mod budget;
pub mod connect;
pub mod flow;
pub mod hash;
pub mod health;
mod lease;
pub mod limit;
pub mod persist;
pub mod pool;
pub mod proxy_protocol;
pub mod rng;
pub mod schedule;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod ticket;
pub mod ticket_ring;
mod time;

pub use backend::{Backend, BackendId};
pub use balancer::{Balancer, Pick, Refusal};
pub use lease::{Lease, Outcome};
pub use pool::{Delta, Pool};
pub use ticket::Ticket;
pub use time::Instant;
