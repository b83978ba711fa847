//! What a WebSocket server answers is the same through the proxy: by the cases of Autobahn that
//! matter, as bytes, and by Autobahn itself where it is installed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use harness::client::Pattern;
use harness::host;
use harness::keys::Keys;
use harness::process::Launch;
use harness::proxy::{Proxy, Setup};
use harness::wait::PATIENCE;
use harness::websocket::{Backend, Client, Tunnel};
use http::Version;
use lb_l7::upstream::BackendProtocol;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Opcodes (RFC 6455, 5.2).
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The bit of the last fragment, and those that are reserved.
const FIN: u8 = 0x80;
const RESERVED: [u8; 3] = [0x40, 0x20, 0x10];

/// The longest message that the server takes.
const LARGEST: usize = 16 << 20;

/// Echoes messages; to what breaks a rule it says so, as RFC 6455, 7.1.7 wants, and reads on until
/// the client has left, so that no reset overtakes what it said.
async fn echo(tunnel: Tunnel) -> std::io::Result<()> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let mut socket = WebSocketStream::from_raw_socket(tunnel, Role::Server, Some(config)).await;
    let broken = loop {
        match socket.next().await {
            Some(Ok(message)) if message.is_text() || message.is_binary() => {
                if let Err(error) = socket.send(message).await {
                    break Some(error);
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    let _ = socket.flush().await;
    let tunnel = socket.get_mut();
    if let Some(error) = broken {
        let code: u16 = match error {
            Error::Utf8(_) => 1007,
            Error::Capacity(_) => 1009,
            _ => 1002,
        };
        let [high, low] = code.to_be_bytes();
        tunnel.write_all(&[FIN | CLOSE, 2, high, low]).await?;
    }
    tunnel.shutdown().await?;
    tokio::io::copy(tunnel, &mut tokio::io::sink()).await?;
    Ok(())
}

/// A frame of a client, whose first byte is as given.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0x80 | 126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    let masked = payload.iter().zip(KEY.iter().cycle());
    bytes.extend(masked.map(|(byte, key)| byte ^ key));
    bytes
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// Every case: its name, and what the client sends before it closes.
fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    lengths(&mut cases);
    headers(&mut cases);
    fragments(&mut cases);
    texts(&mut cases);
    closes(&mut cases);
    cases
}

type Cases = Vec<(String, Vec<u8>)>;

fn lengths(cases: &mut Cases) {
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 16 << 20] {
        let mut bytes = vec![0; length];
        Pattern::new(length as u64).fill(&mut bytes);
        cases.push((format!("binary of {length}"), frame(FIN | BINARY, &bytes)));
        if length <= 65_536 {
            let text = "*".repeat(length);
            cases.push((
                format!("text of {length}"),
                frame(FIN | TEXT, text.as_bytes()),
            ));
            for opcode in [PING, PONG] {
                // Above 125 a control frame is forbidden (RFC 6455, 5.5).
                let name = format!("control {opcode} of {length}");
                cases.push((name, frame(FIN | opcode, &bytes)));
            }
        }
    }
    for length in [0_u16, 125] {
        let longer = [
            &[FIN | BINARY, 0x80 | 126],
            &length.to_be_bytes()[..],
            &[0; 4],
        ]
        .concat();
        let payload = vec![0; length.into()];
        cases.push((
            format!("{length} written longer"),
            [longer, payload].concat(),
        ));
    }
    let huge = [&[FIN | BINARY, 0x80 | 127], &[0xff; 8][..], &[0; 4]].concat();
    cases.push(("a length of 2^64-1".into(), huge));
}

fn headers(cases: &mut Cases) {
    for bits in 1..8_u8 {
        let set = RESERVED.iter().enumerate();
        let set = set.filter(|(place, _)| bits >> place & 1 == 1);
        let set = set.fold(0, |set, (_, bit)| set | bit);
        for opcode in [TEXT, CLOSE, PING] {
            let name = format!("reserved bits {bits} of {opcode}");
            let before = frame(FIN | TEXT, b"before");
            cases.push((name, [before, frame(FIN | set | opcode, b"")].concat()));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in [&b""[..], b"payload"] {
            let name = format!("opcode {opcode} of {}", payload.len());
            let after = frame(FIN | PING, b"after");
            cases.push((name, [frame(FIN | opcode, payload), after].concat()));
        }
    }
    let bare = [&[FIN | TEXT, 5], &b"hello"[..]].concat();
    cases.push(("without a mask".into(), bare));
}

fn fragments(cases: &mut Cases) {
    let mut case = |name: &str, frames: &[(u8, &[u8])]| {
        let frames = frames.iter().map(|(first, payload)| frame(*first, payload));
        cases.push((name.into(), frames.collect::<Vec<_>>().concat()));
    };
    for opcode in [CLOSE, PING, PONG] {
        let name = format!("control {opcode} in fragments");
        case(&name, &[(opcode, b"a"), (FIN | CONTINUATION, b"b")]);
    }
    case("two", &[(TEXT, b"one"), (FIN | CONTINUATION, b"two")]);
    case(
        "empty ones",
        &[(TEXT, b""), (CONTINUATION, b""), (FIN | CONTINUATION, b"")],
    );
    case(
        "ping between",
        &[
            (BINARY, b"a"),
            (FIN | PING, b"p"),
            (FIN | CONTINUATION, b"b"),
        ],
    );
    case(
        "no beginning",
        &[(FIN | CONTINUATION, b"a"), (FIN | TEXT, b"b")],
    );
    case("nor an end", &[(CONTINUATION, b"a"), (FIN | TEXT, b"b")]);
    case("begun twice", &[(TEXT, b"a"), (FIN | TEXT, b"b")]);
    case(
        "close between",
        &[(TEXT, b"a"), (FIN | CLOSE, b""), (FIN | CONTINUATION, b"b")],
    );
    case("ten pings", &[(FIN | PING, &b"again"[..]); 10]);
    let bytes = vec![(CONTINUATION, &b"x"[..]); 1_000];
    case(
        "a thousand",
        &[
            &[(TEXT, &b"x"[..])],
            &bytes[..],
            &[(FIN | CONTINUATION, b"x")],
        ]
        .concat(),
    );
}

fn texts(cases: &mut Cases) {
    for (name, text) in [
        ("of two to four bytes", "κόσμε ✓ 𝄞".as_bytes()),
        ("not shortest", b"\xc0\x80"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("beyond the last", b"\xf4\x90\x80\x80"),
        ("no first byte", b"\x80"),
        ("no last byte", b"\xce"),
        ("wrong in the middle", b"hello \xff world"),
    ] {
        cases.push((format!("text {name}"), frame(FIN | TEXT, text)));
        let (first, last) = text.split_at(1);
        let cut = [frame(TEXT, first), frame(FIN | CONTINUATION, last)].concat();
        cases.push((format!("text {name}, cut"), cut));
        let close = frame(FIN | CLOSE, &[&1000_u16.to_be_bytes(), text].concat());
        cases.push((format!("reason {name}"), close));
    }
}

fn closes(cases: &mut Cases) {
    let good = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    let bad = [
        0, 999, 1004, 1005, 1006, 1012, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ];
    for code in good.into_iter().chain(bad) {
        cases.push((format!("close {code}"), close(code, b"")));
        cases.push((format!("close {code}, why"), close(code, b"why")));
    }
    cases.push(("close with one byte".into(), frame(FIN | CLOSE, b"1")));
    cases.push((
        "close with the longest reason".into(),
        close(1000, &[b'x'; 123]),
    ));
    cases.push((
        "close with a longer reason".into(),
        close(1000, &[b'x'; 124]),
    ));
    let twice = [
        close(1000, b""),
        frame(FIN | PING, b"late"),
        close(1001, b""),
    ]
    .concat();
    cases.push(("a ping after the close".into(), twice));
}

/// All that comes back until the end.
async fn answers(client: Client, server: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let opened = client.open(server, "/").await.expect("an answer");
    let (mut reader, mut writer) = tokio::io::split(opened.taken_up());
    let send = async {
        // One who was told that it broke a rule may find that nobody reads on.
        let _ = writer.write_all(sent).await;
        let _ = writer.write_all(&close(1000, b"the end")).await;
        let _ = writer.shutdown().await;
    };
    let mut came = Vec::new();
    let exchange = async { tokio::join!(send, reader.read_to_end(&mut came)) };
    let ((), read) = timeout(PATIENCE, exchange).await.expect("in time");
    read.expect("a clean end");
    came
}

fn before(backend: SocketAddr, version: Version, keys: Option<&Keys>) -> Proxy {
    let protocol = match version {
        Version::HTTP_2 => BackendProtocol::Http2,
        _ => BackendProtocol::Http1,
    };
    let setup = Setup::before(&[backend], protocol);
    match keys {
        Some(keys) => setup.tls(keys).start(),
        None => setup.start(),
    }
}

#[tokio::test]
async fn every_case_has_the_same_bytes_for_an_answer_through_the_proxy() {
    let keys = Keys::p256("a.test");
    let backends = [Version::HTTP_11, Version::HTTP_2].map(|v| (v, Backend::start(v, echo)));
    let mut proxies = Vec::new();
    for (version, backend) in &backends {
        for client in Client::ALL {
            let keys = client.tls.then_some(&keys);
            proxies.push((client, before(backend.address(), *version, keys)));
        }
    }
    let direct = Client::new(false, Version::HTTP_11);
    let mut kinds = BTreeMap::new();
    for (name, sent) in cases() {
        let expected = answers(direct, backends[0].1.address(), &sent).await;
        *kinds.entry(expected.first().copied()).or_insert(0) += 1;
        for (client, proxy) in &proxies {
            let came = answers(*client, proxy.address(), &sent).await;
            let (lengths, same) = ((came.len(), expected.len()), came == expected);
            assert!(same, "{name} by {client:?}: {lengths:?} bytes");
        }
    }
    // The table is one: some are echoed, some answered, some refused at once.
    for first in [TEXT, BINARY, CLOSE, PONG] {
        assert!(kinds.contains_key(&Some(FIN | first)), "{kinds:?}");
    }
}

#[test]
fn autobahn_judges_the_proxy_as_it_judges_its_backend() {
    if !host::has("wstest") {
        return host::unavailable("wstest, of the package autobahntestsuite for Python 2.7");
    }
    let backend = Backend::start(Version::HTTP_11, echo);
    let proxy = before(backend.address(), Version::HTTP_11, None);
    let server =
        |agent: &str, at: SocketAddr| json!({ "agent": agent, "url": format!("ws://{at}/") });
    let spec = json!({
        "outdir": "reports",
        "servers": [server("direct", backend.address()), server("proxied", proxy.address())],
        "cases": ["*"],
        // Mass messages and compression, which the server does not speak.
        "exclude-cases": ["9.*", "12.*", "13.*"],
        "exclude-agent-cases": {},
    });
    let args = ["--mode", "fuzzingclient", "--spec", "spec.json"];
    let launch = Launch::new("wstest").args(args);
    let mut wstest = launch.file("spec.json", &spec.to_string()).start();
    assert!(wstest.wait(AUTOBAHN).success(), "{}", wstest.log());
    let report = wstest.dir().read("reports/index.json");
    let report: Value = serde_json::from_str(&report).expect("a report");
    let verdicts = |agent: &str| -> BTreeMap<String, (String, String)> {
        let cases = report[agent].as_object().expect("its cases");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = |case: &Value| (text(&case["behavior"]), text(&case["behaviorClose"]));
        let pairs = cases.iter().map(|(name, case)| (name.clone(), told(case)));
        pairs.collect()
    };
    let direct = verdicts("direct");
    assert!(direct.len() > 240, "{} cases", direct.len());
    assert_eq!(verdicts("proxied"), direct);
}

/// How long two rounds of Autobahn may take.
const AUTOBAHN: Duration = Duration::from_secs(180);
