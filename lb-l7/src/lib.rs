//! Proxies HTTP and HTTPS. Not built yet.
//!
//! This crate will take client streams from any `Accept`, speak HTTP/1.0, 1.1 and 2 to clients and
//! to backends with a strict codec of its own for HTTP/1, route by host and path, keep its own pool
//! of backend connections, retry what may be retried, and balance with the same `Pool` and leases of
//! `lbcore` that the layer-4 crate uses. It will run on the caller's runtime.
#![forbid(unsafe_code)]
