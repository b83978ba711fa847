//! Forwards TCP and UDP sessions over sockets.
//!
//! ```text
//!               accept       open            join
//!   client ──▶ Acceptor ──▶ Arrival ──▶ Relay in a Reactor ──▶ backend
//!                              │
//!                 lbcore: limits, lists, Balancer::acquire
//! ```
//!
//! What decides is `lbcore`'s; this crate moves bytes. [`TcpBalancer`](stream) serves TCP and Unix
//! connections, `probe` sends the health checks of a pool, `connect` reaches backends, and
//! [`Clock`] is the one place that reads the time.
//!
//! A **session** is a client and a backend joined. A **worker** accepts, opens sessions and carries
//! them; each has accept sockets, counters and balancers of its own. A **relay** is a session's two
//! directions, carried by a **reactor** (an epoll set of the worker's own) if both ends are sockets,
//! and by a task if one is not.
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` (default) | everything with sockets |
//!
//! Without it, the pure parts are left: [`stream::client_hello`], [`stream::server_name`] and
//! [`stream::counters`].

pub mod clock;
#[cfg(feature = "tokio")]
pub mod connect;
pub mod fragment;
pub mod icmp;
pub mod method;
pub mod neighbour;
pub mod packet;
#[cfg(feature = "tokio")]
pub mod probe;
pub mod quic;
pub mod stream;
pub mod syn_proxy;
mod sys;
pub mod toa;
pub mod transport;
pub mod wire;

pub use clock::Clock;
pub use transport::Transport;
