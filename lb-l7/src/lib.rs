//! Proxies HTTP and HTTPS.
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
