//! Terminates HTTPS for two sites, and sends whoever comes in the clear to where it is not.

use http::uri::Scheme;
use lb_l7::router::{Action, Redirect, RedirectStatus, Rule};
use lb_l7::tls::{Certificate, Certificates, Tls, TlsConfig};
use lb_l7::{HttpProxy, HttpService, Router, Settings, Target};
use lbcore::schedule::PeakEwma;
use lbcore::{Backend, Pool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let web = Pool::new(PeakEwma::default())
        .backend(Backend::new("web-1", "10.0.0.11:8080".parse()?))
        .backend(Backend::new("web-2", "10.0.0.12:8080".parse()?));
    let shop = Certificate::from_pem_files("shop.pem", "shop-key.pem")?;
    let blog = Certificate::from_pem_files("blog.pem", "blog-key.pem")?;
    let certificates = Certificates::new().with(shop).with(blog);
    let tls = Tls::new(certificates, TlsConfig::default())?;

    let to_https = Redirect::new(RedirectStatus::PermanentRedirect).scheme(Scheme::HTTPS);
    let moved = Rule::<Target>::new("to-https", Action::Redirect(to_https));
    let moved = Settings::new(Router::builder().rule(moved).build()?);

    let secure = HttpService::new("[::]:443".parse()?, HttpProxy::new(Settings::to(web)?));
    let secure = secure.accept(tls).bind().await?;
    let plain = HttpService::new("[::]:80".parse()?, HttpProxy::new(moved))
        .bind()
        .await?;
    tokio::join!(
        secure.run_until(tokio::signal::ctrl_c()),
        plain.run_until(tokio::signal::ctrl_c()),
    );
    Ok(())
}
