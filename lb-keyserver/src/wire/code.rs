//! What a key server answers instead of a signature.

use std::fmt;

/// The one byte of an error answer. The numbers are those of the deployed protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 0x01: the key could not do it, or the bytes to sign are not as long as their hash.
    Crypto,
    /// 0x02: there is no such key, or it is not the client's to use: the two look alike.
    KeyNotFound,
    /// 0x03: the server could not read the request.
    Read,
    /// 0x04: the server does not speak this version.
    VersionMismatch,
    /// 0x05: no such operation, or not with such a key.
    BadOpcode,
    /// 0x06: an opcode of answers in a request.
    UnexpectedOpcode,
    /// 0x07: the request is malformed.
    Format,
    /// 0x08: the server has a fault, or too much to do.
    Internal,
    /// 0x09: there is no such certificate.
    CertNotFound,
    /// 0x0A: the sealing key has expired.
    Expired,
    /// 0x0B: the server is misconfigured.
    RemoteConfiguration,
    /// Another number, of a server that knows more than this client.
    Other(u8),
}

impl ErrorCode {
    /// The code with that number; zero, which says that nothing is wrong, is one of the others.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0x01 => Self::Crypto,
            0x02 => Self::KeyNotFound,
            0x03 => Self::Read,
            0x04 => Self::VersionMismatch,
            0x05 => Self::BadOpcode,
            0x06 => Self::UnexpectedOpcode,
            0x07 => Self::Format,
            0x08 => Self::Internal,
            0x09 => Self::CertNotFound,
            0x0a => Self::Expired,
            0x0b => Self::RemoteConfiguration,
            other => Self::Other(other),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Crypto => 0x01,
            Self::KeyNotFound => 0x02,
            Self::Read => 0x03,
            Self::VersionMismatch => 0x04,
            Self::BadOpcode => 0x05,
            Self::UnexpectedOpcode => 0x06,
            Self::Format => 0x07,
            Self::Internal => 0x08,
            Self::CertNotFound => 0x09,
            Self::Expired => 0x0a,
            Self::RemoteConfiguration => 0x0b,
            Self::Other(byte) => byte,
        }
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crypto => "crypto",
            Self::KeyNotFound => "key-not-found",
            Self::Read => "read",
            Self::VersionMismatch => "version-mismatch",
            Self::BadOpcode => "bad-opcode",
            Self::UnexpectedOpcode => "unexpected-opcode",
            Self::Format => "format",
            Self::Internal => "internal",
            Self::CertNotFound => "cert-not-found",
            Self::Expired => "expired",
            Self::RemoteConfiguration => "remote-configuration",
            Self::Other(_) => "other",
        }
    }

    /// Whether asking again, elsewhere, may help: the fault is of that server, at that moment.
    ///
    /// [`KeyNotFound`](Self::KeyNotFound) is among them, as a new key may not have reached every
    /// server yet.
    #[must_use]
    pub const fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::KeyNotFound | Self::Read | Self::Internal | Self::RemoteConfiguration
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(byte) => write!(f, "error {byte:#04x}"),
            named => f.write_str(named.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_itself() {
        for byte in 0..=u8::MAX {
            assert_eq!(ErrorCode::from_byte(byte).to_byte(), byte);
        }
        assert_eq!(ErrorCode::from_byte(0x0c), ErrorCode::Other(0x0c));
        assert_eq!(ErrorCode::from_byte(0x00), ErrorCode::Other(0x00));
    }

    #[test]
    fn what_the_request_is_to_blame_for_is_not_asked_again() {
        for byte in 0..=u8::MAX {
            let expected = [0x02, 0x03, 0x08, 0x0b].contains(&byte);
            assert_eq!(
                ErrorCode::from_byte(byte).may_be_retried(),
                expected,
                "{byte:#x}"
            );
        }
    }
}
