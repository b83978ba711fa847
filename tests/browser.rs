//! A browser loads a page of 200 objects and speaks WebSocket, all over one connection of HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;

use bytes::Bytes;
use harness::host;
use harness::keys::Keys;
use harness::process::Launch;
use harness::proxy::Setup;
use harness::wait::PATIENCE;
use harness::websocket::echo;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lb_l7::stats::Protocol;
use lb_l7::upstream::BackendProtocol;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Loads a hundred images and a hundred texts at once, speaks WebSocket meanwhile, and tells how
/// many of the 201 went well, and over which protocol.
const PAGE: &str = r#"<!doctype html><title>many</title><link rel="icon" href="data:,"><script>
const jobs = [];
for (let n = 0; n < 100; n++) {
  jobs.push(new Promise((good, bad) => {
    const image = new Image(7, 7);
    image.onload = good; image.onerror = bad; image.src = "/image/" + n;
  }));
  jobs.push(fetch("/text/" + n).then(answer => answer.text()).then(text => {
    if (text !== "text " + n) throw text;
  }));
}
jobs.push(new Promise((good, bad) => {
  const socket = new WebSocket("wss://" + location.host + "/echo");
  socket.onopen = () => socket.send("to and fro");
  socket.onmessage = message => { socket.close(); message.data === "to and fro" ? good() : bad(); };
  socket.onerror = bad;
}));
Promise.allSettled(jobs).then(ended => {
  const good = ended.filter(job => job.status === "fulfilled").length;
  const protocol = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  fetch("/told", { method: "POST", body: good + " " + protocol });
});
</script>"#;

const IMAGE: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"></svg>"#;

/// A server of the page that ends with this value.
struct Site {
    address: SocketAddr,
    told: mpsc::Receiver<String>,
    _stop: oneshot::Sender<()>,
}

impl Site {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener may be");
        let address = listener.local_addr().expect("it is bound");
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::spawn(accept(listener, tell));
                // Whether it is told or forgotten, it ends.
                let _ = stopped.await;
            });
        });
        Self {
            address,
            told,
            _stop: stop,
        }
    }
}

async fn accept(listener: std::net::TcpListener, tell: mpsc::Sender<String>) {
    let listener = TcpListener::from_std(listener).expect("it is bound");
    while let Ok((stream, _)) = listener.accept().await {
        let tell = tell.clone();
        let service = service_fn(move |request| answer(request, tell.clone()));
        let http1 = hyper::server::conn::http1::Builder::new();
        let served = http1.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(served.with_upgrades());
    }
}

async fn answer(
    mut request: Request<Incoming>,
    tell: mpsc::Sender<String>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut segments = path.split('/').skip(1);
    let name = segments.next().unwrap_or_default();
    let number = segments.next().unwrap_or_default();
    Ok(match name {
        "" => typed("text/html", PAGE.into()),
        "image" => typed("image/svg+xml", IMAGE.into()),
        "text" => typed("text/plain", format!("text {number}")),
        "echo" => {
            let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async {
                let tunnel = upgraded.await.map_err(std::io::Error::other)?;
                echo(Box::new(TokioIo::new(tunnel))).await
            });
            let key = key.unwrap_or(header::HeaderValue::from_static(""));
            let switched = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "websocket")
                .header(
                    header::SEC_WEBSOCKET_ACCEPT,
                    derive_accept_key(key.as_bytes()),
                );
            switched.body(Full::default()).expect("a response")
        }
        "told" => {
            let body = request.into_body().collect().await;
            let body = body
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            // A test that has ended wants to hear no more.
            let _ = tell.send(String::from_utf8_lossy(&body).into_owned());
            typed("text/plain", String::new())
        }
        _ => {
            let mut missing = typed("text/plain", String::new());
            *missing.status_mut() = StatusCode::NOT_FOUND;
            missing
        }
    })
}

fn typed(kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().header(header::CONTENT_TYPE, kind);
    response.body(Full::new(body.into())).expect("a response")
}

#[test]
fn a_browser_loads_two_hundred_objects_and_echoes_over_one_connection() {
    if !host::has("chromium") {
        return host::skip("no chromium, of the Debian package of that name");
    }
    let site = Site::start();
    let proxy = Setup::before(&[site.address], BackendProtocol::Http1);
    let proxy = proxy.tls(&Keys::p256("a.test")).start();
    let url = format!("https://{}/", proxy.address());
    let profile = host::TempDir::new("chromium");
    let data = format!("--user-data-dir={}", profile.path().display());
    let quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
    ];
    let alone = [
        "--disable-background-networking",
        "--ignore-certificate-errors",
    ];
    let args = quiet.into_iter().chain(alone);
    let browser = Launch::new("chromium").args(args).arg(data);
    let browser = browser.arg("--remote-debugging-port=0").arg(url).start();
    let told = site.told.recv_timeout(PATIENCE * 3);
    let told = told.unwrap_or_else(|_| panic!("nothing is told:\n{}", browser.log()));
    assert_eq!(told, "201 h2");
    drop(browser);
    let figures = proxy.proxy().stats();
    // The page, its 201, and what it told: the WebSocket too came in a stream (RFC 8441).
    let requests = [Protocol::Http11, Protocol::Http2].map(|version| figures.requests(version));
    assert_eq!(requests, [0, 203], "{:?}", proxy.endings());
}
