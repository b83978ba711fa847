//! How much one rule lets each client sign.

/// How often something may happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Rate {
    /// Signatures a second; 0, the default, is no limit.
    pub per_second: u64,
    /// Signatures at once after a pause; at least 1, and 0 is taken as 1.
    pub burst: u64,
}

impl Rate {
    /// So many a second, and so many at once after a pause.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second, burst }
    }
}

/// How much one rule lets each client sign; 0, the default of each, is no limit.
///
/// # Examples
///
/// ```
/// use lb_keyserver::quota::{Limits, Rate};
///
/// let limits = Limits::default().per_key(Rate::new(500, 1_000)).in_flight(256);
/// assert_eq!(limits.per_identity, Rate::default());
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// For each client, whatever the key.
    pub per_identity: Rate,
    /// For each client and key.
    pub per_key: Rate,
    /// Signatures of each client under way at once.
    pub in_flight: u32,
}

impl Limits {
    /// Sets [`per_identity`](Self::per_identity).
    #[must_use]
    pub const fn per_identity(mut self, rate: Rate) -> Self {
        self.per_identity = rate;
        self
    }

    /// Sets [`per_key`](Self::per_key).
    #[must_use]
    pub const fn per_key(mut self, rate: Rate) -> Self {
        self.per_key = rate;
        self
    }

    /// Sets [`in_flight`](Self::in_flight).
    #[must_use]
    pub const fn in_flight(mut self, most: u32) -> Self {
        self.in_flight = most;
        self
    }

    /// Whether nothing is limited, so that nothing needs to be counted.
    pub(super) const fn is_none(&self) -> bool {
        self.per_identity.per_second == 0 && self.per_key.per_second == 0 && self.in_flight == 0
    }
}
