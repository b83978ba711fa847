//! Spreads HTTP requests over two groups of servers, by their path.

use lb_l7::router::{Match, Rule};
use lb_l7::{HttpProxy, HttpService, Router, Settings, Target};
use lbcore::schedule::{LeastConnections, PeakEwma};
use lbcore::{Backend, Pool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let api = Pool::new(PeakEwma::default())
        .backend(Backend::new("api-1", "10.0.1.11:8080".parse()?))
        .backend(Backend::new("api-2", "10.0.1.12:8080".parse()?));
    let pages = Pool::new(LeastConnections::weighted())
        .backend(Backend::new("pages-1", "10.0.2.11:8080".parse()?).weight(2))
        .backend(Backend::new("pages-2", "10.0.2.12:8080".parse()?));
    let router = Router::builder()
        .rule(Rule::forward("api", Target::from(api)).on(Match::default().prefix("/api/")))
        .rule(Rule::forward("pages", Target::from(pages)))
        .build()?;

    let proxy = HttpProxy::new(Settings::new(router));
    let server = HttpService::new("[::]:8080".parse()?, proxy).bind().await?;
    server.run_until(tokio::signal::ctrl_c()).await;
    Ok(())
}
