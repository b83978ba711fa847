//! Why there is no connection, in words.

use std::fmt;
use std::io;

use crate::client::Fault;

use super::connection::fault_of;

/// A fault, and what TLS or the kernel said of it.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) fault: Fault,
    text: Option<String>,
}

/// The most characters that are told: some are the peer's.
const MOST: usize = 300;
/// What a server says to one it does not admit.
const NOT_LET_IN: &str =
    "it hung up after the handshake; does its access list admit this node's certificate?";

impl Cause {
    /// `fault`, by an error of the stream if there was one.
    pub(super) fn new(fault: Fault, error: Option<&io::Error>) -> Self {
        let text = error.map(|error| plain(&error.to_string()));
        Self { fault, text }
    }

    /// Why the server did not answer the first PING.
    pub(super) fn of_greeting(fault: Fault, error: Option<&io::Error>) -> Self {
        let mut cause = Self::new(fault, error);
        if fault == Fault::Closed {
            cause.text = Some(NOT_LET_IN.to_owned());
        }
        cause
    }
}

impl From<Fault> for Cause {
    fn from(fault: Fault) -> Self {
        Self { fault, text: None }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::new(fault_of(&error), Some(&error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.fault),
            None => self.fault.fmt(f),
        }
    }
}

/// One line of bounded length, whatever a peer made part of it.
fn plain(text: &str) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MOST).map(one_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_tls_said() {
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let cause = Cause::from(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(cause.fault, Fault::Tls);
        let told = cause.to_string();
        assert_eq!(
            told,
            "TLS with the key server failed: invalid peer certificate: UnknownIssuer"
        );
        assert_eq!(
            Cause::from(Fault::Mode).to_string(),
            Fault::Mode.to_string()
        );
    }

    #[test]
    fn one_who_hangs_up_before_the_first_answer_may_not_admit_us() {
        let told = Cause::of_greeting(Fault::Closed, None).to_string();
        assert!(told.contains("access list"), "{told}");
        let told = Cause::of_greeting(Fault::Silent, None).to_string();
        assert_eq!(told, Fault::Silent.to_string());
    }

    #[test]
    fn a_peers_words_stay_one_line_of_three_hundred_characters() {
        assert_eq!(plain("a\nb\u{1b}[1m"), "a b [1m");
        assert_eq!(plain(&"é".repeat(301)), "é".repeat(300));
    }
}
