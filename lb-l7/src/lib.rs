//! Proxies HTTP and HTTPS.
#![forbid(unsafe_code)]

pub mod access_log;
mod body;
mod clock;
#[cfg(feature = "compress")]
pub mod compress;
pub mod cookie;
pub mod h1;
pub mod h2_guard;
pub mod headers;
pub mod limit;
pub mod report;
pub mod router;
pub mod stats;
#[cfg(feature = "tls")]
pub mod tls;
pub mod upstream;

pub use body::{BodyLength, Frame};
pub use report::{Report, Termination};
pub use router::Router;
pub use upstream::Upstream;
