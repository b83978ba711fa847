//! Terminates HTTPS for one site; its private key never leaves the key server.

use lb_keyserver::rustls::{RemoteTls, remote_provider};
use lb_keyserver::{KeyClient, MutualTls};
use lb_l7::tls::{Certificate, Certificates, Tls, TlsConfig, TlsPolicy};
use lb_l7::{HttpProxy, HttpService, Settings};
use lbcore::schedule::PeakEwma;
use lbcore::{Backend, Pool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let identity = MutualTls::from_pem_files("node.pem", "node-key.pem", "keys-ca.pem")?;
    let keys = KeyClient::connect(["keys-1.internal", "keys-2.internal"], identity).await?;

    let site = keys.certified_key("site.pem").await?;
    let site = Certificate::from_certified_key(site.into())?;
    let policy = TlsPolicy::modern().map_provider(remote_provider);
    let config = TlsConfig::default().policy(policy);
    let tls = Tls::new(Certificates::new().with(site), config)?;
    let tls = RemoteTls::choosing(move |hello| tls.server_config(hello).ok(), keys);

    let web = Pool::new(PeakEwma::default())
        .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?))
        .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?));
    let proxy = HttpProxy::new(Settings::to(web)?);
    let service = HttpService::new("[::]:443".parse()?, proxy);
    let server = service.accept(tls).bind().await?;
    server.run_until(tokio::signal::ctrl_c()).await;
    Ok(())
}
