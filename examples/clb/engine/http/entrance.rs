//! Who is let in by TLS, and who is not, while the way in changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use lb_keyserver::rustls::{HandshakeLimits, RemoteTls, RemoteTlsError};
use lb_l7::server::Raw;
use lb_l7::tls::{self as library, AcceptError, Refusal};
use lbcore::Instant;
use lbcore::connect::Accept;
use thiserror::Error;

use super::super::remote_keys::{Elsewhere, Signer};

/// What a listener of https does with those who come; handshakes under way end as they began.
#[derive(Debug)]
pub(super) struct Entrance {
    way: ArcSwap<Way>,
    refused: [AtomicU64; REASONS.len()],
}

/// How TLS is spoken from now on.
#[derive(Debug)]
struct Way {
    tls: Arc<library::Tls>,
    /// In its place, if any of its keys is elsewhere.
    remote: Option<RemoteTls<Signer>>,
}

/// Why a client was refused.
#[derive(Debug, Error)]
pub(super) enum NotAccepted {
    #[error(transparent)]
    Here(#[from] AcceptError),
    #[error(transparent)]
    Remote(#[from] RemoteTlsError),
}

impl NotAccepted {
    /// Its name in metrics: one of [`REASONS`].
    fn reason(&self) -> &'static str {
        let refusal = match self {
            Self::Here(error) => error.refusal(),
            Self::Remote(error) => match error {
                RemoteTlsError::Closed => Refusal::Closed,
                RemoteTlsError::Io(_) => Refusal::Io,
                RemoteTlsError::NotTls => Refusal::NotTls,
                RemoteTlsError::PlainHttp => Refusal::PlainHttp,
                RemoteTlsError::Tls(error) => AcceptError::from(error.clone()).refusal(),
                RemoteTlsError::UnknownName => Refusal::UnknownName,
                RemoteTlsError::Sign(_) => return NO_SIGNATURE,
                _ => Refusal::ServerFault,
            },
        };
        refusal.as_str()
    }
}

impl Way {
    fn of(tls: library::Tls, elsewhere: Option<Elsewhere>) -> Self {
        let tls = Arc::new(tls);
        let remote = elsewhere.map(|elsewhere| {
            let shown = Arc::clone(&tls);
            let limits = HandshakeLimits::default()
                .within(NEVER)
                .sign_within(elsewhere.within)
                .waiting(elsewhere.waiting);
            RemoteTls::choosing(
                move |hello| shown.server_config(hello).ok(),
                elsewhere.signer,
            )
            .limits(limits)
            .transcripts(elsewhere.transcripts)
            .plain_http(library::PLAIN_HTTP.as_bytes())
        });
        Self { tls, remote }
    }
}

impl Entrance {
    pub(super) fn new(tls: library::Tls, elsewhere: Option<Elsewhere>) -> Self {
        Self {
            way: ArcSwap::from_pointee(Way::of(tls, elsewhere)),
            refused: Default::default(),
        }
    }

    /// Lets clients who come from here on in as this says.
    pub(super) fn update(&self, tls: library::Tls, elsewhere: Option<Elsewhere>) {
        self.way.store(Arc::new(Way::of(tls, elsewhere)));
    }

    /// Turns the ticket keys when their time has come.
    pub(super) fn handle_timeout(&self, now: Instant) {
        self.way.load().tls.handle_timeout(now);
    }

    /// The certificates that are shown: each with its first name and the second after which it is
    /// not valid.
    pub(super) fn certificates(&self) -> Vec<(String, u64)> {
        let way = self.way.load();
        let certificates = way.tls.certificates();
        let each = certificates.iter().flat_map(|all| all.iter());
        each.map(|one| {
            let name = one.names().next().unwrap_or_default();
            (name.to_owned(), one.not_after())
        })
        .collect()
    }

    /// Handshakes that failed, by reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        REASONS.into_iter().zip(counts)
    }

    fn count(&self, reason: &str) {
        let place = REASONS.iter().position(|one| *one == reason);
        if let Some(count) = place.and_then(|at| self.refused.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Accept<Raw> for Entrance {
    type Stream = <library::Tls as Accept<Raw>>::Stream;
    type Error = NotAccepted;

    async fn accept(&self, first: &[u8], raw: Raw) -> Result<Self::Stream, NotAccepted> {
        let way = self.way.load_full();
        let accepted = match &way.remote {
            None => way.tls.accept(first, raw).await.map_err(NotAccepted::from),
            Some(remote) => remote.accept(first, raw).await.map_err(NotAccepted::from),
        };
        accepted.inspect_err(|error| self.count(error.reason()))
    }
}

/// Every reason: those of the library, and one more.
const REASONS: [&str; Refusal::ALL.len() + 1] = {
    let mut reasons = [NO_SIGNATURE; Refusal::ALL.len() + 1];
    let mut at = 0;
    while at < Refusal::ALL.len() {
        reasons[at] = Refusal::ALL[at].as_str();
        at += 1;
    }
    reasons
};

/// No key server signed in time.
const NO_SIGNATURE: &str = "no-signature";

/// The listener has a time of its own for handshakes.
const NEVER: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lb_keyserver::SignError;

    use super::*;

    fn entrance() -> Entrance {
        let tls = library::Tls::new(library::Certificates::new(), library::TlsConfig::default());
        Entrance::new(tls.expect("TLS"), None)
    }

    #[test]
    fn a_refusal_is_counted_under_its_own_name() {
        let entrance = entrance();
        assert!(entrance.refused().all(|(_, count)| count == 0));
        entrance.count("plain-http");
        entrance.count("plain-http");
        entrance.count(NO_SIGNATURE);
        let counted: Vec<_> = entrance.refused().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("plain-http", 2), ("no-signature", 1)]);
        let names: BTreeSet<_> = entrance.refused().map(|(name, _)| name).collect();
        assert_eq!(names.len(), Refusal::ALL.len() + 1);
    }

    #[test]
    fn a_refusal_has_the_same_name_wherever_the_key_is() {
        let io = |kind: std::io::ErrorKind| std::io::Error::from(kind);
        for (error, reason) in [
            (RemoteTlsError::Closed, "closed"),
            (RemoteTlsError::Io(io(std::io::ErrorKind::Other)), "io"),
            (RemoteTlsError::NotTls, "not-tls"),
            (RemoteTlsError::PlainHttp, "plain-http"),
            (RemoteTlsError::UnknownName, "unknown-name"),
            (RemoteTlsError::Sign(SignError::Late), "no-signature"),
            (RemoteTlsError::Sign(SignError::NoServer), "no-signature"),
            (
                RemoteTlsError::Tls(rustls::Error::NoApplicationProtocol),
                "no-shared-alpn",
            ),
            (
                RemoteTlsError::Tls(rustls::Error::NoCertificatesPresented),
                "client-certificate-missing",
            ),
        ] {
            assert_eq!(NotAccepted::from(error).reason(), reason);
        }
    }
}
