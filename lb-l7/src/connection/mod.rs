//! One client's connection, from its first byte to its last.

mod http1;
mod http2;

use std::future::poll_fn;
use std::sync::Arc;

use lbcore::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::clock;
use crate::exchange::At;
use crate::h1::wire::Wire;
use crate::headers::identity::Hop;
use crate::peer::Peer;
use crate::proxy::HttpProxy;
use crate::settings::Settings;
use crate::timeout::{Alarm, after};
use crate::worker::Worker;

/// A connection's view of the proxy: the settings of the request under way.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) proxy: HttpProxy,
    pub(crate) worker: Arc<Worker>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) peer: Peer,
    pub(crate) hop: Hop,
}

impl Connection {
    pub(crate) fn new(proxy: &HttpProxy, worker: usize, peer: Peer) -> Option<Self> {
        let settings = proxy.settings();
        let hop = settings.hop(&peer);
        Some(Self {
            proxy: proxy.clone(),
            worker: Arc::clone(proxy.worker(worker)?),
            settings,
            peer,
            hop,
        })
    }

    /// Goes over to the settings in force.
    pub(crate) fn refresh(&mut self) {
        if let Some(settings) = self.proxy.settings_if_newer(&self.settings) {
            self.hop = settings.hop(&self.peer);
            self.settings = settings;
        }
    }

    /// This, with the settings in force, if they are others.
    pub(crate) fn refreshed(&self) -> Option<Self> {
        let settings = self.proxy.settings_if_newer(&self.settings)?;
        Some(Self {
            hop: settings.hop(&self.peer),
            settings,
            ..self.clone()
        })
    }

    pub(crate) fn at(&self) -> At<'_> {
        At {
            worker: &self.worker,
            settings: &self.settings,
            peer: &self.peer,
            hop: &self.hop,
            drain: self.proxy.drain_of(),
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<IO>(proxy: &HttpProxy, worker: usize, io: IO, peer: Peer)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Some(mut connection) = Connection::new(proxy, worker, peer) else {
        return;
    };
    let accepted = clock::now();
    let mut wire = Wire::new(io);
    let is_http2 = match connection.agreed() {
        Some(agreed) => agreed == Agreed::Http2,
        None => {
            let deadline = after(accepted, connection.settings.timeouts.request_head);
            connection.settings.prior_knowledge && speaks_http2(&mut wire, deadline).await
        }
    };
    let (io, unread) = wire.into_parts();
    if is_http2 {
        http2::serve(connection, accepted, io, unread).await;
    } else {
        http1::serve(&mut connection, accepted, io, unread).await;
    }
}

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Agreed {
    Http1,
    Http2,
}

impl Connection {
    #[cfg(feature = "tls")]
    fn agreed(&self) -> Option<Agreed> {
        use crate::tls::Alpn;

        match self.peer.tls.as_ref()?.alpn? {
            Alpn::Http1 => Some(Agreed::Http1),
            Alpn::Http2 => Some(Agreed::Http2),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn agreed(&self) -> Option<Agreed> {
        None
    }
}

/// Whether a client begins with the preface of HTTP/2 (RFC 9113, 3.4): nothing is taken.
///
/// One that is silent speaks HTTP/1 as far as anyone knows, and its time for a request has passed.
async fn speaks_http2<IO>(wire: &mut Wire<IO>, deadline: Instant) -> bool
where
    IO: AsyncRead + Unpin,
{
    let mut alarm = Alarm::default();
    let decided = poll_fn(|cx| {
        loop {
            let read = wire.unread();
            let compared = read.len().min(PREFACE.len());
            if read.get(..compared) != PREFACE.get(..compared) {
                return std::task::Poll::Ready(false);
            }
            if compared == PREFACE.len() {
                return std::task::Poll::Ready(true);
            }
            match std::task::ready!(wire.poll_fill(cx, PREFACE_ROOM)) {
                Ok(0) | Err(_) => return std::task::Poll::Ready(false),
                Ok(_) => {}
            }
        }
    });
    alarm.limit(deadline, decided).await.unwrap_or(false)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are read while it is not known what a client speaks.
const PREFACE_ROOM: usize = 4 * 1024;
