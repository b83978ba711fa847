//! Programs that others wrote speak HTTP through `clb`: curl, nghttp, Python's httpx.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use harness::clb::{Clb, pair};
use harness::host::{TempDir, free_address};
use harness::keys::Keys;
use harness::origin::{Origin, sum};
use harness::peer::{self, run};
use harness::process::{Launch, Process};
use harness::procfs::Protocol;
use harness::wait::PATIENCE;
use serde_json::{Value, json};

/// Debian's own, which has the packages that Debian brings.
const PYTHON: &str = "/usr/bin/python3";

/// The ways in: what is said to curl, and the version that it then speaks.
const WAYS: [(&str, &[&str], &str); 5] = [
    ("http", &["--http1.0"], "1.0"),
    ("http", &["--http1.1"], "1.1"),
    ("http", &["--http2-prior-knowledge"], "2"),
    ("https", &["--http1.1"], "1.1"),
    ("https", &["--http2"], "2"),
];

#[test]
fn curl_is_answered_in_every_version_and_on_one_connection() {
    let world = World::start();
    for (scheme, flags, version) in WAYS {
        // curl 7.88 cannot use a connection of prior knowledge twice, whoever is the server.
        let requests = if flags[0].ends_with("knowledge") {
            1
        } else {
            3
        };
        let url = world.url(scheme, &format!("/[1-{requests}]"));
        let form = "%{http_version} %{num_connects}\n";
        let seen = curl(&[flags, &["--write-out", form, &url]].concat());
        let lines: Vec<_> = seen.lines().collect();
        if version == "1.0" {
            // It is not kept alive unless that is asked for; a server may answer in either version.
            let each = |line: &&str| line.starts_with("hello1") && line.ends_with(" 1");
            assert!(
                lines.len() == requests && lines.iter().all(each),
                "{lines:?}"
            );
            continue;
        }
        let (first, next) = (format!("hello{version} 1"), format!("hello{version} 0"));
        let expected = [&first, &next, &next];
        assert_eq!(lines, expected[..requests], "{scheme} {flags:?}");
    }
}

#[test]
fn uploads_arrive_whole_with_and_without_a_length() {
    let world = World::start();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let dir = TempDir::new("upload");
    let path = dir.path().join("file");
    std::fs::write(&path, &bytes).unwrap();
    let path = path.to_str().unwrap();
    for (scheme, flags, version) in WAYS {
        let url = world.url(scheme, "/sink");
        for chunked in [false, true] {
            // HTTP/1.0 has no chunks.
            if chunked && version == "1.0" {
                continue;
            }
            let framing: &[&str] = if chunked {
                &["--header", "Transfer-Encoding: chunked"]
            } else {
                &[]
            };
            let sent = ["--upload-file", path, &url];
            let seen = json(&curl(&[flags, framing, &sent].concat()));
            let about = format!("{scheme} {flags:?} {framing:?}: {seen}");
            assert_eq!(seen["bytes"], json!(bytes.len()), "{about}");
            assert_eq!(seen["sum"], json!(sum(&bytes)), "{about}");
            assert_eq!(seen["method"], "PUT", "{about}");
        }
    }
}

#[test]
fn downloads_arrive_whole_with_and_without_a_length() {
    let world = World::start();
    for (scheme, flags, version) in WAYS {
        for path in ["/bytes/5000000", "/stream/5000000", "/bytes/0", "/stream/1"] {
            let url = world.url(scheme, path);
            let form = "%{http_code} %{size_download}";
            let out = ["--output", "/dev/null", "--write-out", form, &url];
            let seen = curl(&[flags, &out].concat());
            let bytes = path.rsplit('/').next().unwrap();
            assert_eq!(seen, format!("200 {bytes}"), "{scheme} {version} {path}");
        }
    }
}

#[test]
fn ranges_and_heads_are_those_of_the_server() {
    let back = free_address();
    let text = "0123456789".repeat(10_000);
    let _server = files(back, &text);
    let world = World::before(back);
    for (scheme, flags, _) in WAYS {
        let url = world.url(scheme, "/file");
        let part = curl(&[flags, &["--range", "99995-99999", &url]].concat());
        assert_eq!(part, "56789", "{scheme} {flags:?}");
        let form = "%{http_code} %{size_download}";
        let quiet = ["--output", "/dev/null", "--write-out", form];
        let past = [flags, &quiet, &["--range", "200000-", &url]].concat();
        assert!(curl(&past).starts_with("416 "), "{scheme} {flags:?}");
        let head = curl(&[flags, &["--head", &url]].concat()).to_lowercase();
        assert!(head.contains("content-length: 100000"), "{head}");
        assert!(head.contains("accept-ranges: bytes"), "{head}");
    }
}

#[test]
fn a_client_that_expects_100_gets_it_and_is_not_kept_waiting() {
    let world = World::start();
    // curl asks first when it has more than a megabyte to send.
    let big = "x".repeat(1_500_000);
    let dir = TempDir::new("expect");
    dir.write("file", &big);
    let file = format!("@{}", dir.path().join("file").display());
    for scheme in ["http", "https"] {
        let url = world.url(scheme, "/sink");
        let asks = ["--http1.1", "--verbose", "--header", "Expect: 100-continue"];
        let wait = ["--expect100-timeout", "30", "--max-time", "20"];
        let said = curl(&[&asks[..], &wait, &["--data-binary", &file, &url]].concat());
        assert!(said.contains("HTTP/1.1 100 Continue"), "{said}");
        assert!(said.contains("\"bytes\":1500000"), "{said}");
    }
}

#[test]
fn trailers_go_through_both_ways() {
    let world = World::start();
    let request = "POST /echo HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: x-sum\r\n\
                   Connection: close, TE\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";
    let answer = bare(world.plain, request.as_bytes()).unwrap();
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("hello"), "{answer}");
    assert!(answer.contains("x-sum: 42"), "{answer}");

    let seen = request.replace("/echo", "/sink");
    let answer = bare(world.plain, seen.as_bytes()).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("\"trailers\":{\"x-sum\":\"42\"}"),
        "{answer}"
    );
}

#[test]
fn statuses_are_passed_on_as_they_are() {
    let world = World::start();
    for (scheme, flags, _) in WAYS {
        for status in ["204", "304", "404", "418", "500", "503"] {
            let url = world.url(scheme, &format!("/status/{status}"));
            let form = ["--output", "/dev/null", "--write-out", "%{http_code}", &url];
            assert_eq!(curl(&[flags, &form].concat()), status, "{scheme} {flags:?}");
        }
    }
}

#[test]
fn nghttp_gets_many_streams_of_one_connection_by_tls_and_by_prior_knowledge() {
    let world = World::start();
    for scheme in ["http", "https"] {
        let urls: Vec<_> = ["/", "/bytes/300000", "/stream/100000", "/after/20"]
            .map(|path| world.url(scheme, path))
            .into();
        let ask = ["--no-verify-peer", "--null-out", "--stat"];
        let words = ask.into_iter().chain(urls.iter().map(String::as_str));
        let said = run("nghttp", words, PATIENCE);
        let lines = said.lines().filter(|line| line.contains(" 200 "));
        assert_eq!(lines.count(), urls.len(), "{said}");
    }
}

#[test]
fn httpx_sends_and_gets_in_both_versions() {
    let world = World::start();
    let script = "
import httpx, sys
for url, h2 in ((sys.argv[1], False), (sys.argv[2], False), (sys.argv[2], True)):
    with httpx.Client(http1=not h2, http2=h2, verify=False, timeout=10) as c:
        assert c.get(url + '/').text == 'hello'
        def parts():
            for n in range(100):
                yield bytes([n]) * 1000
        seen = c.post(url + '/sink', content=parts()).json()
        assert seen['bytes'] == 100000, seen
        sent = bytes(range(256)) * 2000
        r = c.post(url + '/echo', content=sent)
        assert r.content == sent and r.http_version == ('HTTP/2' if h2 else 'HTTP/1.1')
        with c.stream('GET', url + '/stream/3000000') as r:
            assert sum(len(b) for b in r.iter_bytes()) == 3000000
        assert c.head(url + '/bytes/9').headers['content-length'] == '9'
print('all was well')
";
    let mut python = Launch::new(PYTHON)
        .args(["client.py", &world.url("http", ""), &world.url("https", "")])
        .file("client.py", script)
        .start();
    let status = python.wait(3 * PATIENCE);
    assert!(status.success(), "{}", python.log());
    assert!(python.log().contains("all was well"), "{}", python.log());
}

#[test]
fn a_websocket_speaks_both_ways_through_the_proxy() {
    let back = free_address();
    let server = "
import asyncio, sys, websockets
async def echo(ws):
    async for message in ws:
        await ws.send(message)
async def main():
    async with websockets.serve(echo, '127.0.0.1', int(sys.argv[1]), max_size=None):
        await asyncio.Future()
asyncio.run(main())
";
    let _server = Launch::new(PYTHON)
        .args(["server.py", &back.port().to_string()])
        .file("server.py", server)
        .serving(Protocol::Tcp, back)
        .start();
    let world = World::before(back);
    let client = "
import asyncio, ssl, sys, websockets
async def main():
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    for url in sys.argv[1:]:
        more = {'ssl': trust} if url.startswith('wss') else {}
        async with websockets.connect(url, max_size=None, **more) as ws:
            for message in ('a', b'b' * 1000, 'c' * 1000000):
                await ws.send(message)
                assert await ws.recv() == message
            await (await ws.ping())
    print('all was well')
asyncio.run(main())
";
    let urls = ["http", "https"].map(|scheme| world.url(scheme, "/").replacen("http", "ws", 1));
    let mut python = Launch::new(PYTHON)
        .args(["client.py", &urls[0], &urls[1]])
        .file("client.py", client)
        .start();
    let status = python.wait(3 * PATIENCE);
    assert!(status.success(), "{}", python.log());
    assert!(python.log().contains("all was well"), "{}", python.log());
}

/// `clb` with one listener of each kind before one backend.
struct World {
    plain: SocketAddr,
    tls: SocketAddr,
    _clb: Clb,
    _origin: Option<Origin>,
}

impl World {
    fn start() -> Self {
        let origin = Origin::start();
        let world = Self::before(origin.address());
        Self {
            _origin: Some(origin),
            ..world
        }
    }

    fn before(back: SocketAddr) -> Self {
        let (plain, tls) = (free_address(), free_address());
        let file = pair("plain", "http", plain, back, "")
            + &pair("tls", "https", tls, back, &Keys::line());
        let clb = Clb::with_keys(&Keys::p256("a.test"), 2, &file)
            .serves(Protocol::Tcp, plain)
            .serves(Protocol::Tcp, tls);
        Self {
            plain,
            tls,
            _clb: clb,
            _origin: None,
        }
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        let address = if scheme == "http" {
            self.plain
        } else {
            self.tls
        };
        format!("{scheme}://{address}{path}")
    }
}

/// nginx that serves one file, parts of it, and what there is to know of it.
fn files(address: SocketAddr, text: &str) -> Process {
    peer::nginx(&format!(
        "user root; events {{}} http {{ access_log off; client_body_temp_path body;
             proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
             scgi_temp_path scgi; root .; server {{ listen {address}; }} }}"
    ))
    .file("file", text)
    .serving(Protocol::Tcp, address)
    .start()
}

/// Sends these bytes, and reads to the end of the connection.
fn bare(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[track_caller]
fn curl(words: &[&str]) -> String {
    let always = ["--silent", "--show-error", "--insecure"];
    run(
        "curl",
        always.into_iter().chain(words.iter().copied()),
        3 * PATIENCE,
    )
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
