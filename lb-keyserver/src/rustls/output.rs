//! What a connection has to send.

use std::io::{self, Write};

use rustls::server::AcceptedAlert;
use rustls::{AlertDescription, Error, ServerConnection};

/// What waits in `connection` to be sent.
pub(super) fn unsent(connection: &mut ServerConnection) -> Vec<u8> {
    let mut output = Vec::new();
    while connection.wants_write() {
        // Writing to memory does not fail.
        let _ = connection.write_tls(&mut output);
    }
    output
}

/// Takes `sent` off the front of what waits in `connection`, for it has been sent before.
///
/// # Errors
///
/// When something else waits.
pub(super) fn pass_over(connection: &mut ServerConnection, sent: &[u8]) -> io::Result<()> {
    let mut same = Same(sent);
    while !same.0.is_empty() {
        if connection.write_tls(&mut same)? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

/// The alert for an error within a ClientHello, as bytes; `alert` is what rustls has for it, which
/// in some cases is nothing.
pub(super) fn written(error: &Error, mut alert: AcceptedAlert) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = alert.write_all(&mut bytes);
    if bytes.is_empty() {
        let fitting = fitting(error).map(plain);
        bytes.extend(fitting.iter().flatten());
    }
    bytes
}

/// As RFC 8446, 6.2, has it for what a server may meet in place of a ClientHello.
fn fitting(error: &Error) -> Option<AlertDescription> {
    match error {
        Error::InvalidMessage(invalid) => Some((*invalid).into()),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            Some(AlertDescription::UnexpectedMessage)
        }
        _ => None,
    }
}

/// A fatal alert, unencrypted, under the version that every client takes (RFC 8446, 5.1 and 6).
pub(super) fn plain(alert: AlertDescription) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert.into()]
}

/// Takes the bytes that are in it, and no others.
struct Same<'a>(&'a [u8]);

impl Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.0.len());
        let (expected, rest) = self.0.split_at(length);
        if !bytes.starts_with(expected) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0 = rest;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has an alert to send.
    fn connection() -> ServerConnection {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(std::sync::Arc::new(
                rustls::server::ResolvesServerCertUsingSni::new(),
            ));
        let mut connection = ServerConnection::new(config.into()).unwrap();
        connection.send_close_notify();
        connection
    }

    #[test]
    fn what_was_sent_is_passed_over_and_nothing_else_is() {
        let all = unsent(&mut connection());
        assert_eq!(all, [21, 3, 3, 0, 2, 1, 0]);
        for length in 0..=all.len() {
            let (sent, rest) = all.split_at(length);
            let mut connection = connection();
            pass_over(&mut connection, sent).unwrap();
            assert_eq!(unsent(&mut connection), rest);
        }
        for place in 0..all.len() {
            let mut other = all.clone();
            other[place] ^= 1;
            assert!(pass_over(&mut connection(), &other).is_err());
        }
        assert!(pass_over(&mut connection(), &[&all[..], &[0]].concat()).is_err());
    }

    #[test]
    fn an_alert_fits_what_was_wrong_with_the_hello() {
        use rustls::{ContentType, HandshakeType, InvalidMessage};
        for (error, expected) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidCcs),
                Some(AlertDescription::DecodeError),
            ),
            (
                Error::InappropriateMessage {
                    expect_types: vec![ContentType::Handshake],
                    got_type: ContentType::Alert,
                },
                Some(AlertDescription::UnexpectedMessage),
            ),
            (
                Error::InappropriateHandshakeMessage {
                    expect_types: vec![HandshakeType::ClientHello],
                    got_type: HandshakeType::Finished,
                },
                Some(AlertDescription::UnexpectedMessage),
            ),
            (Error::AlertReceived(AlertDescription::DecodeError), None),
        ] {
            assert_eq!(fitting(&error), expected);
        }
    }
}
