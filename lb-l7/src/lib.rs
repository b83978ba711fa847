//! Proxies HTTP and HTTPS: strict in what it takes, and on the caller's runtime.
//!
//! ```text
//!  client ─▶ Accept ─▶ front: HTTP/1, HTTP/2 ─▶ exchange ─▶ upstream: HTTP/1, HTTP/2 ─▶ backend
//!            TLS         a request, up to its     │   ▲        Pool, lease, idle connections
//!                        body                     │   │
//!                                 limits, filters, router ─▶ Target, redirect, fixed answer
//! ```
//!
//! # Words
//!
//! - An [`HttpProxy`] decides by its [`Settings`] over every request of the connections that it is
//!   given; an [`HttpServer`] gives it those of its sockets.
//! - A [`Router`] finds the rule for a request, and a rule leads to a [`Target`] or to an answer.
//! - An [`Upstream`] is a [`Pool`](lbcore::Pool) and the connections to its backends.
//! - A [`Filter`] is the program's own hand on requests and responses.
//! - Every exchange ends with one [`Termination`], which its [`Report`] tells to the log, to the
//!   counters and to filters.
//!
//! What is no plain HTTP is refused, counted by reason, and its connection closed; what goes to a
//! backend is framed anew from what was parsed. HTTP/1 is a codec of this crate's own ([`h1`]),
//! because two parsers that disagree are how requests are smuggled; HTTP/2 is the `h2` crate behind
//! a watch of its frames ([`h2_guard`]).
//!
//! | module | question |
//! |---|---|
//! | [`h1`], [`h2_guard`], [`headers`] | what was said, and may it be said? |
//! | [`router`], [`cookie`] | who answers? |
//! | [`upstream`] | over which connection, and what if it fails? |
//! | [`tls`] | who is at the other end? |
//! | [`limit`] | who may have how much? |
//! | [`compress`] | in which coding does a client take its answer? |
//! | [`server`], [`service`], [`client`] | where do requests come from? |
//! | [`report`], [`stats`], [`access_log`] | what has happened? |
//! | [`probe`] | which backend is alive? |
//!
//! | feature | adds |
//! |---|---|
//! | `tls` (default) | HTTPS to clients and to backends, by rustls |
//! | `compress` (default) | gzip, brotli and zstd of answers |
//! | `regex` (default) | rules by regular expression |
//!
//! # Examples
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lb_l7::{HttpProxy, HttpService, Settings};
//! use lbcore::schedule::PeakEwma;
//! use lbcore::{Backend, Pool};
//!
//! let web = Pool::new(PeakEwma::default())
//!     .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?))
//!     .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?));
//! let proxy = HttpProxy::new(Settings::to(web)?);
//! let server = HttpService::new("[::]:80".parse()?, proxy).bind().await?;
//! server.run_until(tokio::signal::ctrl_c()).await;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

pub mod access_log;
mod body;
pub mod client;
mod clock;
#[cfg(feature = "compress")]
pub mod compress;
mod connection;
pub mod cookie;
mod drain;
mod exchange;
mod filter;
mod front;
pub mod h1;
pub mod h2_guard;
pub mod headers;
pub mod limit;
mod peer;
pub mod probe;
mod proxy;
pub mod report;
mod rewound;
pub mod router;
pub mod server;
pub mod service;
mod settings;
pub mod stats;
mod thread;
mod timeout;
#[cfg(feature = "tls")]
pub mod tls;
mod token;
pub mod upstream;
mod websocket;
mod worker;

pub use body::{BodyLength, Frame};
pub use client::Client;
pub use filter::{Decision, Filter};
pub use peer::Peer;
pub use proxy::HttpProxy;
pub use report::{Report, Termination};
pub use rewound::Rewound;
pub use router::Router;
pub use server::{HttpServer, HttpService};
pub use service::ProxyService;
pub use settings::{Settings, Target};
pub use timeout::Timeouts;
pub use upstream::Upstream;
