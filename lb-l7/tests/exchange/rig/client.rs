//! A client that speaks either version.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};

use super::raw::Raw;
use super::{Fields, Speaks};

/// A connection of a client.
pub(crate) enum Client {
    One(Raw),
    Two(SendRequest<Bytes>),
}

/// A request under way.
pub(crate) enum Call {
    One {
        raw: Raw,
        is_chunked: bool,
        to_head: bool,
    },
    Two {
        send: SendRequest<Bytes>,
        stream: SendStream<Bytes>,
        response: ResponseFuture,
    },
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) interim: Vec<(u16, Fields)>,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Whether all of the body came.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice in {self:?}");
        first
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// How a request's body is announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Announced {
    Nothing,
    Length(usize),
    Streamed,
}

impl Client {
    pub(super) async fn new(speaks: Speaks, raw: Raw) -> Self {
        match speaks {
            Speaks::Http1 => Self::One(raw),
            Speaks::Http2 => {
                let (send, connection) = h2::client::handshake(raw.io).await.unwrap();
                tokio::spawn(connection);
                Self::Two(send)
            }
        }
    }

    /// Sends a head.
    pub(crate) async fn begin(
        self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        announced: Announced,
    ) -> Call {
        match self {
            Self::One(mut raw) => {
                let mut head = format!("{method} {path} HTTP/1.1\r\nHost: example.com\r\n");
                for (name, value) in fields {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                match announced {
                    Announced::Nothing => {}
                    Announced::Length(n) => head.push_str(&format!("Content-Length: {n}\r\n")),
                    Announced::Streamed => head.push_str("Transfer-Encoding: chunked\r\n"),
                }
                head.push_str("\r\n");
                raw.send(head).await;
                Call::One {
                    raw,
                    is_chunked: announced == Announced::Streamed,
                    to_head: method == "HEAD",
                }
            }
            Self::Two(send) => {
                let mut request = Request::builder()
                    .method(method)
                    .uri(format!("http://example.com{path}"));
                for (name, value) in fields {
                    request = request.header(*name, *value);
                }
                if let Announced::Length(n) = announced {
                    request = request.header("content-length", n);
                }
                let mut send = send.ready().await.unwrap();
                let is_over = announced == Announced::Nothing;
                let request = request.body(()).unwrap();
                let (response, stream) = send.send_request(request, is_over).unwrap();
                Call::Two {
                    send,
                    stream,
                    response,
                }
            }
        }
    }

    /// A GET, without a body.
    pub(crate) async fn get(self, path: &str) -> Call {
        self.begin("GET", path, &[], Announced::Nothing).await
    }

    /// A request with this body.
    pub(crate) async fn post(self, path: &str, body: &str) -> Call {
        let announced = Announced::Length(body.len());
        let mut call = self.begin("POST", path, &[], announced).await;
        call.send(body.as_bytes()).await;
        call.end().await;
        call
    }

    /// The bytes of the connection.
    pub(crate) fn into_raw(self) -> Raw {
        match self {
            Self::One(raw) => raw,
            Self::Two(_) => panic!("not HTTP/1"),
        }
    }
}

impl Call {
    /// Sends a piece of the body, all of it, as far as the proxy takes it.
    pub(crate) async fn send(&mut self, data: &[u8]) {
        match self {
            Self::One {
                raw, is_chunked, ..
            } => {
                if *is_chunked {
                    raw.send(format!("{:x}\r\n", data.len())).await;
                }
                raw.send(data).await;
                if *is_chunked {
                    raw.send("\r\n").await;
                }
            }
            Self::Two { stream, .. } => {
                let mut data = Bytes::copy_from_slice(data);
                while !data.is_empty() {
                    stream.reserve_capacity(data.len());
                    let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    let piece = data.split_to(room.min(data.len()));
                    if stream.send_data(piece, false).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Ends the body.
    pub(crate) async fn end(&mut self) {
        match self {
            Self::One {
                raw, is_chunked, ..
            } => {
                if *is_chunked {
                    raw.send("0\r\n\r\n").await;
                }
            }
            Self::Two { stream, .. } => drop(stream.send_data(Bytes::new(), true)),
        }
    }

    /// Ends the body with these fields behind it.
    pub(crate) async fn end_with(&mut self, trailers: &[(&str, &str)]) {
        match self {
            Self::One { raw, .. } => {
                let mut text = "0\r\n".to_owned();
                for (name, value) in trailers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                raw.send(text + "\r\n").await;
            }
            Self::Two { stream, .. } => stream.send_trailers(map(trailers)).unwrap(),
        }
    }

    /// Gives the request up: closes the connection, or resets the stream.
    pub(crate) fn abort(self) {
        if let Self::Two { mut stream, .. } = self {
            stream.send_reset(Reason::CANCEL);
        }
    }

    /// The interim answers, and the final one up to its body.
    pub(crate) async fn head(self) -> (Answer, Body) {
        match self {
            Self::One {
                mut raw, to_head, ..
            } => {
                let mut answer = Answer::default();
                loop {
                    let head = raw.head().await;
                    if let 100 | 102..=199 = head.status() {
                        answer.interim.push((head.status(), head.fields));
                        continue;
                    }
                    answer.status = head.status();
                    answer.fields.clone_from(&head.fields);
                    return (answer, Body::One { raw, head, to_head });
                }
            }
            Self::Two {
                send,
                stream,
                mut response,
            } => {
                let mut answer = Answer::default();
                let response = poll_fn(|cx| {
                    while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                        let interim = interim.unwrap();
                        let fields = list(interim.headers());
                        answer.interim.push((interim.status().as_u16(), fields));
                    }
                    std::pin::Pin::new(&mut response).poll(cx)
                });
                let (parts, body) = match response.await {
                    Ok(response) => response.into_parts(),
                    Err(error) => panic!("{error}"),
                };
                answer.status = parts.status.as_u16();
                answer.fields = list(&parts.headers);
                (answer, Body::Two { send, stream, body })
            }
        }
    }

    /// The whole answer.
    pub(crate) async fn answer(self) -> (Answer, Client) {
        let (mut answer, body) = self.head().await;
        let client = body.read(&mut answer).await;
        (answer, client)
    }
}

/// The body of an answer, on its way.
pub(crate) enum Body {
    One {
        raw: Raw,
        head: super::Head,
        to_head: bool,
    },
    Two {
        send: SendRequest<Bytes>,
        stream: SendStream<Bytes>,
        body: RecvStream,
    },
}

impl Body {
    /// Reads all of it.
    pub(crate) async fn read(self, answer: &mut Answer) -> Client {
        match self {
            Self::One {
                mut raw,
                head,
                to_head,
            } => {
                match raw.body(&head, to_head).await {
                    Ok((body, trailers)) => {
                        (answer.body, answer.trailers) = (body, trailers);
                        answer.is_whole = true;
                    }
                    Err(part) => answer.body = part,
                }
                Client::One(raw)
            }
            Self::Two { send, mut body, .. } => {
                loop {
                    match body.data().await {
                        Some(Ok(data)) => {
                            let _ = body.flow_control().release_capacity(data.len());
                            answer.body.extend_from_slice(&data);
                        }
                        Some(Err(_)) => return Client::Two(send),
                        None => break,
                    }
                }
                if let Ok(trailers) = body.trailers().await {
                    answer.trailers = trailers.as_ref().map_or_else(Vec::new, list);
                    answer.is_whole = true;
                }
                Client::Two(send)
            }
        }
    }
}

/// Whether nothing more comes but the end of the stream.
pub(crate) async fn is_over(body: &mut RecvStream) -> bool {
    while let Some(data) = body.data().await {
        if !data.is_ok_and(|data| data.is_empty()) {
            return false;
        }
    }
    true
}

pub(crate) fn list(map: &HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    map.iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

pub(crate) fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            http::HeaderName::try_from(*name).unwrap(),
            value.parse().unwrap(),
        );
    }
    map
}
