//! Pingora as a reverse proxy before one backend, for the races of `cargo bench -p tests`.
//!
//! ```sh
//! cargo build --release --manifest-path tests/peers/Cargo.toml --bin pingora_proxy
//! pingora_proxy pingora.yaml 127.0.0.1:8080 127.0.0.1:8081 [cert.pem key.pem]
//! ```
//!
//! With a certificate it speaks TLS, and h2 or HTTP/1.1 as ALPN says. It does nothing that the
//! race does not ask for: no modules, no access log, one peer, made once and copied for each
//! request as the trait demands. OpenSSL is that of the system, as it is for HAProxy and nginx.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::modules::http::HttpModules;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// Sends every request to one backend, over connections that are kept.
#[derive(Debug)]
struct Forward {
    backend: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.backend.clone()))
    }

    // By default there is one, for compression, that does nothing.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (conf, front, backend, keys) = match words.as_slice() {
        [conf, front, backend] => (conf, front, backend, None),
        [conf, front, backend, cert, key] => (conf, front, backend, Some((cert, key))),
        _ => return Error::e_explain(USAGE, "CONF FRONT BACKEND [CERT KEY]"),
    };
    let backend: SocketAddr = backend.parse().or_err(USAGE, "no address")?;
    let conf = ServerConf::load_from_yaml(conf)?;
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let conf = Arc::clone(&server.configuration);
    let backend = HttpPeer::new(backend, false, String::new());
    let mut service = http_proxy_service(&conf, Forward { backend });
    match keys {
        Some((cert, key)) => {
            let mut settings = TlsSettings::intermediate(cert, key)?;
            settings.enable_h2();
            service.add_tls_with_settings(front, None, settings);
        }
        None => service.add_tcp(front),
    }
    server.add_service(service);
    server.run_forever()
}

const USAGE: ErrorType = ErrorType::Custom("usage");
