//! `kind = "http"` and `"grpc"`: what is asked of a backend, and what it should say.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method};
use lb_l7::probe::{BodyMatch, HttpProbe, ProbeProtocol, StatusSet};
use lb_l7::tls::Alpn;
use lb_l7::upstream::BackendProtocol;

use super::super::http::fields;
use super::super::section::Section;
use super::super::tls::{self, ToBackends};
use super::super::upstream::Upstream;

/// A request, and the answer that is good.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpHealth {
    question: Question,
    /// Default none: the backend's address.
    host: Option<Authority>,
    /// Default none: the backend's own.
    port: Option<u16>,
    headers: HeaderMap,
    secure: Secure,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
enum Question {
    /// A path.
    Http {
        /// Default none: what the pool speaks.
        protocol: Option<ProbeProtocol>,
        method: Method,
        target: PathAndQuery,
        status: StatusSet,
        /// What the body holds; default none: anything.
        body: Option<String>,
    },
    /// The health protocol of gRPC; a service, or the whole server by no name.
    Grpc { service: String },
}

/// Whether TLS is spoken.
#[derive(Clone, Debug, PartialEq)]
enum Secure {
    /// As the pool says.
    AsPool,
    /// Whatever the pool says; none is none.
    Own(Option<Box<ToBackends>>),
}

impl HttpHealth {
    /// The library's probe, for backends that `upstream` says how to reach.
    ///
    /// # Errors
    ///
    /// Says what the library does not take; the parser lets nothing like it through.
    pub(crate) fn made(&self, upstream: &Upstream) -> Result<HttpProbe, String> {
        let mut probe = match &self.question {
            Question::Http {
                protocol,
                method,
                target,
                status,
                body,
            } => {
                let spoken = || spoken(upstream.config.protocol);
                let probe = HttpProbe::get(target.clone())
                    .method(method.clone())
                    .protocol(protocol.clone().unwrap_or_else(spoken))
                    .expect_status(status.clone());
                match body {
                    Some(text) => probe.expect_body(BodyMatch::contains(text.clone())),
                    None => probe,
                }
            }
            Question::Grpc { service } => HttpProbe::grpc(service),
        };
        probe.host.clone_from(&self.host);
        probe.port = self.port;
        probe.headers.clone_from(&self.headers);
        let tls = match &self.secure {
            Secure::AsPool => upstream.tls.as_ref(),
            Secure::Own(tls) => tls.as_deref(),
        };
        let alpn = match probe.protocol {
            ProbeProtocol::Http1 => Alpn::Http1,
            _ => Alpn::Http2,
        };
        probe.tls = tls.map(|tls| tls.made(&[alpn])).transpose()?;
        Ok(probe)
    }

    /// Whether what the pool says under `key` is said to probes too.
    pub(in crate::config) fn follows(&self, key: &str) -> bool {
        match key {
            "protocol" => matches!(self.question, Question::Http { protocol: None, .. }),
            "tls" => self.secure == Secure::AsPool,
            _ => false,
        }
    }

    /// Whether it asks at a port of its own.
    pub(in crate::config) const fn has_port(&self) -> bool {
        self.port.is_some()
    }
}

/// What a probe speaks with backends of this protocol; where TLS settles it, what all have.
const fn spoken(by: BackendProtocol) -> ProbeProtocol {
    match by {
        BackendProtocol::Http2 => ProbeProtocol::Http2,
        _ => ProbeProtocol::Http1,
    }
}

/// The keys of a probe by HTTP; of one by gRPC, if `is_grpc`.
pub(super) fn read(section: &mut Section<'_>, is_grpc: bool) -> HttpHealth {
    let question = if is_grpc {
        let service = section.text("service", "the name of a service");
        Question::Grpc {
            service: service.unwrap_or_default().into(),
        }
    } else {
        question(section)
    };
    let host = section.text_as("host", HOST_FORM, host);
    let port = section.integer("port", 1..=u16::MAX);
    let headers = headers(section);
    let has_tls = section.has("tls");
    let tls = tls::to_backends(section).map(Box::new);
    HttpHealth {
        question,
        host,
        port,
        headers,
        secure: if has_tls {
            Secure::Own(tls)
        } else {
            Secure::AsPool
        },
    }
}

fn question(section: &mut Section<'_>) -> Question {
    let protocols = [
        ("http1", &ProbeProtocol::Http1),
        ("h2", &ProbeProtocol::Http2),
    ];
    let protocol = section.choice("protocol", "protocol", &protocols).cloned();
    let method = section.text_as("method", "a method, such as \"GET\"", method);
    let target = section.text_as("path", "a path, such as \"/health\"", target);
    let status = section.text_as("expect", STATUS_FORM, |text| {
        let told = |error: lb_l7::probe::StatusSetError| error.to_string();
        text.parse::<StatusSet>().map_err(told)
    });
    let body = section.text_as("body", "what the body holds", |text| {
        let said = (!text.is_empty()).then(|| text.to_owned());
        said.ok_or_else(|| "empty: every body holds that".into())
    });
    let method = method.unwrap_or_default();
    if body.is_some() && method == Method::HEAD {
        section.wrong("body", "an answer to HEAD has none");
    }
    Question::Http {
        protocol,
        method,
        target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
        status: status.unwrap_or_default(),
        body,
    }
}

/// A method that ends with its answer: `CONNECT` would begin a tunnel.
fn method(text: &str) -> Result<Method, String> {
    let is_capital = text.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = Method::try_from(text).ok();
    method
        .filter(|method| is_capital && *method != Method::CONNECT)
        .ok_or_else(|| format!("{text:?} is no method of a probe, expected one such as \"GET\""))
}

/// A path and perhaps a query; a fragment is never sent (RFC 9110, 7.1).
fn target(text: &str) -> Result<PathAndQuery, String> {
    let is_path = text.starts_with('/') && !text.contains('#');
    let target = PathAndQuery::try_from(text).ok().filter(|_| is_path);
    target.ok_or_else(|| format!("{text:?} is no path, expected one such as \"/health?deep=1\""))
}

fn host(text: &str) -> Result<Authority, String> {
    let host = Authority::try_from(text).ok();
    host.filter(|host| !host.as_str().contains('@'))
        .ok_or_else(|| format!("{text:?} is no host, expected {HOST_FORM}"))
}

fn headers(section: &mut Section<'_>) -> HeaderMap {
    let fields = fields::map(section, "headers");
    if fields.contains_key(HOST) {
        section.wrong("headers", "the host has a key of its own: host");
    }
    let framing = FRAMING.into_iter().find(|name| fields.contains_key(name));
    if let Some(name) = framing {
        section.wrong("headers", format!("{name} is the connection's to say"));
    }
    fields
}

const HOST_FORM: &str = "a host, such as \"app.internal\" or \"app.internal:8080\"";

const STATUS_FORM: &str = "statuses, such as \"200-299,404\"";

/// What would make one message two, or what HTTP/2 forbids (RFC 9113, 8.2.2).
const FRAMING: [HeaderName; 9] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Every key that only these kinds have, and `expect`, which has another meaning for others.
pub(super) const OF_HTTP: [&str; 9] = [
    "body", "expect", "headers", "host", "method", "path", "port", "protocol", "tls",
];

/// As [`OF_HTTP`].
pub(super) const OF_GRPC: [&str; 5] = ["headers", "host", "port", "service", "tls"];
