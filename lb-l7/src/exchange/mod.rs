//! One exchange: a request that is whole up to its body, and what becomes of it.
//!
//! ```text
//!   Front ── Incoming ──▶ admit ─▶ filters ─▶ router ─┬─▶ answer (redirect, fixed, refused)
//!                                                     └─▶ try ─▶ try again? ─▶ bodies ─▶ Report
//! ```
//!
//! All of it is one future, polled within its client's task: nothing is spawned, and no piece of a
//! body waits in a queue between two tasks.

mod answer;
mod attempt;
mod back;
mod coding;
mod flow;
mod forward;
mod hedge;
mod record;
mod replay;
mod upgrade;

use std::net::IpAddr;

use http::{HeaderValue, Method, Version, request};
use lbcore::Instant;
use tracing::{Instrument, Span};

use crate::body::BodyLength;
use crate::clock;
use crate::drain::Drain;
use crate::filter::Decision;
use crate::front::Front;
use crate::h1::Rejection;
use crate::headers::identity::Hop;
use crate::headers::{Direction, hop_by_hop};
use crate::limit::{Admitted, LimitReached};
use crate::peer::Peer;
use crate::report::{Party, Phase, Termination, Why};
use crate::router::Action;
use crate::settings::Settings;
use crate::timeout::Alarm;
use crate::worker::Worker;
use record::Record;

/// A request that a front has read, up to its body.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// In normal form: origin-form target, one `host`.
    pub(crate) parts: request::Parts,
    pub(crate) length: BodyLength,
    /// Whether the client waits for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
    /// The protocol that the client wants to change to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Bytes of the head.
    pub(crate) head_bytes: u64,
    /// When its connection, or the wait for it, began.
    pub(crate) accepted: Instant,
    /// When its head had come.
    pub(crate) begun: Instant,
}

impl Incoming {
    /// What stands for a request of which nothing is known.
    pub(crate) fn none(accepted: Instant) -> Self {
        Self {
            parts: http::Request::new(()).into_parts().0,
            length: BodyLength::Empty,
            expects_continue: false,
            upgrade: None,
            head_bytes: 0,
            accepted,
            begun: clock::now(),
        }
    }
}

/// Where an exchange takes place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) settings: &'a Settings,
    pub(crate) peer: &'a Peer,
    /// What backends are told of `peer`.
    pub(crate) hop: &'a Hop,
    pub(crate) drain: &'a Drain,
}

/// An exchange under way.
struct Exchange<'a, F> {
    worker: &'a Worker,
    settings: &'a Settings,
    peer: &'a Peer,
    hop: &'a Hop,
    drain: &'a Drain,
    front: &'a mut F,
    alarm: &'a mut Alarm,
    record: &'a mut Record,
    /// The client itself, as far as its proxies are believed.
    client: IpAddr,
    /// Its place among the requests under way.
    admitted: Admitted,
    /// The time, as of the last thing that was waited for: reading a clock costs as much as a
    /// field does.
    now: Instant,
    /// Whether the client has a head: what goes wrong after that cannot be told by a status.
    is_answered: bool,
}

/// A request and the notes on it, which are reported once, however it ends.
///
/// The future of an exchange can be dropped at any of its waits: by a server whose drain has lasted
/// long enough, by a program that has had enough of a connection.
struct Noted<'a> {
    at: At<'a>,
    record: Record,
    incoming: &'a mut Incoming,
    /// Who has had enough, if it is dropped, and why.
    dropped_by: (Party, Why),
    is_reported: bool,
}

impl<'a> Noted<'a> {
    fn new(at: At<'a>, version: Version, incoming: &'a mut Incoming) -> Self {
        Self {
            at,
            record: Record::new(incoming, version),
            incoming,
            dropped_by: (Party::Proxy, Why::Drained),
            is_reported: false,
        }
    }

    fn exchange<'b, F: Front>(
        &'b mut self,
        front: &'b mut F,
        alarm: &'b mut Alarm,
    ) -> (Exchange<'b, F>, &'b mut Incoming) {
        let At {
            worker,
            settings,
            peer,
            hop,
            drain,
        } = self.at;
        let exchange = Exchange {
            worker,
            settings,
            peer,
            hop,
            drain,
            front,
            alarm,
            record: &mut self.record,
            client: hop.peer(),
            admitted: Admitted::default(),
            now: self.incoming.begun,
            is_answered: false,
        };
        (exchange, self.incoming)
    }

    /// Opens the span of the exchange, which its report closes.
    fn open_span(&mut self) -> Span {
        self.record.open_span(&self.at, &self.incoming.parts)
    }

    fn report(&mut self, ended: Termination) {
        self.is_reported = true;
        self.record.finish(&self.at, &self.incoming.parts, ended);
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if !self.is_reported {
            self.record.now = clock::now();
            let (party, why) = self.dropped_by;
            self.report(Termination::new(party, self.record.phase(), why));
        }
    }
}

/// Carries `incoming` out to its end, and gives back the time.
pub(crate) async fn run<F: Front>(
    at: &At<'_>,
    front: &mut F,
    alarm: &mut Alarm,
    incoming: &mut Incoming,
) -> Instant {
    let mut noted = Noted::new(*at, front.version(), incoming);
    noted.dropped_by = front.dropped_by();
    let is_traced = tracing::enabled!(target: "lb_l7::exchange", tracing::Level::DEBUG);
    let span = is_traced.then(|| noted.open_span());
    let (mut exchange, incoming) = noted.exchange(front, alarm);
    let ended = match span {
        // Boxed, so that who does not trace does not hold its future twice.
        Some(span) => Box::pin(exchange.serve(incoming)).instrument(span).await,
        None => exchange.serve(incoming).await,
    };
    exchange.front.ended(ended, exchange.record.detail);
    noted.report(ended);
    noted.record.now
}

/// Answers a client of whom no request could be made.
pub(crate) async fn refuse<F: Front>(
    at: &At<'_>,
    front: &mut F,
    alarm: &mut Alarm,
    accepted: Instant,
    ended: Termination,
    rejection: Option<&Rejection>,
) {
    let mut none = Incoming::none(accepted);
    let mut noted = Noted::new(*at, front.version(), &mut none);
    noted.record.detail = rejection.map(|rejection| rejection.as_str());
    let (mut exchange, incoming) = noted.exchange(front, alarm);
    match rejection {
        Some(rejection) => {
            exchange.front.close_after();
            let response = exchange.explained(rejection.status(), ended);
            exchange.respond_with(incoming, response).await;
        }
        None => drop(exchange.refuse(incoming, ended).await),
    }
    noted.report(ended);
}

/// Reports a request that was no request, and that has been answered.
pub(crate) fn note(at: &At<'_>, version: Version, ended: Termination, detail: &'static str) {
    let mut none = Incoming::none(clock::now());
    let mut noted = Noted::new(*at, version, &mut none);
    noted.record.detail = Some(detail);
    noted.report(ended);
}

/// An exchange that ends before a backend is asked.
pub(crate) const fn refused(phase: Phase, why: Why) -> Termination {
    Termination::new(Party::Proxy, phase, why)
}

impl<F: Front> Exchange<'_, F> {
    /// The time, after something has been waited for.
    fn tick(&mut self) -> Instant {
        self.now = clock::now();
        self.record.now = self.now;
        self.now
    }

    async fn serve(&mut self, incoming: &mut Incoming) -> Termination {
        match self.prepare(incoming).await {
            Ok(()) => self.route(incoming).await,
            Err(ended) => self.refuse(incoming, ended).await,
        }
    }

    /// Takes off what is the connection's alone, and asks who may refuse.
    async fn prepare(&mut self, incoming: &mut Incoming) -> Result<(), Termination> {
        let malformed = Termination::new(Party::Client, Phase::RequestHead, Why::Malformed);
        upgrade::offer(incoming);
        let parts = &mut incoming.parts;
        let removed = hop_by_hop::remove(&mut parts.headers, Direction::Request);
        let removed = removed.map_err(|_| malformed)?;
        self.record.protected_nominations = removed.protected_nominations;
        if parts.method == Method::CONNECT {
            // This proxy stands in front of servers, and opens no way to anywhere else. What follows
            // may be bytes for that way, sent ahead, and is no request.
            self.front.close_after();
            return Err(Termination::new(
                Party::Client,
                Phase::RequestHead,
                Why::Unsupported,
            ));
        }
        if self.is_misdirected(parts) {
            let why = Why::Misdirected;
            return Err(Termination::new(Party::Client, Phase::RequestHead, why));
        }
        if incoming
            .length
            .exact()
            .is_some_and(|n| n > self.settings.body_limit)
        {
            let why = Why::TooLarge;
            return Err(Termination::new(Party::Client, Phase::RequestBody, why));
        }
        self.settings.router.normalise(parts).map_err(|fault| {
            self.record.detail = Some(fault.as_str());
            malformed
        })?;
        self.client = self
            .settings
            .identity
            .client_address(self.hop, &parts.headers);
        self.settings
            .certify(self.peer, self.hop, &mut parts.headers);
        self.admit()
    }

    /// Whether the request is for a name that this connection was not made for (RFC 9110, 7.4).
    #[cfg(feature = "tls")]
    fn is_misdirected(&self, parts: &request::Parts) -> bool {
        if !self.settings.match_server_name {
            return false;
        }
        let Some(named) = self
            .peer
            .tls
            .as_ref()
            .and_then(|tls| tls.server_name.as_deref())
        else {
            return false;
        };
        let host = parts.headers.get(http::header::HOST);
        !host.is_some_and(|host| {
            answer::host_of(host.as_bytes()).eq_ignore_ascii_case(named.as_bytes())
        })
    }

    #[cfg(not(feature = "tls"))]
    fn is_misdirected(&self, _: &request::Parts) -> bool {
        false
    }

    /// Whether the limits let this request in; it counts as under way from here on.
    fn admit(&mut self) -> Result<(), Termination> {
        match self.settings.gate.admit(self.now, self.client) {
            Ok(admitted) => {
                self.admitted = admitted;
                Ok(())
            }
            Err(turned) => {
                self.record.retry_after = turned.retry_after;
                Err(self.turned(turned.by))
            }
        }
    }

    fn turned(&mut self, by: LimitReached) -> Termination {
        self.record.detail = Some(by.as_str());
        refused(Phase::RequestHead, by.why())
    }

    async fn route(&mut self, incoming: &mut Incoming) -> Termination {
        for filter in &self.settings.filters {
            let mut decision = filter.on_request(&mut incoming.parts, self.peer);
            while let Decision::Wait(asked) = decision {
                decision = asked.await;
                self.tick();
            }
            match decision {
                Decision::Continue | Decision::Wait(_) => {}
                Decision::Add(fields) => incoming.parts.headers.extend(fields),
                Decision::Respond(response) => {
                    return self.respond_with(incoming, *response).await;
                }
            }
        }
        let entropy = self.worker.entropy();
        let Some(matched) = self.settings.router.route(&incoming.parts, entropy) else {
            return self
                .refuse(incoming, refused(Phase::RequestHead, Why::NoRoute))
                .await;
        };
        self.record.route = Some(matched.place());
        let clients = matched.rule().clients.as_ref();
        if clients.is_some_and(|clients| !clients.allows(self.client)) {
            let by = LimitReached::RouteRules;
            self.settings.gate.count(by);
            let ended = self.turned(by);
            return self.refuse(incoming, ended).await;
        }
        match matched.action() {
            Action::Forward(_) => match matched.target() {
                Some(target) => self.forward(incoming, matched, target).await,
                None => {
                    self.refuse(incoming, refused(Phase::RequestHead, Why::NoRoute))
                        .await
                }
            },
            Action::Redirect(redirect) => {
                let status = redirect.status.code();
                self.redirect(incoming, matched, status).await
            }
            Action::Respond(respond) => self.respond(incoming, matched, respond).await,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use std::sync::{Arc, Mutex};

    use lbcore::Pool;
    use lbcore::schedule::RoundRobin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::tls::Handshake;
    use crate::{Filter, HttpProxy, Peer, Report, Settings};

    /// The status of a request of `host` over TLS made for `named`; 503 is that of no backend.
    async fn status(named: Option<&str>, host: &str) -> String {
        let proxy = HttpProxy::new(Settings::to(Pool::new(RoundRobin)).unwrap());
        let (mut client, stream) = tokio::io::duplex(4096);
        let mut peer = Peer::unnamed();
        peer.tls = Some(Arc::new(Handshake::naming(named)));
        tokio::spawn(async move { proxy.serve_connection(stream, peer).await });
        let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    /// RFC 9110, 7.4.
    #[tokio::test(start_paused = true)]
    async fn a_request_for_another_name_than_the_handshake_named_is_misdirected() {
        for (named, host, expected) in [
            (Some("a.example"), "a.example", "503"),
            (Some("a.example"), "A.Example:8443", "503"),
            (Some("a.example"), "a.example.", "503"),
            (Some("a.example"), "b.example", "421"),
            (Some("a.example"), "b.a.example", "421"),
            (Some("a.example"), "a.example.b", "421"),
            (Some("a.example"), "[::1]:443", "421"),
            (None, "b.example", "503"),
        ] {
            assert_eq!(status(named, host).await, expected, "{named:?} {host}");
        }
    }

    /// Keeps what each report says of the handshake.
    #[derive(Debug)]
    struct Told(Arc<Mutex<Vec<Option<String>>>>);

    impl Filter for Told {
        fn on_report(&self, report: &Report<'_>) {
            let named = report
                .client
                .tls
                .map(|tls| tls.server_name.map(str::to_owned));
            self.0.lock().unwrap().push(named.flatten());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_tells_what_the_handshake_settled() {
        let told = Arc::default();
        let settings = Settings::to(Pool::new(RoundRobin)).unwrap();
        let proxy = HttpProxy::new(settings.filter(Told(Arc::clone(&told))));
        let mut peer = Peer::unnamed();
        peer.tls = Some(Arc::new(Handshake::naming(Some("a.example"))));
        for peer in [peer, Peer::unnamed()] {
            let (mut client, stream) = tokio::io::duplex(4096);
            let request = b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n";
            client.write_all(request).await.unwrap();
            proxy.serve_connection(stream, peer).await;
        }
        let told = told.lock().unwrap();
        assert_eq!(*told, [Some("a.example".to_owned()), None]);
    }
}
