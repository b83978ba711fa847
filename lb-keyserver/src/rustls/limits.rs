//! How long handshakes may take.

use std::time::Duration;

use crate::sign::SignRequest;

/// How long handshakes may take, and how many may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HandshakeLimits {
    /// How long a handshake may take from its first byte to its last. The default is 10 seconds.
    pub within: Duration,
    /// How long one signature may take, within that. The default is [`SignRequest::WITHIN`].
    pub sign_within: Duration,
    /// How many handshakes may wait for their signatures at the same time; further ones are refused
    /// at once. Each takes some 8 KiB. The default is 8,192. At most 2^29.
    pub waiting: usize,
}

impl HandshakeLimits {
    /// Sets [`within`](Self::within).
    #[must_use]
    pub const fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Sets [`sign_within`](Self::sign_within).
    #[must_use]
    pub const fn sign_within(self, sign_within: Duration) -> Self {
        Self {
            sign_within,
            ..self
        }
    }

    /// Sets [`waiting`](Self::waiting).
    #[must_use]
    pub const fn waiting(self, waiting: usize) -> Self {
        Self { waiting, ..self }
    }
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(10),
            sign_within: SignRequest::WITHIN,
            waiting: 8_192,
        }
    }
}
