//! The HTTP proxy in this process, before whatever backends a test has.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use lb_l7::h2_guard::H2Limits;
use lb_l7::server::{Raw, Secured, ServerConfig};
use lb_l7::tls::{BackendTls, Certificate, Certificates, Tls, TlsConfig};
use lb_l7::upstream::{BackendProtocol, UpstreamConfig};
use lb_l7::{HttpProxy, HttpService, Settings, Timeouts, Upstream};
use lbcore::backend::Address;
use lbcore::connect::Accept;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::sync::oneshot;

use crate::keys::Keys;

/// What a proxy is to be, before it runs.
#[derive(Debug)]
pub struct Setup {
    upstream: Upstream,
    change: Vec<Change>,
    keys: Option<Keys>,
    server: ServerConfig,
}

/// What is different from the defaults of [`Settings`].
#[derive(Debug)]
enum Change {
    Http2(H2Limits),
    Timeouts(Timeouts),
}

impl Setup {
    /// A proxy that takes its backends in turn, and speaks `protocol` to them, in the clear.
    #[must_use]
    pub fn before(backends: &[SocketAddr], protocol: BackendProtocol) -> Self {
        let named = backends.iter().enumerate().map(|(place, address)| {
            let name = format!("backend-{place}");
            Backend::new(&name, Address::from(*address))
        });
        let pool = named.fold(Pool::new(RoundRobin), Pool::backend);
        let config = UpstreamConfig::default().protocol(protocol).workers(1);
        Self {
            upstream: Upstream::new(pool)
                .config(config)
                .expect("the values are in range"),
            change: Vec::new(),
            keys: None,
            server: ServerConfig::default(),
        }
    }

    /// Speaks TLS to the backends.
    #[must_use]
    pub fn backend_tls(mut self, tls: BackendTls) -> Self {
        self.upstream = self.upstream.tls(tls);
        self
    }

    /// Speaks TLS to clients, and offers HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn tls(mut self, keys: &Keys) -> Self {
        self.keys = Some(keys.clone());
        self
    }

    /// Has these timeouts.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.change.push(Change::Timeouts(timeouts));
        self
    }

    /// Lets clients of HTTP/2 do that much.
    #[must_use]
    pub fn http2(mut self, limits: H2Limits) -> Self {
        self.change.push(Change::Http2(limits));
        self
    }

    /// How long a drain lasts at most.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.server.drain_timeout = timeout;
        self
    }

    /// Runs it on a thread of its own, by one worker, on a free loopback port.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Proxy {
        let settings = Settings::to(self.upstream).expect("one rule is a router");
        let settings = (self.change.into_iter()).fold(settings, |settings, change| match change {
            Change::Http2(limits) => settings.http2(limits),
            Change::Timeouts(timeouts) => settings.timeouts(timeouts),
        });
        let proxy = HttpProxy::with_workers(settings, 1);
        let address = "127.0.0.1:0".parse().expect("an address");
        let service = HttpService::new(address, proxy.clone()).config(self.server);
        match self.keys {
            None => Proxy::run(service, proxy),
            Some(keys) => {
                let certificate = Certificate::from_pem(keys.cert.as_bytes(), keys.key.as_bytes())
                    .expect("a certificate and its key");
                let certificates = Certificates::new().default_for_others(certificate);
                let tls = Tls::new(certificates, TlsConfig::default()).expect("TLS");
                Proxy::run(service.accept(tls), proxy)
            }
        }
    }
}

/// A proxy that runs; it and its connections end with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    proxy: HttpProxy,
    drain: Option<oneshot::Sender<()>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    #[track_caller]
    fn run<A>(service: HttpService<A>, proxy: HttpProxy) -> Self
    where
        A: Accept<Raw> + 'static,
        A::Stream: Secured,
    {
        let (tell, told) = mpsc::channel();
        let (drain, drained) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = service.bind().await.expect("a port is free");
                let address = match server.addresses() {
                    [Address::Socket(address)] => *address,
                    others => panic!("not one address: {others:?}"),
                };
                tell.send(address).expect("who starts it waits");
                let told_to_drain = async {
                    if drained.await.is_err() {
                        // Never told: it runs to its end.
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = server.run_until(told_to_drain) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address: told.recv().expect("it listens"),
            proxy,
            drain: Some(drain),
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The proxy, with all that it counts.
    #[must_use]
    pub fn proxy(&self) -> &HttpProxy {
        &self.proxy
    }

    /// Begins its drain, after which it ends.
    pub fn drain(&mut self) {
        // One that has ended has nothing to drain.
        let _ = self.drain.take().map(|drain| drain.send(()));
    }

    /// The codes by which exchanges have ended, with how often.
    #[must_use]
    pub fn endings(&self) -> Vec<(&'static str, u64)> {
        let figures = self.proxy.stats();
        let counted = figures.terminations().filter(|(_, times)| *times > 0);
        counted.map(|(how, times)| (how.as_str(), times)).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // What failed there has been told by the test.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::origin::Origin;
    use crate::peer::run;
    use crate::wait::{PATIENCE, eventually};

    #[test]
    fn curl_is_served_in_both_versions_with_and_without_tls() {
        let origin = Origin::start();
        let keys = Keys::p256("a.test");
        for protocol in [BackendProtocol::Http1, BackendProtocol::Http2] {
            let plain = Setup::before(&[origin.address()], protocol).start();
            let secured = Setup::before(&[origin.address()], protocol).tls(&keys);
            let secured = secured.start();
            for (scheme, address, version) in [
                ("http", plain.address(), "--http1.1"),
                ("http", plain.address(), "--http2-prior-knowledge"),
                ("https", secured.address(), "--http1.1"),
                ("https", secured.address(), "--http2"),
            ] {
                let url = format!("{scheme}://{address}/");
                let words = ["--silent", "--insecure", version, &url];
                assert_eq!(run("curl", words, PATIENCE), "hello", "{words:?}");
            }
            assert_eq!(plain.endings(), [("done", 2)]);
        }
    }

    #[test]
    fn a_drained_proxy_ends_and_a_dropped_one_is_gone() {
        let backends = [free_address()];
        let mut proxy = Setup::before(&backends, BackendProtocol::Http1).start();
        let address = proxy.address();
        proxy.drain();
        eventually(PATIENCE, "nobody listens", || {
            std::net::TcpStream::connect(address).is_err()
        });

        let proxy = Setup::before(&backends, BackendProtocol::Http1).start();
        let address = proxy.address();
        drop(proxy);
        std::net::TcpStream::connect(address).unwrap_err();
    }
}
