//! The way into a handshake of rustls whose private key is elsewhere.
//!
//! rustls asks a key for its signature by a call, and a call cannot wait. So a handshake is run
//! twice: the first pass notes what is to be signed and breaks off, and when the signature is there a
//! second pass, with the same bytes of the client, the same randomness and the same key exchange,
//! arrives at the same place and finds it.
//!
//! ```text
//!             ClientHello                         signature
//!                  │                                  │
//!  Handshake: ── pass 1 ──▶ NeedSignature … await … pass 2 ──▶ Ready ──▶ tokio-rustls, Finished
//!                  │                                  ▲
//!                  └──────── Tape: randomness ────────┘
//!                            and key exchanges
//! ```
//!
//! This holds because the server of TLS 1.2 and 1.3 uses its key for nothing else than to answer a
//! ClientHello, and because nothing that the first pass made leaves memory: no key or nonce is ever
//! used for two messages on the wire. What a HelloRetryRequest has sent before is compared with what
//! the replay wants to send. A resumed session needs no signature and no second pass.
//!
//! | module item | is |
//! |---|---|
//! | [`remote_provider`] | what rustls must compute with, so that a pass can be repeated |
//! | [`RemoteKey`] | the key that a configuration holds instead of a private one |
//! | [`Handshake`] | one handshake; bytes in, steps out |
//! | [`RemoteTls`] | all handshakes of a listener: an [`Accept`](lbcore::connect::Accept) |
//!
//! # What is signed with a local key
//!
//! Nothing changes for configurations, or certificates, with local keys: they may stand beside
//! remote ones, even under one [`ServerConfig`](rustls::ServerConfig), and finish in the first pass.
//!
//! # HTTP/3
//!
//! A QUIC implementation drives rustls by itself (`quinn::crypto::Session` is synchronous), and has
//! no place where a handshake could be repeated. What holds there: sign with a local key, or run the
//! first flight on a bounded pool of threads that may block.

mod accept;
mod driver;
mod error;
mod hashed;
mod limits;
mod opening;
mod output;
mod provider;
mod remote_key;
mod schedule;
mod stats;
mod step;
mod tape;
mod transcript;

pub use accept::RemoteTls;
pub use driver::Handshake;
pub use error::RemoteTlsError;
pub use limits::HandshakeLimits;
pub use provider::remote_provider;
pub use remote_key::{PemError, RemoteKey, certified_key_from_pem, certified_key_from_pem_file};
pub use stats::RemoteTlsStats;
pub use step::{Fatal, PendingSign, Step};
pub use transcript::Transcripts;
