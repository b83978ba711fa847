//! What a handshake wants.

use std::sync::Arc;

use rustls::Error;

#[cfg(doc)]
use super::driver::Handshake;
use crate::public_key::PublicKey;
use crate::scheme::Scheme;
use crate::sign::SignRequest;

/// What a [`Handshake`] wants next.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Step {
    /// To be told what to speak with the client whose [`client_hello`](Handshake::client_hello) is
    /// there: call [`configure`](Handshake::configure).
    NeedConfig,
    /// To send this, if anything, and more bytes of the client.
    NeedInput(
        /// What the client is to get.
        Vec<u8>,
    ),
    /// A signature: call [`signature`](Handshake::signature), or [`refuse`](Handshake::refuse).
    NeedSignature(PendingSign),
    /// Nothing: the [connection](Handshake::into_connection) goes on by itself, first by writing.
    Ready,
}

/// A signature that a [`Handshake`] waits for.
#[derive(Debug)]
pub struct PendingSign {
    pub(super) question: Question,
    pub(super) request: SignRequest,
}

impl PendingSign {
    /// What is to be signed. The client's address and the time are for the caller to fill in.
    #[must_use]
    pub const fn request(&self) -> &SignRequest {
        &self.request
    }
}

/// What a key was asked for; the answer counts for the same question alone.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) key: Arc<PublicKey>,
    pub(super) scheme: Scheme,
    pub(super) message: Arc<[u8]>,
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.message == other.message
            && self.key.spki() == other.key.spki()
    }
}

/// The handshake has failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct Fatal {
    /// Why.
    #[source]
    pub error: Error,
    /// What the client is to get, which ends with an alert; empty where there is nothing to say.
    pub alert: Vec<u8>,
}
