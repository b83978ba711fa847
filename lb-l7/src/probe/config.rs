//! What an HTTP probe asks, and what it expects.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request};
use lbcore::backend::Address;
use lbcore::health::ProbeFailure;

use super::body::BodyMatch;
use super::status::StatusSet;
use super::{Answer, dial, grpc, http1, http2};
#[cfg(feature = "tls")]
use crate::tls::BackendTls;

/// What is spoken with a backend that is probed.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ProbeProtocol {
    /// Nothing: a connection is answer enough, the handshake of TLS included if that is set.
    Connect,
    /// The health protocol of gRPC, over HTTP/2: `grpc.health.v1.Health/Check` must say `SERVING`.
    Grpc {
        /// Which service is asked for; empty for the server as a whole.
        service: Box<str>,
    },
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without asking (prior knowledge), over plain connections or TLS.
    Http2,
}

/// What an HTTP probe asks, and what it expects.
///
/// # Examples
///
/// ```
/// use lb_l7::probe::{BodyMatch, HttpProbe};
///
/// let probe = HttpProbe::get("/healthz".parse()?)
///     .host("app.internal".parse()?)
///     .expect_status("200".parse()?)
///     .expect_body(BodyMatch::contains("ready"));
/// let grpc = HttpProbe::grpc("routeguide.RouteGuide");
/// # let _ = (probe, grpc);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct HttpProbe {
    /// What is spoken. Default HTTP/1.1.
    pub protocol: ProbeProtocol,
    /// The method. Default `GET`; that of gRPC is its own.
    pub method: Method,
    /// Path and query. That of gRPC is its own.
    pub target: PathAndQuery,
    /// The host asked for. Default none: the backend's address.
    pub host: Option<Authority>,
    /// The port probed. Default none: the backend's own. Unix sockets have none.
    pub port: Option<u16>,
    /// Further fields.
    pub headers: HeaderMap,
    /// What the probe calls itself. Default `lb-l7-probe`.
    pub user_agent: HeaderValue,
    /// Which statuses are good. Default 200 to 399; gRPC has its own.
    pub status: StatusSet,
    /// What the body must hold, which is then read to its end. Default anything.
    pub body: BodyMatch,
    /// How many bytes of the body are read at most; what comes behind is not looked at. Default
    /// 64 KiB.
    pub body_limit: usize,
    /// Speaks TLS. Default none. For HTTP/2 and gRPC it must offer `h2`.
    #[cfg(feature = "tls")]
    pub tls: Option<BackendTls>,
}

impl HttpProbe {
    /// Asks for `target`, a path and perhaps a query.
    #[must_use]
    pub fn get(target: PathAndQuery) -> Self {
        Self {
            protocol: ProbeProtocol::Http1,
            method: Method::GET,
            target,
            host: None,
            port: None,
            headers: HeaderMap::new(),
            user_agent: HeaderValue::from_static("lb-l7-probe"),
            status: StatusSet::default(),
            body: BodyMatch::default(),
            body_limit: 64 * 1024,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Asks nothing: passes when there is a connection, and closes it.
    #[must_use]
    pub fn connect() -> Self {
        Self::get(PathAndQuery::from_static("/")).protocol(ProbeProtocol::Connect)
    }

    /// Asks a server of gRPC for `service`; for the server as a whole, if that is empty.
    #[must_use]
    pub fn grpc(service: &str) -> Self {
        let protocol = ProbeProtocol::Grpc {
            service: service.into(),
        };
        Self::get(PathAndQuery::from_static(grpc::PATH))
            .method(Method::POST)
            .protocol(protocol)
    }

    /// Sets [`protocol`](Self::protocol).
    #[must_use]
    pub fn protocol(mut self, protocol: ProbeProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets [`method`](Self::method).
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets [`host`](Self::host).
    #[must_use]
    pub fn host(mut self, host: Authority) -> Self {
        self.host = Some(host);
        self
    }

    /// Sets [`port`](Self::port).
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets a field of [`headers`](Self::headers).
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets [`user_agent`](Self::user_agent).
    #[must_use]
    pub fn user_agent(mut self, name: HeaderValue) -> Self {
        self.user_agent = name;
        self
    }

    /// Sets [`status`](Self::status).
    #[must_use]
    pub fn expect_status(mut self, status: StatusSet) -> Self {
        self.status = status;
        self
    }

    /// Sets [`body`](Self::body).
    #[must_use]
    pub fn expect_body(mut self, body: BodyMatch) -> Self {
        self.body = body;
        self
    }

    /// Sets [`body_limit`](Self::body_limit).
    #[must_use]
    pub const fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: BackendTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Asks the backend at `address`, and judges what it says.
    pub(super) async fn ask(&self, address: &Address) -> Result<(), ProbeFailure> {
        let address = dial::at_port(address, self.port);
        let host = dial::host(self.host.as_ref(), &address)?;
        let stream = dial::connect(self, &address, host.as_str()).await?;
        let mut request = self.request(&host)?;
        let wanted = self.body_wanted();
        match &self.protocol {
            ProbeProtocol::Connect => Ok(()),
            ProbeProtocol::Http1 => self.judge(&http1::ask(stream, &request, wanted).await?),
            ProbeProtocol::Http2 => {
                let request = http2::absolute(request, self.scheme(), host)?;
                self.judge(&http2::ask(stream, request, Bytes::new(), wanted).await?)
            }
            ProbeProtocol::Grpc { service } => {
                grpc::dress(&mut request);
                let request = http2::absolute(request, self.scheme(), host)?;
                let question = grpc::question(service);
                grpc::judge(&http2::ask(stream, request, question, Some(grpc::LARGEST)).await?)
            }
        }
    }

    fn scheme(&self) -> Scheme {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Scheme::HTTPS;
        }
        Scheme::HTTP
    }

    fn request(&self, host: &Authority) -> Result<request::Parts, ProbeFailure> {
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone().into();
        let fields = request.headers_mut();
        *fields = self.headers.clone();
        let host = HeaderValue::from_str(host.as_str()).map_err(|_| ProbeFailure::Io)?;
        fields.insert(header::HOST, host);
        if !fields.contains_key(header::USER_AGENT) {
            fields.insert(header::USER_AGENT, self.user_agent.clone());
        }
        Ok(request.into_parts().0)
    }

    /// How many bytes of the body are to be read; none, if nobody looks at them.
    fn body_wanted(&self) -> Option<usize> {
        (!self.body.is_any()).then_some(self.body_limit)
    }

    fn judge(&self, answer: &Answer) -> Result<(), ProbeFailure> {
        match self.status.contains(answer.status) && self.body.matches(&answer.body) {
            true => Ok(()),
            false => Err(ProbeFailure::WrongAnswer),
        }
    }

    /// Whether HTTP/2 is spoken; nothing, where nothing is.
    pub(super) const fn is_http2(&self) -> Option<bool> {
        match self.protocol {
            ProbeProtocol::Connect => None,
            ProbeProtocol::Http1 => Some(false),
            ProbeProtocol::Grpc { .. } | ProbeProtocol::Http2 => Some(true),
        }
    }
}
