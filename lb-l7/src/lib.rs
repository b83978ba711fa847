//! Proxies HTTP and HTTPS.
#![forbid(unsafe_code)]

mod body;
mod clock;
pub mod h1;

pub use body::{BodyLength, Frame};
