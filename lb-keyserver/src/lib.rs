//! Keeps private keys off the nodes that terminate TLS. Not built yet.
//!
//! This crate will hold the wire format of the Keyless protocol, a key server with a policy on who
//! may use which key, a client, and the way into a rustls handshake that is suspended, without a
//! thread, while the signature is on its way.
#![forbid(unsafe_code)]
