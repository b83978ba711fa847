//! Proxies HTTP and HTTPS.
#![forbid(unsafe_code)]

mod body;
mod clock;
pub mod cookie;
pub mod h1;
pub mod headers;
pub mod router;

pub use body::{BodyLength, Frame};
pub use router::Router;
