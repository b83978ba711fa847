//! Why a connection is not, or no longer, there.

use std::fmt;

/// Why a connection to a key server could not be made, or ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The server closed it: it restarts, or the client was idle for too long.
    #[error("the key server closed the connection")]
    Closed,
    /// The server sent what is no frame: it is no key server, or not an honest one.
    #[error("the key server sent what is no answer")]
    Garbage,
    /// The server speaks, or the client's certificate is allowed, another mode alone.
    #[error("the key server does not speak the mode that is asked for")]
    Mode,
    /// No route, no listener, or a connection that was reset.
    #[error("the key server cannot be reached")]
    Network,
    /// The server refused even a PING: it does not serve this client at all.
    #[error("the key server does not serve this client")]
    Refused,
    /// The name of the server has no address now.
    #[error("the name of the key server cannot be resolved")]
    Resolve,
    /// No answer to a PING in its time: the peer or the path has gone without a word.
    #[error("the key server is silent")]
    Silent,
    /// The connection was not made in its time.
    #[error("the connection was not made in time")]
    Timeout,
    /// TLS failed: a certificate of another name or authority, an expired one, or the server does
    /// not accept the client's.
    #[error("TLS with the key server failed")]
    Tls,
}

impl Fault {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::Garbage,
        Self::Mode,
        Self::Network,
        Self::Refused,
        Self::Resolve,
        Self::Silent,
        Self::Timeout,
        Self::Tls,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Garbage => "garbage",
            Self::Mode => "mode",
            Self::Network => "network",
            Self::Refused => "refused",
            Self::Resolve => "resolve",
            Self::Silent => "silent",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
        }
    }
}

/// Connections that failed, by reason.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Faults([u64; Fault::ALL.len()]);

impl Faults {
    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().zip(self.0)
    }

    /// How many there were for that reason.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        let found = self.iter().find(|(reason, _)| *reason == fault);
        found.map_or(0, |(_, count)| count)
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        let place = Fault::ALL.iter().position(|reason| *reason == fault);
        if let Some(count) = place.and_then(|place| self.0.get_mut(place)) {
            *count += 1;
        }
    }
}

/// Shows those that are not zero.
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = self.iter().filter(|(_, count)| *count > 0);
        f.debug_map().entries(some).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_its_own_name() {
        let mut faults = Faults::default();
        for (n, fault) in Fault::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| faults.count(fault));
        }
        for (n, (fault, count)) in (1..).zip(faults.iter()) {
            assert_eq!((count, faults.of(fault)), (n, n));
        }
        let names: std::collections::BTreeSet<_> = Fault::ALL.map(Fault::as_str).into();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
