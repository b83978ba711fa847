//! Answers that are compressed on their way through a proxy.
#![cfg(feature = "compress")]

mod wire;

use std::io::Read;
use std::time::Duration;

use http::Request;
use lb_l7::compress::{Codec, Compression};
use lb_l7::limit::RequestLimits;
use lb_l7::{Settings, Target};
use lbcore::budget::{Budget, BudgetConfig};
use wire::{Rig, Wire, field};

fn rig() -> Rig {
    Rig::new(|target| settings(target).compress(Compression::default()))
}

fn settings(target: Target) -> Settings {
    Settings::to(target).expect("one rule")
}

fn decode(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let read = match codec {
        Codec::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
        Codec::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
        Codec::Zstd => zstd::stream::read::Decoder::new(bytes)
            .and_then(|mut decoder| decoder.read_to_end(&mut text)),
        _ => panic!("a codec without a decoder"),
    };
    read.expect("it is whole");
    text
}

/// What can be read of a body that is still coming.
fn decode_so_far(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut room = [0; 512];
    let mut reader: Box<dyn Read + '_> = match codec {
        Codec::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Codec::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        _ => Box::new(zstd::stream::read::Decoder::new(bytes).expect("a frame")),
    };
    while let Ok(read) = reader.read(&mut room)
        && read > 0
    {
        text.extend_from_slice(&room[..read]);
    }
    text
}

fn page() -> String {
    "<p>the same again, and again</p>\n".repeat(100)
}

fn get(accepted: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accepted}\r\n\r\n")
}

fn answer(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

/// What a client gets for `request` of a backend that answers `response`.
async fn asked(rig: &mut Rig, request: &str, response: &str) -> (String, Wire) {
    let mut client = rig.client();
    client.send(request).await;
    let mut backend = rig.backend().await;
    backend.head().await;
    backend.send(response).await;
    let head = client.head().await;
    (head, client)
}

#[tokio::test(start_paused = true)]
async fn a_page_arrives_smaller_and_whole_in_each_coding() {
    for codec in Codec::ALL {
        let mut rig = rig();
        let fields = "Content-Type: text/html\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\n";
        let response = answer(fields, &page());
        let (head, mut client) = asked(&mut rig, &get(codec.as_str()), &response).await;
        assert_eq!(field(&head, "content-encoding"), Some(codec.as_str()));
        assert_eq!(field(&head, "vary"), Some("accept-encoding"));
        assert_eq!(field(&head, "etag"), Some("w/\"1\""));
        assert_eq!(field(&head, "content-length"), None);
        assert_eq!(field(&head, "accept-ranges"), None);
        let body = client.body(&head).await;
        assert!(body.len() < page().len() / 10, "{codec}: {}", body.len());
        assert_eq!(decode(codec, &body), page().as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_on_behind_a_compressed_answer() {
    let mut rig = rig();
    let mut client = rig.client();
    client.send(get("gzip")).await;
    let mut backend = rig.backend().await;
    for round in 0..3 {
        backend.head().await;
        let response = answer("Content-Type: text/css\r\n", &page());
        backend.send(&response).await;
        let head = client.head().await;
        let body = client.body(&head).await;
        assert_eq!(decode(Codec::Gzip, &body), page().as_bytes());
        if round < 2 {
            client.send(get("gzip")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_stay_as_it_is_does() {
    let (html, long) = ("Content-Type: text/html\r\n", page());
    let with = |fields: &str| format!("{html}{fields}");
    let varies = Some("accept-encoding");
    let rows = [
        (get("br;q=0, gzip;q=0"), answer(html, &long), varies),
        (get("identity"), answer(html, &long), varies),
        (get("gzip"), answer(html, "short"), None),
        (
            get("gzip"),
            answer("Content-Type: image/png\r\n", &long),
            None,
        ),
        (
            get("gzip"),
            answer(&with("Content-Encoding: deflate\r\n"), &long),
            None,
        ),
        (
            get("gzip"),
            answer(&with("Cache-Control: no-transform\r\n"), &long),
            None,
        ),
        (
            get("gzip"),
            answer(&with("Content-Digest: sha-256=:AA==:\r\n"), &long),
            None,
        ),
        (
            get("gzip"),
            answer(&with("Content-Range: bytes 0-3299/9999\r\n"), &long)
                .replace("200 OK", "206 Partial Content"),
            None,
        ),
        (
            get("gzip").replace("HTTP/1.1", "HTTP/1.0"),
            answer(html, &long),
            varies,
        ),
    ];
    for (request, response, vary) in rows {
        let mut rig = rig();
        let (head, mut client) = asked(&mut rig, &request, &response).await;
        let body = response.split_once("\r\n\r\n").expect("a head").1;
        assert_eq!(field(&head, "vary"), vary, "{response}");
        let length = body.len().to_string();
        assert_eq!(field(&head, "content-length"), Some(&*length), "{response}");
        assert_eq!(client.body(&head).await, body.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_stays_without_one() {
    let html = "Content-Type: text/html\r\nETag: \"1\"\r\n";
    let head = get("gzip").replace("GET", "HEAD");
    let unchanged = format!("HTTP/1.1 304 Not Modified\r\n{html}\r\n");
    let empty = format!("HTTP/1.1 204 No Content\r\n{html}\r\n");
    let page = format!("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n{html}\r\n");
    for (request, response, vary) in [
        (head, page, Some("accept-encoding")),
        (get("gzip"), unchanged, Some("accept-encoding")),
        (get("gzip"), empty, None),
    ] {
        let mut rig = rig();
        let mut client = rig.client();
        client.send(&request).await;
        let mut backend = rig.backend().await;
        backend.head().await;
        backend.send(&response).await;
        let head = client.head().await;
        assert_eq!(field(&head, "content-encoding"), None);
        assert_eq!(field(&head, "vary"), vary, "{response}");
        assert_eq!(field(&head, "etag"), Some("\"1\""));
        // The next head follows at once: there was no body.
        client.send(get("gzip")).await;
        backend.head().await;
        backend.send(answer("", "next")).await;
        let head = client.head().await;
        assert_eq!(client.body(&head).await, b"next");
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_not_held_back() {
    for codec in Codec::ALL {
        let mut rig = rig();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
                    Content-Type: text/event-stream\r\n\r\n";
        let mut client = rig.client();
        client.send(get(codec.as_str())).await;
        let mut backend = rig.backend().await;
        backend.head().await;
        backend.send(head).await;
        let head = client.head().await;
        assert_eq!(field(&head, "content-encoding"), Some(codec.as_str()));
        let (mut coded, mut events) = (Vec::new(), String::new());
        for n in 0..20 {
            let event = format!("data: {n}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            backend.send(&chunk).await;
            events.push_str(&event);
            // Nothing else comes: what is held back would be so for ever.
            while decode_so_far(codec, &coded) != events.as_bytes() {
                let chunk = tokio::time::timeout(Duration::from_secs(1), client.chunk()).await;
                coded.extend_from_slice(&chunk.expect("it is held back").expect("a chunk"));
            }
        }
        backend.send("0\r\n\r\n").await;
        while let Ok(chunk) = client.chunk().await {
            coded.extend_from_slice(&chunk);
        }
        assert_eq!(decode(codec, &coded), events.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_whole_for_a_reader_of_whatever_pace() {
    let body: String = (0..200_000)
        .map(|n| format!("{} ", n * 7919 % 10_007))
        .collect();
    for codec in Codec::ALL {
        let mut rig = rig();
        let mut client = rig.client();
        client.send(get(codec.as_str())).await;
        let mut backend = rig.backend().await;
        backend.head().await;
        let response = answer("Content-Type: application/json\r\n", &body);
        tokio::spawn(async move { backend.send(&response).await });
        let head = client.head().await;
        let mut coded = Vec::new();
        while let Ok(chunk) = client.chunk().await {
            coded.extend_from_slice(&chunk);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(field(&head, "content-encoding"), Some(codec.as_str()));
        assert!(decode(codec, &coded) == body.as_bytes(), "{codec}");
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_stay_behind_the_body() {
    let mut rig = rig();
    let request = get("zstd").replace("Host", "TE: trailers\r\nConnection: te\r\nHost");
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\
                    \r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n";
    let (_, mut client) = asked(&mut rig, &request, response).await;
    let mut coded = Vec::new();
    let trailers = loop {
        match client.chunk().await {
            Ok(chunk) => coded.extend_from_slice(&chunk),
            Err(trailers) => break trailers,
        }
    };
    assert_eq!(decode(Codec::Zstd, &coded), b"hello");
    assert_eq!(trailers.to_lowercase(), "x-sum: 5\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_shows_it() {
    let mut rig = rig();
    let mut client = rig.client();
    client.send(get("gzip")).await;
    let mut backend = rig.backend().await;
    backend.head().await;
    let response = answer("Content-Type: text/html\r\n", &page());
    backend.send(&response[..response.len() - 1]).await;
    drop(backend);
    let mut all = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut client.io, &mut all).await;
    assert!(read.is_ok());
    assert!(!all.ends_with(b"0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_target_may_do_without_or_by_itself() {
    for (target, settings, want) in [
        (Some(Compression::off()), Some(Compression::default()), None),
        (Some(Compression::default()), None, Some("gzip")),
        (None, None, None),
        (
            Some(Compression::default().codecs([Codec::Gzip])),
            Some(Compression::off()),
            Some("gzip"),
        ),
    ] {
        let mut rig = Rig::new(|mut to| {
            to.compress = target.map(Into::into);
            let mut all = self::settings(to);
            all.compress = settings.map(Into::into);
            all
        });
        let response = answer("Content-Type: text/html\r\n", &page());
        let (head, _) = asked(&mut rig, &get("gzip"), &response).await;
        assert_eq!(field(&head, "content-encoding"), want);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_asked_for_plain_answers_where_that_is_wanted() {
    for (offload, seen) in [(false, "gzip"), (true, "identity")] {
        let compression = Compression::default().offload(offload);
        let mut rig = Rig::new(|target| settings(target).compress(compression));
        let mut client = rig.client();
        client.send(get("gzip")).await;
        let mut backend = rig.backend().await;
        let head = backend.head().await;
        assert_eq!(field(&head, "accept-encoding"), Some(seen));
        let response = answer("Content-Type: text/html\r\n", &page());
        backend.send(&response).await;
        let head = client.head().await;
        assert_eq!(field(&head, "content-encoding"), Some("gzip"));
    }
}

#[tokio::test(start_paused = true)]
async fn without_memory_an_answer_stays_as_it_is() {
    for (room, want) in [(2 * Codec::Gzip.memory(5), Some("gzip")), (0, None)] {
        let bytes = 100 * 1024 + room;
        let budget = Budget::new(BudgetConfig::default().bytes(bytes).saving_percent(100));
        let limits = RequestLimits::default().budget(budget.clone());
        let mut rig = Rig::new(|target| {
            let settings = settings(target).limits(limits);
            settings.compress(Compression::default())
        });
        let response = answer("Content-Type: text/html\r\n", &page());
        let (head, mut client) = asked(&mut rig, &get("gzip"), &response).await;
        assert_eq!(field(&head, "content-encoding"), want);
        client.body(&head).await;
        drop(client);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(budget.stats(lbcore::budget::Resource::Bytes).used, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_http_2_is_compressed_and_flushed_too() {
    let mut rig = rig();
    let (mut send, connection) = h2::client::handshake(rig.stream()).await.expect("h2");
    tokio::spawn(connection);
    let request = Request::get("http://a/").header("accept-encoding", "br");
    let request = request.body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("a stream");
    let mut backend = rig.backend().await;
    backend.head().await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n";
    backend.send(head).await;
    let response = response.await.expect("an answer");
    assert_eq!(response.headers()["content-encoding"], "br");
    assert!(!response.headers().contains_key("content-length"));
    let mut body = response.into_body();
    let mut coded = Vec::new();
    backend.send("5\r\nhello\r\n").await;
    while decode_so_far(Codec::Brotli, &coded) != b"hello" {
        let data = body.data().await.expect("more").expect("data");
        coded.extend_from_slice(&data);
    }
    backend.send("0\r\n\r\n").await;
    while let Some(data) = body.data().await {
        coded.extend_from_slice(&data.expect("data"));
    }
    assert_eq!(decode(Codec::Brotli, &coded), b"hello");
}
