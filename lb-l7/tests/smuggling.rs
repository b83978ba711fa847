//! What clients send to smuggle a request past a proxy, and the verdict of the codec on each.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets what it does not expect has failed"
)]

#[expect(
    dead_code,
    unused_imports,
    reason = "the tests of exchanges use the rest"
)]
#[path = "exchange/rig/mod.rs"]
mod rig;
#[path = "smuggling/table/mod.rs"]
mod table;

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version, header};
use lb_l7::h1::{BodyDecoder, HeadLimits, Piece, Rejection, Scan, emit_request, parse_request};
use lb_l7::router::{Normalise, PathPolicy, Router, Rule};
use lb_l7::{Settings, Target};
use table::{End, Row, rows};

/// What came of one connection's bytes.
#[derive(Debug, Eq, PartialEq)]
struct Read {
    seen: Vec<(String, String, String, Vec<u8>)>,
    end: End,
}

/// One connection of a server that reads all its requests.
struct Reader {
    buffer: BytesMut,
    scan: Scan,
    fields: HeaderMap,
    body: Option<BodyDecoder>,
    read: Read,
}

impl Reader {
    fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            scan: Scan::default(),
            fields: HeaderMap::new(),
            body: None,
            read: Read {
                seen: Vec::new(),
                end: End::Clean,
            },
        }
    }

    /// Takes these bytes as if they came alone.
    fn handle_bytes(&mut self, bytes: &[u8], keep_alive: &mut bool) -> Result<(), End> {
        self.buffer.extend_from_slice(bytes);
        while *keep_alive || self.body.is_some() {
            if let Some(body) = &mut self.body {
                match body.decode(&mut self.buffer).map_err(End::Body)? {
                    None => return Ok(()),
                    Some(Piece::Data(data)) => {
                        let (.., content) = self.read.seen.last_mut().expect("a head came before");
                        content.extend_from_slice(&data);
                    }
                    Some(Piece::Trailers(_)) => {}
                    Some(Piece::End) => self.body = None,
                }
                continue;
            }
            let limits = HeadLimits::default();
            let parsed = parse_request(&mut self.buffer, &mut self.scan, &limits, &mut self.fields);
            let Some(request) = parsed.map_err(End::Head)? else {
                return Ok(());
            };
            self.body = Some(BodyDecoder::new(request.length));
            *keep_alive = request.keep_alive;
            let fields = &request.parts.headers;
            assert_eq!(fields.get_all(header::HOST).iter().count(), 1);
            assert!(!fields.contains_key(header::CONTENT_LENGTH));
            assert!(!fields.contains_key(header::TRANSFER_ENCODING));
            let host = String::from_utf8(fields[header::HOST].as_bytes().to_vec());
            self.read.seen.push((
                request.parts.method.to_string(),
                request.parts.uri.to_string(),
                host.expect("a host is ASCII"),
                Vec::new(),
            ));
        }
        Ok(())
    }

    /// What came of it all.
    fn finish(mut self, result: Result<(), End>, keep_alive: bool) -> Read {
        self.read.end = match result {
            Err(end) => end,
            Ok(()) if self.body.is_some() => End::BodyUnfinished,
            Ok(()) if self.buffer.is_empty() => End::Clean,
            Ok(()) if keep_alive => End::HeadUnfinished,
            Ok(()) => End::Closed,
        };
        if matches!(self.read.end, End::Body(_) | End::BodyUnfinished) {
            self.read.seen.pop();
        }
        self.read
    }
}

/// Reads what comes in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut reader, mut keep_alive) = (Reader::new(), true);
    let mut pieces = pieces.into_iter();
    let result = pieces.try_for_each(|piece| reader.handle_bytes(piece, &mut keep_alive));
    reader.finish(result, keep_alive)
}

fn expected(row: &Row) -> Read {
    let owned = |seen: &table::Seen| {
        let (method, target, host) = (seen.method, seen.target, seen.host);
        let body = seen.body.as_bytes().to_vec();
        (method.into(), target.into(), host.into(), body)
    };
    Read {
        seen: row.seen.iter().map(owned).collect(),
        end: row.end,
    }
}

#[test]
fn every_row_is_read_as_the_table_says() {
    let wrong: Vec<_> = rows()
        .map(|row| (row.name, expected(&row), read([row.bytes])))
        .filter(|(_, expected, read)| expected != read)
        .collect();
    assert!(wrong.is_empty(), "{} rows: {wrong:#?}", wrong.len());
}

#[test]
fn no_row_is_read_otherwise_when_it_comes_byte_by_byte() {
    for row in rows() {
        assert_eq!(read(row.bytes.chunks(1)), read([row.bytes]), "{}", row.name);
    }
}

#[test]
fn no_row_is_read_otherwise_when_it_comes_in_two_pieces() {
    for row in rows() {
        for at in 0..=row.bytes.len() {
            let (first, second) = row.bytes.split_at(at);
            let read_in_two = read([first, second]);
            assert_eq!(read_in_two, read([row.bytes]), "{} at {at}", row.name);
        }
    }
}

#[test]
fn the_table_is_large_its_names_are_unique_and_it_shows_every_reason_of_a_request() {
    let names: HashSet<_> = rows().map(|row| row.name).collect();
    assert_eq!(names.len(), rows().count());
    assert!(names.len() >= 300, "{} rows", names.len());

    let shown: HashSet<_> = rows()
        .filter_map(|row| match row.end {
            End::Head(reason) | End::Body(reason) => Some(reason),
            _ => None,
        })
        .collect();
    // These need more bytes than a row should have, or are of other sides.
    let elsewhere = [
        Rejection::ChunkExtensionsTooLarge,
        Rejection::HeadTooLarge,
        Rejection::StatusLine,
        Rejection::TargetTooLong,
        Rejection::TooManyFields,
        Rejection::Truncated,
    ];
    for &reason in Rejection::ALL {
        assert_ne!(
            shown.contains(&reason),
            elsewhere.contains(&reason),
            "{reason:?}"
        );
    }
}

#[test]
fn what_is_sent_on_for_a_row_is_read_as_the_same_request() {
    for row in rows() {
        let mut buffer = BytesMut::from(row.bytes);
        let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
        let parsed = parse_request(&mut buffer, &mut Scan::default(), &limits, &mut fields);
        let Ok(Some(request)) = parsed else { continue };
        if request.parts.headers[header::HOST].is_empty() {
            continue;
        }
        let mut out = BytesMut::new();
        emit_request(&mut out, &request.parts, request.length, None);
        let sent = Bytes::copy_from_slice(&out);
        let again = parse_request(&mut out, &mut Scan::default(), &limits, &mut fields);
        let again = again.ok().flatten().expect(row.name);

        assert!(out.is_empty(), "{}: {sent:?}", row.name);
        assert_eq!(again.parts.method, request.parts.method);
        assert_eq!(again.parts.uri, request.parts.uri);
        assert_eq!(again.parts.version, Version::HTTP_11);
        assert_eq!(again.length.exact(), request.length.exact());
        let host = header::HOST;
        assert_eq!(again.parts.headers[&host], request.parts.headers[&host]);
    }
}

/// What a backend has seen of a row's requests, and the statuses that its client was told.
#[derive(Debug)]
struct Proxied {
    seen: Vec<(String, String, String, Vec<u8>)>,
    /// Requests that a backend has seen the beginning of, and never the end.
    begun: usize,
    statuses: Vec<u16>,
}

/// Targets go on as they came, and the preface of HTTP/2 is none.
fn untouched(settings: Settings) -> Settings {
    let target: Target = settings.targets().next().unwrap().clone();
    let mut policy = PathPolicy::default();
    policy.normalise = Normalise::DangerOff;
    let router = Router::builder()
        .path_policy(policy)
        .rule(Rule::forward("all", target));
    let mut untouched = Settings::new(router.build().unwrap());
    untouched.prior_knowledge = false;
    untouched.filters.clone_from(&settings.filters);
    untouched
}

/// Sends a row through a proxy, to a backend that answers all it understands.
async fn proxied(row: &Row) -> Proxied {
    let mut world = rig::Plan::to(rig::Http1).settings(untouched).build();
    let (mut client, connection) = world.connect();
    client.send(row.bytes).await;
    client.finish().await;
    let (mut seen, mut begun) = (Vec::new(), 0);
    while let Some(mut served) = world.call_within(rig::secs(30)).await {
        let framed = ["content-length", "transfer-encoding"].map(|name| served.field(name));
        assert!(framed.contains(&None), "{}: {framed:?}", row.name);
        for name in ["connection", "keep-alive", "te", "upgrade"] {
            assert_eq!(served.field(name), None, "{}", row.name);
        }
        let host = served.field("host").expect(row.name).to_owned();
        match served.body().await {
            Ok((body, _)) => {
                seen.push((served.method.clone(), served.path.clone(), host, body));
                served.answer(200, "").await;
            }
            Err(_) => begun += 1,
        }
    }
    let mut told = client.rest_text().await;
    connection.await.expect("no panic");
    world.checks();
    let mut statuses = Vec::new();
    while let Some((head, rest)) = told.split_once("\r\n\r\n") {
        let head = rig::Head::parse(head);
        let length = head.field("content-length").unwrap_or("0");
        statuses.push(head.status());
        told = rest
            .split_at(length.parse().expect("a length"))
            .1
            .to_owned();
    }
    assert_eq!(told, "", "{}", row.name);
    Proxied {
        seen,
        begun,
        statuses,
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_behind_a_proxy_sees_of_each_row_what_the_table_says_and_nothing_else() {
    for row in rows() {
        let expected = expected(&row);
        let got = proxied(&row).await;
        let mut statuses = vec![200; expected.seen.len()];
        let mut may_begin = 0;
        match row.end {
            End::Head(reason) => statuses.push(reason.status().as_u16()),
            End::Body(reason) => {
                statuses.push(reason.status().as_u16());
                may_begin = 1;
            }
            End::BodyUnfinished => may_begin = 1,
            End::Clean | End::Closed | End::HeadUnfinished => {}
        }
        let is_connect = expected.seen.iter().any(|(method, ..)| method == "CONNECT");
        if is_connect {
            assert_eq!(
                (got.seen.len(), &got.statuses[..]),
                (0, &[501][..]),
                "{}",
                row.name
            );
            continue;
        }
        assert_eq!(got.seen, expected.seen, "{}", row.name);
        assert_eq!(got.statuses, statuses, "{}", row.name);
        assert!(got.begun <= may_begin, "{}", row.name);
    }
}
