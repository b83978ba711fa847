//! What an exchange has done so far, for its report.

use http::{StatusCode, Uri, Version, header, request};
use lbcore::backend::Address;
use lbcore::{BackendId, Instant, Lease};
use tracing::Span;

use super::{At, Incoming};
use crate::peer::Peer;
#[cfg(feature = "tls")]
use crate::report::Tls;
use crate::report::{
    BackendSide, ClientSide, Phase, Report, RequestLine, Termination, Times, Traffic, finish_span,
    span,
};
use crate::settings::{Settings, Target};
use crate::stats::{ExchangeStats, UpstreamStats};
use crate::upstream::{Channel, Upstream};
use crate::worker::Worker;

/// Notes taken along the way.
#[derive(Debug, Default)]
pub(crate) struct Record {
    times: Times,
    /// The time, as of the last thing that was waited for.
    pub(crate) now: Instant,
    version: Version,
    /// The target as the client wrote it, if it was rewritten.
    asked: Option<Uri>,
    pub(crate) route: Option<usize>,
    /// Its route has been told that it has begun.
    is_begun: bool,
    upstream: Option<Upstream>,
    upstream_stats: Option<UpstreamStats>,
    backend: Option<Picked>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) detail: Option<&'static str>,
    pub(crate) tries: u32,
    /// Hedges sent besides the tries.
    pub(crate) hedges: u32,
    /// The answer is that of a hedge.
    pub(crate) is_hedged: bool,
    pub(crate) is_tunnel: bool,
    pub(crate) traffic: Traffic,
    pub(crate) protected_nominations: u32,
    /// Seconds that a refused client should wait.
    pub(crate) retry_after: Option<u32>,
    /// None, unless somebody traces.
    span: Option<Span>,
}

#[derive(Debug)]
struct Picked {
    id: BackendId,
    address: Address,
    stats: Option<ExchangeStats>,
    version: Option<Version>,
    is_reused: bool,
}

impl Record {
    pub(crate) fn new(incoming: &Incoming, version: Version) -> Self {
        Self {
            times: Times {
                accepted: incoming.accepted,
                head: Some(incoming.begun),
                ..Times::default()
            },
            now: incoming.begun,
            version,
            traffic: Traffic {
                head_in: incoming.head_bytes,
                ..Traffic::default()
            },
            ..Self::default()
        }
    }

    /// Keeps what a rewrite may change.
    pub(crate) fn keep_request(&mut self, parts: &request::Parts) {
        self.asked = Some(parts.uri.clone());
    }

    pub(crate) fn keep_target(&mut self, target: &Target) {
        self.upstream = Some(target.upstream.clone());
        self.upstream_stats = target.stats().cloned();
    }

    pub(crate) fn picked(
        &mut self,
        worker: &Worker,
        settings: &Settings,
        now: Instant,
        lease: &Lease,
    ) {
        self.times.picked = Some(now);
        self.leave(worker);
        let id = lease.backend();
        let stats = self
            .upstream_stats
            .as_ref()
            .map(|upstream| upstream.backend(id));
        // One look at the worker's counters for both.
        let first = (!std::mem::replace(&mut self.is_begun, true)).then_some(self.route);
        let route = first.flatten().and_then(|place| settings.routes.get(place));
        worker.count(|writer| {
            for began in stats.iter().chain(route) {
                began.began(writer);
            }
        });
        self.backend = Some(Picked {
            id,
            address: lease.address().clone(),
            stats,
            version: None,
            is_reused: false,
        });
    }

    /// The backend picked before, if any, is given up for another.
    fn leave(&mut self, worker: &Worker) {
        if let Some(stats) = self.backend.take().and_then(|picked| picked.stats) {
            worker.count(|writer| stats.left(writer));
        }
    }

    pub(crate) fn connected(&mut self, now: Instant, channel: &Channel) {
        self.times.connected = Some(now);
        if let Some(picked) = &mut self.backend {
            picked.version = Some(channel.version());
            picked.is_reused = channel.is_reused();
        }
    }

    pub(crate) fn answered(&mut self, now: Instant) {
        self.times.response = Some(now);
    }

    /// How far the exchange has come.
    pub(super) const fn phase(&self) -> Phase {
        if self.is_tunnel {
            Phase::Tunnel
        } else if self.times.response.is_some() {
            Phase::ResponseBody
        } else if self.times.connected.is_some() {
            Phase::ResponseHead
        } else if self.times.picked.is_some() {
            Phase::Connect
        } else {
            Phase::RequestHead
        }
    }

    /// Opens the span that the report fills.
    pub(super) fn open_span(&mut self, at: &At<'_>, parts: &request::Parts) -> Span {
        let client = client_of(at.settings, at.peer, self.version);
        let span = span(&client, &self.line(at.settings, parts));
        self.span = Some(span.clone());
        span
    }

    /// Reports the exchange, which has ended as `termination` says.
    pub(crate) fn finish(&mut self, at: &At<'_>, parts: &request::Parts, termination: Termination) {
        let &At {
            worker,
            settings,
            peer,
            ..
        } = at;
        self.times.end = self.now;
        let report = self.report(settings, peer, parts, termination);
        worker.count(|writer| {
            settings.stats.record(writer, &report);
            if let Some(route) = self.route.and_then(|place| settings.routes.get(place)) {
                if !self.is_begun {
                    route.began(writer);
                }
                route.record(writer, &report);
            }
            match (&self.backend, &self.upstream_stats) {
                (
                    Some(Picked {
                        stats: Some(stats), ..
                    }),
                    _,
                ) => stats.record(writer, &report),
                (None, Some(upstream)) => upstream.record_unplaced(writer, &report),
                _ => {}
            }
        });
        if let Some(span) = &self.span {
            finish_span(span, &report);
        }
        if let Some(log) = &settings.access_log {
            worker.log(log, &report);
        }
        for filter in &settings.filters {
            filter.on_report(&report);
        }
    }

    /// What was asked, as the client wrote it.
    fn line<'a>(&'a self, settings: &Settings, parts: &'a request::Parts) -> RequestLine<'a> {
        let field = |name: &header::HeaderName| parts.headers.get(name).map(|v| v.as_bytes());
        let authority = field(&header::HOST).unwrap_or(b"");
        let uri = self.asked.as_ref().unwrap_or(&parts.uri);
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let mut line = RequestLine::new(parts.method.as_str(), authority, path.as_bytes());
        line.referer = field(&header::REFERER);
        line.user_agent = field(&header::USER_AGENT);
        let id = match &settings.request_id {
            Some(request_id) => parts.headers.get(&request_id.name),
            None => parts.headers.get("x-request-id"),
        };
        line.id = id.map(|id| id.as_bytes());
        line
    }

    fn report<'a>(
        &'a self,
        settings: &'a Settings,
        peer: &'a Peer,
        parts: &'a request::Parts,
        termination: Termination,
    ) -> Report<'a> {
        let client = client_of(settings, peer, self.version);
        // Counters ask for nothing of the request, and most exchanges go to them alone.
        let is_told = settings.access_log.is_some() || !settings.filters.is_empty();
        let line = if is_told {
            self.line(settings, parts)
        } else {
            RequestLine::new("", b"", b"")
        };
        let mut report = Report::new(client, line);
        report.route = self.route.and_then(|place| settings.route_name(place));
        report.upstream = self.upstream.as_ref().map(Upstream::as_str);
        report.backend = self.backend.as_ref().map(|picked| {
            let mut side = BackendSide::new(picked.id, &picked.address);
            side.version = picked.version;
            side.tries = self.tries;
            side.reused = picked.is_reused;
            side.hedged = self.is_hedged;
            side.hedges = self.hedges;
            side
        });
        report.status = self.status;
        report.termination = termination;
        report.detail = self.detail;
        report.traffic = self.traffic;
        report.times = self.times;
        report
    }
}

/// Who asked, and what its handshake settled.
fn client_of<'a>(settings: &'a Settings, peer: &'a Peer, version: Version) -> ClientSide<'a> {
    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_mut, reason = "set by the feature")
    )]
    let mut client = ClientSide::new(peer.address, &settings.name, version);
    #[cfg(feature = "tls")]
    {
        client.tls = peer.tls.as_deref().map(|settled| Tls {
            version: settled.version,
            cipher: settled.cipher,
            server_name: settled.server_name.as_deref(),
            resumed: settled.resumed,
            client_certificate: settled
                .client_certificate
                .as_ref()
                .map(|shown| shown.subject.as_str()),
        });
    }
    client
}
