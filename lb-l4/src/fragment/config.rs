//! How much is remembered of fragments, and how long.

use std::time::Duration;

/// Bounds of a [`FragmentTable`](super::FragmentTable).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l4::fragment::FragmentConfig;
///
/// let config = FragmentConfig::default().timeout(Duration::from_secs(5)).datagrams(1024);
/// assert_eq!(config.held_bytes, 4 << 20);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FragmentConfig {
    /// Datagrams that are under way at once; at least 1 (0 is taken as 1).
    ///
    /// Each takes about 250 bytes, and 4 more for each fragment. The default, 8,192, is 2 MiB for
    /// each worker.
    pub datagrams: usize,
    /// Bytes of fragments that wait for their first one; 0 holds none, and drops them.
    ///
    /// The default is 4 MiB for each worker, as Linux has for each network namespace
    /// (`ipfrag_high_thresh`).
    pub held_bytes: usize,
    /// How many fragments a datagram may have; at least 2 (less is taken as 2).
    ///
    /// The default, 128, is enough for 65,535 bytes over a path of 576.
    pub fragments: usize,
    /// How long a datagram that is not complete is remembered, from the first of its fragments to
    /// arrive.
    ///
    /// The default is 30 seconds, as in Linux for IPv4 (`ipfrag_time`); RFC 8200 says 60 at the
    /// host that reassembles.
    pub timeout: Duration,
    /// What picks the datagrams that make room. Default 0; take a random number, lest an attacker
    /// can tell which ones these are.
    pub seed: u64,
}

impl Default for FragmentConfig {
    fn default() -> Self {
        Self {
            datagrams: 8192,
            held_bytes: 4 << 20,
            fragments: 128,
            timeout: Duration::from_secs(30),
            seed: 0,
        }
    }
}

impl FragmentConfig {
    /// Sets [`datagrams`](Self::datagrams).
    #[must_use]
    pub const fn datagrams(mut self, datagrams: usize) -> Self {
        self.datagrams = datagrams;
        self
    }

    /// Sets [`held_bytes`](Self::held_bytes).
    #[must_use]
    pub const fn held_bytes(mut self, held_bytes: usize) -> Self {
        self.held_bytes = held_bytes;
        self
    }

    /// Sets [`fragments`](Self::fragments).
    #[must_use]
    pub const fn fragments(mut self, fragments: usize) -> Self {
        self.fragments = fragments;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
