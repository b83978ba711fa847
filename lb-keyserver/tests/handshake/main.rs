//! Handshakes of rustls whose signatures come from elsewhere.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod accept;
mod arbitrary;
mod driver;
mod early;
mod hostile;
mod load;
mod matrix;
mod openssl;
mod pipe;
#[path = "../tls/mod.rs"]
mod tls;
mod transcript;
