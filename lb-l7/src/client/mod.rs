//! The caller's own requests, balanced over the backends of an [`Upstream`](crate::Upstream).

mod error;
mod normal;
mod sweep;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::clock;
use crate::front::service::{BoxError, Refusals};
use crate::peer::Peer;
use crate::proxy::HttpProxy;
use crate::router::{Normalise, PathPolicy, Router, Rule};
use crate::service::{Begun, ProxyBody, Running, Terms, carry};
use crate::settings::{Settings, Target};
use crate::stats::{UpstreamStats, Writers};
use crate::thread;
pub use error::ClientError;
use sweep::{Sweep, Swept};

/// Sends the caller's own requests to the backends of a [`Target`].
///
/// It is the engine of the proxy without the proxy: the pool's scheduler picks a backend, the request
/// goes out on a connection of the upstream's (HTTP/1.1 or HTTP/2, with TLS if the upstream has it),
/// failures are tried again as the target's [`RetryPolicy`](crate::upstream::RetryPolicy) allows, and
/// how it ended is charged to the backend, so that outliers are ejected. No field is added or changed
/// but those of the connection, and the target is sent as it was written.
///
/// The host is that of the request's `Host` field, or else of its URI, or else
/// [`authority`](Self::authority). Whether TLS is spoken is the upstream's to say, and not the
/// scheme's. The response names its backend by a [`BackendId`](lbcore::BackendId) among its
/// extensions; a status is never an error.
///
/// Cheap to clone; clones share everything. It works on any tokio runtime with time and I/O enabled,
/// and each thread of it has its own share of the connections. The exchange is polled by whoever
/// polls the response, and then its body; dropping either gives it up. While there are connections,
/// one task closes those that are idle for too long.
///
/// Cost: one box for the exchange and one for what lies between it and its reader.
///
/// # Examples
///
/// ```no_run
/// # async fn get() -> Result<(), Box<dyn std::error::Error>> {
/// use http_body_util::{BodyExt, Empty};
/// use lb_l7::Client;
/// use lbcore::schedule::PeakEwma;
/// use lbcore::{Backend, BackendId, Pool};
///
/// let pool = Pool::new(PeakEwma::default())
///     .backend(Backend::new("api-1", "10.0.1.11:8080".parse()?))
///     .backend(Backend::new("api-2", "10.0.1.12:8080".parse()?));
/// let client = Client::new(pool).authority("api.internal".parse()?);
///
/// let request = http::Request::get("/status").body(Empty::<bytes::Bytes>::new())?;
/// let response = client.send(request).await?;
/// println!("{:?}: {}", response.extensions().get::<BackendId>(), response.status());
/// let body = response.into_body().collect().await?.to_bytes();
/// # let _ = body;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    proxy: HttpProxy,
    terms: Arc<Terms>,
    /// Of requests that name none.
    authority: Option<HeaderValue>,
    sweep: Arc<Sweep>,
}

impl Client {
    /// Sends to the backends of `target`: a [`Pool`](lbcore::Pool), an
    /// [`Upstream`](crate::Upstream), or one of these with a policy for retries, timeouts, and the
    /// key of a hashing scheduler. Its cookie is not used.
    #[must_use]
    pub fn new(target: impl Into<Target>) -> Self {
        let mut target = target.into();
        target.cookie = None;
        let upstream = target.upstream.clone();
        let policy = PathPolicy {
            normalise: Normalise::DangerOff,
            ..PathPolicy::default()
        };
        let router = Router::builder()
            .path_policy(policy)
            .rule(Rule::forward("client", target))
            .build();
        // A rule without conditions always stands.
        let router = router.unwrap_or_else(|_| Router::nowhere());
        let proxy = HttpProxy::new(Settings::new(router).name("client").of_client());
        let terms = Terms::new(proxy.settings(), Peer::unnamed());
        Self {
            shared: Arc::new(Shared {
                proxy,
                terms: Arc::new(terms),
                authority: None,
                sweep: Arc::new(Sweep::new(upstream)),
            }),
        }
    }

    /// Sets the host of requests that name none, neither by `Host` nor by their URI. Default none:
    /// they fail.
    #[must_use]
    pub fn authority(self, authority: Authority) -> Self {
        // An authority has no byte that a value may not have.
        let authority = HeaderValue::from_str(authority.as_str()).ok();
        Self {
            shared: Arc::new(Shared {
                proxy: self.shared.proxy.clone(),
                terms: Arc::clone(&self.shared.terms),
                authority,
                sweep: Arc::clone(&self.shared.sweep),
            }),
        }
    }

    /// Sends `request` to one of the backends, and waits for the head of its answer.
    ///
    /// Nothing happens before it is polled; from then on it wants a tokio runtime.
    ///
    /// # Errors
    ///
    /// When no backend has answered: see [`ClientError`]. A status such as 500 is an answer.
    pub fn send<B>(&self, request: Request<B>) -> Responding
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let version = parts.version;
        let is_head = parts.method == Method::HEAD;
        let shared = &self.shared;
        let authority = shared.authority.as_ref();
        let incoming = match normal::incoming(clock::now(), parts, &body, authority) {
            Ok(incoming) => incoming,
            Err(ended) => return Responding(Err(Some(ClientError::new(ended, None)))),
        };
        let terms = Arc::clone(&shared.terms);
        let worker = shared.proxy.worker(thread::index()).cloned();
        let sweep = Arc::clone(&shared.sweep);
        Responding(Ok(Running::new(|slot| {
            let begun = Begun {
                terms,
                worker,
                slot,
                version,
                is_head,
                refusals: Refusals::Told,
            };
            async move {
                let _swept = Swept(sweep);
                carry(begun, Ok(incoming), body).await;
            }
        })))
    }

    /// What has been counted of the backends.
    #[must_use]
    pub fn stats(&self) -> UpstreamStats {
        let counted = self.shared.proxy.upstream_stats().into_values().next();
        counted.unwrap_or_else(|| UpstreamStats::new(&Writers::new(1)))
    }
}

impl<B> Service<Request<B>> for Client
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ProxyBody>;
    type Error = ClientError;
    type Future = Responding;

    /// Always ready: whether a backend has room is known when one is picked.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Responding {
        self.send(request)
    }
}

impl<B> Service<Request<B>> for &Client
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ProxyBody>;
    type Error = ClientError;
    type Future = Responding;

    /// Always ready, as that of [`Client`].
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Responding {
        self.send(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A response of a [`Client`], on its way. Dropped, the exchange is given up.
#[derive(Debug)]
#[must_use = "nothing happens unless it is polled"]
pub struct Responding(Result<Running, Option<ClientError>>);

impl Future for Responding {
    type Output = Result<Response<ProxyBody>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let running = match &mut self.0 {
            Ok(running) => running,
            Err(error) => {
                return match error.take() {
                    Some(error) => Poll::Ready(Err(error)),
                    // It has been given.
                    None => Poll::Pending,
                };
            }
        };
        let head = ready!(running.poll_head(cx));
        let (backend, fault) = (running.backend(), running.take_fault());
        let running = std::mem::replace(&mut self.0, Err(None));
        match (head, running) {
            (Ok(mut parts), Ok(running)) => {
                if let Some(backend) = backend {
                    parts.extensions.insert(backend);
                }
                Poll::Ready(Ok(Response::from_parts(parts, ProxyBody::new(running))))
            }
            (Err(ended), _) => Poll::Ready(Err(ClientError::new(ended, fault))),
            (Ok(_), Err(_)) => Poll::Pending,
        }
    }
}
