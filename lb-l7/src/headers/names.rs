//! Names of fields that the `http` crate does not know.

use http::HeaderName;

/// `forwarded` (RFC 7239).
pub static FORWARDED: HeaderName = http::header::FORWARDED;
/// `http2-settings` (RFC 7540, 3.2.1; obsolete, and hop-by-hop where it still comes).
pub static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// `keep-alive` (RFC 2068, 19.7.1).
pub static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// `proxy`, which no specification has, and nobody sends in good faith.
pub static PROXY: HeaderName = HeaderName::from_static("proxy");
/// `proxy-connection`, which no specification has and some clients send.
pub static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `traceparent` (W3C Trace Context, 3.2).
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate` (W3C Trace Context, 3.3).
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `x-forwarded-for`: the addresses that a request came by.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `x-forwarded-host`: the `host` that the client sent.
pub static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `x-forwarded-port`: the port that the client reached.
pub static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// `x-forwarded-proto`: the scheme that the client used.
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-real-ip`: the client's address, after nginx.
pub static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// `x-request-id`: a name for one request.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
