//! The proxy within somebody else's server, as a [`tower_service::Service`].

mod body;
mod normal;
mod running;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use tower_service::Service;

use crate::clock;
use crate::front::service::{BoxError, Ended, Refusals};
use crate::peer::Peer;
use crate::proxy::HttpProxy;
use crate::report::Party;
use crate::thread;
pub use body::{BodyError, ProxyBody};
pub(crate) use normal::{length_of, origin_form};
pub(crate) use running::{Begun, Running, Terms, carry};

/// A proxy as the service of somebody else's server: of axum, hyper or tower.
///
/// Rules, headers, retries, limits, counters and log are the proxy's, as for its own connections.
/// The exchange is polled by whoever polls the response, and then its body: nothing is spawned, a
/// slow reader slows the backend down, and dropping either gives the exchange up. Timeouts that
/// concern the caller's reading run only while it reads.
///
/// What the server keeps to itself is not there: responses before the response (1xx, but for the
/// 100, which goes out once the backend wants the body), and tunnels. A request that asks for another
/// protocol (`Upgrade`, `CONNECT`) is answered 501.
///
/// Cost: one box for the exchange and one for what lies between it and its reader.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http_body_util::Empty;
/// use lb_l7::{HttpProxy, Peer, Settings};
/// use lbcore::Pool;
/// use lbcore::schedule::RoundRobin;
/// use tower_service::Service;
///
/// let proxy = HttpProxy::new(Settings::to(Pool::new(RoundRobin::default()))?);
/// let request = http::Request::get("http://example.com/").body(Empty::<bytes::Bytes>::new())?;
/// let response = proxy.service(Peer::unnamed()).call(request).await?;
/// assert_eq!(response.status(), 503, "the pool has no backend");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ProxyService {
    proxy: HttpProxy,
    terms: Arc<ArcSwap<Terms>>,
}

impl ProxyService {
    pub(crate) fn new(proxy: &HttpProxy, peer: Peer) -> Self {
        let terms = Terms::new(proxy.settings(), peer);
        Self {
            proxy: proxy.clone(),
            terms: Arc::new(ArcSwap::from_pointee(terms)),
        }
    }

    /// What holds for a request of `peer`, or of the service's own.
    fn terms(&self, peer: Option<Peer>) -> Arc<Terms> {
        let mut terms = self.terms.load_full();
        if let Some(settings) = self.proxy.settings_if_newer(&terms.settings) {
            terms = Arc::new(terms.under(settings));
            self.terms.store(Arc::clone(&terms));
        }
        match peer {
            Some(peer) => Arc::new(terms.of(peer)),
            None => terms,
        }
    }
}

impl<B> Service<Request<B>> for ProxyService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ProxyBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    /// Always ready: what there is no room for is answered 503.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Forwards `request`. A [`Peer`] among its extensions is its client, instead of the service's.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let (mut parts, body) = request.into_parts();
        let terms = self.terms(parts.extensions.remove::<Peer>());
        let worker = self.proxy.worker(thread::index()).cloned();
        let version = parts.version;
        let is_head = parts.method == Method::HEAD;
        let incoming = normal::incoming(clock::now(), parts, &body, terms.scheme());
        let exchange = |slot| {
            let begun = Begun {
                terms,
                worker,
                slot,
                version,
                is_head,
                refusals: Refusals::Answered,
            };
            carry(begun, incoming, body)
        };
        ResponseFuture {
            running: Some(Running::new(exchange)),
            version,
        }
    }
}

impl fmt::Debug for ProxyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyService").finish_non_exhaustive()
    }
}

/// A response of a [`ProxyService`], on its way. Dropped, the exchange is given up.
#[derive(Debug)]
#[must_use = "nothing happens unless it is polled"]
pub struct ResponseFuture {
    running: Option<Running>,
    version: Version,
}

impl Future for ResponseFuture {
    type Output = Result<Response<ProxyBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.running else {
            return Poll::Pending;
        };
        let head = ready!(running.poll_head(cx));
        let running = self.running.take();
        let mut response = match (head, running) {
            (Ok(parts), Some(running)) => Response::from_parts(parts, ProxyBody::new(running)),
            (Err(ended), _) => unanswered(&ended),
            (Ok(_), None) => return Poll::Pending,
        };
        // What the backend speaks is not what this server speaks with its client.
        *response.version_mut() = self.version;
        Poll::Ready(Ok(response))
    }
}

/// What a caller is told whose request broke off: its body failed, or this program did.
fn unanswered(ended: &Ended) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::empty());
    *response.status_mut() = match ended.termination.party() {
        Party::Client => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response
}
