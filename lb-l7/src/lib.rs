//! Proxies HTTP and HTTPS.
#![forbid(unsafe_code)]

mod body;
mod clock;
pub mod cookie;
pub mod h1;
pub mod headers;

pub use body::{BodyLength, Frame};
