//! From a TCP connection to a client with a name.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::clock;
use super::connection::Connection;
use super::handshakes::Handshake;
use super::mailbox::Mailbox;
use super::registry::{Member, Place};
use super::shared::{Shared, Tls};
use crate::access::Identities;
use crate::mode::Mode;
use crate::server::{Rejection, Session};

/// rustls reads 4 KiB at a time; this makes it one system call for 64 KiB.
const READ: usize = 64 * 1024;

/// The most characters that are told of a client: some are its own.
const MOST: usize = 300;

/// Why a client is turned away, and what TLS said or who it is.
struct Rejected {
    why: Rejection,
    of: Option<String>,
}

impl From<Rejection> for Rejected {
    fn from(why: Rejection) -> Self {
        Self { why, of: None }
    }
}

/// A client that has shown who it is.
type Stream = TlsStream<BufReader<TcpStream>>;

/// Leads a client through its handshake, and serves it.
///
/// `under_way` is dropped as soon as the handshake is over.
pub(super) async fn serve(
    shared: Arc<Shared>,
    tcp: TcpStream,
    from: SocketAddr,
    under_way: Handshake,
) {
    let accepted = accept(&shared, tcp).await;
    drop(under_way);
    let (mut stream, place) = match accepted {
        Ok(accepted) => accepted,
        Err(Rejected { why, of }) => {
            shared.reject(from, why, of.as_deref());
            return;
        }
    };
    if !shared.admits(&place.member) {
        let who = place.member.client.principal().to_string();
        shared.reject(from, Rejection::Denied, Some(&plain(&who)));
        // Whether it hears of it is up to it.
        drop(timeout(shared.config.handshake_timeout, stream.shutdown()).await);
        return;
    }
    let (client, mode) = (place.member.client.clone(), place.member.mode);
    let who = client.principal().clone();
    tracing::debug!(%from, client = %who, mode = mode.as_str(), "connected");
    let session = Session::new(
        clock::now(),
        client,
        Some(from),
        mode,
        shared.config.session,
    );
    let connection = Connection::new(Arc::clone(&shared), place, session, stream);
    let ending = connection.run().await;
    shared.counters.ended(ending);
    tracing::debug!(%from, client = %who, how = ending.as_str(), "disconnected");
}

/// Takes a client into the registry before the lists are asked about it: so that one which they are
/// just about to refuse is either seen by them or sees them.
async fn accept(shared: &Arc<Shared>, tcp: TcpStream) -> Result<(Stream, Place), Rejected> {
    let stream = handshake(shared, &shared.tls.load_full(), tcp).await?;
    let (_, tls) = stream.get_ref();
    let mode = Mode::agreed(tls.alpn_protocol()).filter(|mode| shared.config.modes.contains(mode));
    let mode = mode.ok_or(Rejection::Mode)?;
    let chain = tls.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = chain.iter().map(|one| one.clone().into_owned()).collect();
    let leaf = chain.first().ok_or(Rejection::BadCertificate)?;
    let client = Identities::of_certificate(leaf).map_err(|_| Rejection::BadCertificate)?;
    let who = client.principal().to_string();
    let member = Member {
        client,
        mode,
        chain,
        mailbox: Arc::new(Mailbox::default()),
    };
    let most = shared.config.connections_per_identity;
    let place = shared.registry.enter(member, most);
    Ok((
        stream,
        place.ok_or_else(|| Rejected {
            why: Rejection::TooManyOfIdentity,
            of: Some(plain(&who)),
        })?,
    ))
}

async fn handshake(shared: &Shared, tls: &Tls, tcp: TcpStream) -> Result<Stream, Rejected> {
    // Answers are written as they come: waiting for more would only delay a handshake.
    tcp.set_nodelay(true).map_err(|_| Rejection::Tls)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let accept = acceptor.accept(BufReader::with_capacity(READ, tcp));
    let accept = timeout(shared.config.handshake_timeout, accept);
    let mut draining = shared.draining.subscribe();
    let accepted = tokio::select! {
        accepted = accept => accepted,
        // Who is not in yet has nothing under way, and asks elsewhere.
        _ = draining.wait_for(|is_draining| *is_draining) => return Err(Rejection::Draining.into()),
    };
    match accepted {
        Ok(accepted) => accepted.map_err(|error| Rejected {
            why: Rejection::Tls,
            of: Some(plain(&error.to_string())),
        }),
        Err(_) => Err(Rejection::Timeout.into()),
    }
}

/// One line of bounded length, whatever a client made part of it.
fn plain(text: &str) -> String {
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MOST).map(one_line).collect()
}
