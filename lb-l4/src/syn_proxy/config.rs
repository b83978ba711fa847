//! When a service's handshakes are answered here, and what is promised to clients.

use thiserror::Error;

/// When the SYNs of a service are answered with cookies instead of going to a backend.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SynProxyMode {
    /// While more than this come in a second, to one worker; see [`SynRate`](super::SynRate).
    Above {
        /// SYNs a second; 0 is always.
        syns_per_second: u32,
    },
    /// All of them.
    Always,
    /// None of them.
    #[default]
    Off,
}

/// How a service's handshakes are answered in the place of its backends.
///
/// A SYN-ACK with a cookie is sent before any backend is asked, and no backend is known then: what it
/// promises must be what all backends of the service do, as their kernels' settings say. A window
/// scale or SACK that a backend does not have after all is translated; timestamps that it does not
/// have cannot be, and both ends get a RST, counted under
/// [`promises_broken`](super::SynProxyStats::promises_broken).
///
/// # Examples
///
/// ```
/// use lb_l4::syn_proxy::{SynProxyConfig, SynProxyMode};
///
/// let config = SynProxyConfig::default()
///     .mode(SynProxyMode::Above { syns_per_second: 10_000 })
///     .timestamps(false);
/// assert_eq!(config.window_scale, 7);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SynProxyConfig {
    /// When SYNs are answered here. Default [`SynProxyMode::Off`].
    pub mode: SynProxyMode,
    /// The largest segment that the backends take of IPv4, in bytes; of IPv6 it is 20 less, as its
    /// header is longer. 88 to 65,495. Default 1,460, of Ethernet.
    ///
    /// Where the client's address is told in a TCP option, less by as much as that takes.
    pub mss: u16,
    /// The window scale that clients are told. 0 to 14, default 7, that of Linux with buffers of up
    /// to 8 MiB.
    pub window_scale: u8,
    /// Whether the backends take selective acknowledgements. Default yes.
    pub sack: bool,
    /// Whether the backends send timestamps. Default yes; without, a cookie has 22 bits of MAC in
    /// the place of 27.
    pub timestamps: bool,
    /// Whether the backends take ECN from clients that offer it; with timestamps alone. Default no.
    pub ecn: bool,
    /// How many bytes a client may send before a backend has answered: the window of the SYN-ACK,
    /// and what is held for one session. 536 to 65,535, default 14,600, which is the first flight
    /// of most senders (RFC 6928).
    pub window: u16,
}

impl Default for SynProxyConfig {
    fn default() -> Self {
        Self {
            mode: SynProxyMode::default(),
            mss: 1_460,
            window_scale: 7,
            sack: true,
            timestamps: true,
            ecn: false,
            window: 14_600,
        }
    }
}

impl SynProxyConfig {
    /// Sets when SYNs are answered here.
    #[must_use]
    pub const fn mode(mut self, mode: SynProxyMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the largest segment that the backends take of IPv4.
    #[must_use]
    pub const fn mss(mut self, bytes: u16) -> Self {
        self.mss = bytes;
        self
    }

    /// Sets the window scale that clients are told.
    #[must_use]
    pub const fn window_scale(mut self, bits: u8) -> Self {
        self.window_scale = bits;
        self
    }

    /// Sets whether the backends take selective acknowledgements.
    #[must_use]
    pub const fn sack(mut self, sack: bool) -> Self {
        self.sack = sack;
        self
    }

    /// Sets whether the backends send timestamps.
    #[must_use]
    pub const fn timestamps(mut self, timestamps: bool) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// Sets whether the backends take ECN.
    #[must_use]
    pub const fn ecn(mut self, ecn: bool) -> Self {
        self.ecn = ecn;
        self
    }

    /// Sets how many bytes a client may send before a backend has answered.
    #[must_use]
    pub const fn window(mut self, bytes: u16) -> Self {
        self.window = bytes;
        self
    }

    /// Whether handshakes of a service with this configuration are ever answered here.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        matches!(self.mode, SynProxyMode::Off)
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    ///
    /// The field that is not.
    pub const fn check(&self) -> Result<(), SynProxyConfigError> {
        if self.mss < 88 || self.mss > 65_495 {
            return Err(SynProxyConfigError::Mss(self.mss));
        }
        if self.window_scale > 14 {
            return Err(SynProxyConfigError::WindowScale(self.window_scale));
        }
        if self.window < 536 {
            return Err(SynProxyConfigError::Window(self.window));
        }
        Ok(())
    }
}

/// Which setting of a SYN proxy is refused; who wrote it can mend it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SynProxyConfigError {
    /// No packet has such segments.
    #[error("mss: {0} is not from 88 to 65495")]
    Mss(u16),
    /// Too little for one segment of any size that must be taken.
    #[error("window: {0} is less than 536")]
    Window(u16),
    /// RFC 7323 has no such scale.
    #[error("window_scale: {0} is more than 14")]
    WindowScale(u8),
}

/// What one worker keeps for the handshakes between a client's ACK and a backend's answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SynProxyLimits {
    /// Handshakes at once; more are not begun, and the client's next segment tries again. Each takes
    /// about 200 bytes and its held data. Default 65,536.
    pub handshakes: usize,
    /// Bytes of clients held in all. What comes above stays unacknowledged, and the client sends it
    /// again. Default 16 MiB.
    pub held_bytes: usize,
}

impl Default for SynProxyLimits {
    fn default() -> Self {
        Self {
            handshakes: 65_536,
            held_bytes: 16 << 20,
        }
    }
}

impl SynProxyLimits {
    /// Sets how many handshakes there may be at once.
    #[must_use]
    pub const fn handshakes(mut self, most: usize) -> Self {
        self.handshakes = most;
        self
    }

    /// Sets how many bytes of clients are held in all.
    #[must_use]
    pub const fn held_bytes(mut self, most: usize) -> Self {
        self.held_bytes = most;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_its_range_is_named() {
        let good = SynProxyConfig::default();
        assert_eq!((good.check(), good.is_off()), (Ok(()), true));
        assert!(!good.mode(SynProxyMode::Always).is_off());
        for right in [
            good.mss(88).window(536).window_scale(0),
            good.mss(65_495).window(u16::MAX).window_scale(14),
        ] {
            assert_eq!(right.check(), Ok(()));
        }
        for (wrong, error) in [
            (good.mss(87), SynProxyConfigError::Mss(87)),
            (good.mss(65_496), SynProxyConfigError::Mss(65_496)),
            (good.window(535), SynProxyConfigError::Window(535)),
            (good.window_scale(15), SynProxyConfigError::WindowScale(15)),
        ] {
            assert_eq!(wrong.check(), Err(error));
        }
    }

    #[test]
    fn each_setter_sets_its_field() {
        let set = SynProxyConfig::default()
            .mode(SynProxyMode::Above { syns_per_second: 3 })
            .mss(1000)
            .window_scale(3)
            .sack(false)
            .timestamps(false)
            .ecn(true)
            .window(600);
        let direct = SynProxyConfig {
            mode: SynProxyMode::Above { syns_per_second: 3 },
            mss: 1000,
            window_scale: 3,
            sack: false,
            timestamps: false,
            ecn: true,
            window: 600,
        };
        assert_eq!(set, direct);
        let limits = SynProxyLimits::default().handshakes(5).held_bytes(6);
        assert_eq!((limits.handshakes, limits.held_bytes), (5, 6));
    }
}
