//! How much a key server knows of what it signs.

/// How a client asks for signatures, settled by ALPN (RFC 7301) when it connects.
///
/// The further down, the less a stolen node can do with the keys that it may use.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a further mode is a further protocol, which both ends have to speak"
)]
pub enum Mode {
    /// As deployed peers speak: the client sends a digest, and the server cannot tell what of. Only
    /// where a client is allowed to.
    Plain,
    /// The server builds what it signs: a ServerKeyExchange of TLS 1.2 or a CertificateVerify of
    /// TLS 1.3, and nothing else.
    #[default]
    Bound,
    /// As bound, and the client shows the handshake up to its Certificate: the server hashes it
    /// itself, and checks for which name and with which certificate it signs. A
    /// `RemoteTls` shows it once its `transcripts` are `Recorded`; without them nothing is signed.
    Strict,
}

impl Mode {
    /// Every one of them, the weakest first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Bound, Self::Strict];

    /// Its name in configurations and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bound => "bound",
            Self::Strict => "strict",
        }
    }

    /// The mode of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }

    /// What a client offers by ALPN to speak so; `None` for the plain mode, which has no name.
    #[must_use]
    pub const fn alpn(self) -> Option<&'static [u8]> {
        match self {
            Self::Plain => None,
            Self::Bound => Some(b"lb-keyless/1"),
            Self::Strict => Some(b"lb-keyless-strict/1"),
        }
    }

    /// The mode that was agreed on, from what ALPN settled; `None` for a name that is no mode's.
    #[must_use]
    pub fn agreed(alpn: Option<&[u8]>) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.alpn() == alpn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_protocols_lead_back_to_their_mode() {
        for mode in Mode::ALL {
            assert_eq!(Mode::named(mode.as_str()), Some(mode));
            assert_eq!(Mode::agreed(mode.alpn()), Some(mode));
        }
        assert_eq!(Mode::agreed(Some(b"h2")), None);
        assert_eq!(Mode::named("Plain"), None);
    }

    #[test]
    fn they_are_ordered_by_their_strength() {
        assert!(Mode::Plain < Mode::Bound && Mode::Bound < Mode::Strict);
    }
}
