//! A request at a backend that speaks either version.

use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::client::{list, map};
use super::raw::{Head, Raw};
use super::{Fields, Speaks};

/// A request, and the way back.
pub(crate) struct Served {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Fields,
    /// What `:protocol` says, or Upgrade.
    pub(crate) protocol: Option<String>,
    /// Which connection it came by.
    pub(crate) connection: usize,
    wire: Wire,
    calls: mpsc::UnboundedSender<Self>,
}

enum Wire {
    One {
        raw: Raw,
        head: Head,
        is_chunked: bool,
    },
    Two {
        body: RecvStream,
        respond: SendResponse<Bytes>,
        stream: Option<SendStream<Bytes>>,
    },
}

/// Speaks HTTP on every connection.
pub(super) async fn accept(
    mut accepted: mpsc::UnboundedReceiver<(String, DuplexStream)>,
    speaks: Speaks,
    calls: mpsc::UnboundedSender<Served>,
) {
    let mut connection = 0;
    while let Some((_, stream)) = accepted.recv().await {
        match speaks {
            Speaks::Http1 => drop(tokio::spawn(one(
                Raw::new(stream),
                connection,
                calls.clone(),
            ))),
            Speaks::Http2 => drop(tokio::spawn(two(stream, connection, calls.clone()))),
        }
        connection += 1;
    }
}

async fn one(mut raw: Raw, connection: usize, calls: mpsc::UnboundedSender<Served>) {
    let Some(text) = raw.try_until("\r\n\r\n").await else {
        return;
    };
    let head = Head::parse(&text);
    let mut line = head.line.split(' ');
    let served = Served {
        method: line.next().unwrap().to_owned(),
        path: line.next().unwrap().to_owned(),
        fields: head.fields.clone(),
        protocol: head.field("upgrade").map(str::to_owned),
        connection,
        wire: Wire::One {
            raw,
            head,
            is_chunked: false,
        },
        calls: calls.clone(),
    };
    let _ = calls.send(served);
}

async fn two(stream: DuplexStream, connection: usize, calls: mpsc::UnboundedSender<Served>) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_connection_window_size(1 << 20)
        .enable_connect_protocol();
    let handshake = builder.handshake(stream);
    let Ok(mut server) = handshake.await else {
        return;
    };
    while let Some(Ok((request, respond))) = server.accept().await {
        let (parts, body) = request.into_parts();
        let mut fields = list(&parts.headers);
        if let Some(authority) = parts.uri.authority() {
            fields.push(("host".to_owned(), authority.to_string()));
        }
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        let served = Served {
            method: parts.method.to_string(),
            path: parts
                .uri
                .path_and_query()
                .map_or("", |p| p.as_str())
                .to_owned(),
            fields,
            protocol: protocol.map(|protocol| protocol.as_str().to_owned()),
            connection,
            wire: Wire::Two {
                body,
                respond,
                stream: None,
            },
            calls: calls.clone(),
        };
        let _ = calls.send(served);
    }
}

impl Served {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice in {:?}", self.fields);
        first
    }

    /// All of the request's body; what there was of it, if it is not whole.
    pub(crate) async fn body(&mut self) -> Result<(Vec<u8>, Fields), Vec<u8>> {
        match &mut self.wire {
            Wire::One { raw, head, .. } => raw.body(head, false).await,
            Wire::Two { body, .. } => {
                let mut all = Vec::new();
                loop {
                    match body.data().await {
                        Some(Ok(data)) => {
                            let _ = body.flow_control().release_capacity(data.len());
                            all.extend_from_slice(&data);
                        }
                        Some(Err(_)) => return Err(all),
                        None => break,
                    }
                }
                let Ok(trailers) = body.trailers().await else {
                    return Err(all);
                };
                Ok((all, trailers.as_ref().map_or_else(Vec::new, list)))
            }
        }
    }

    /// The next bytes of the body, at least one; none at its end or where it breaks off. Of chunks,
    /// as they are on the wire.
    pub(crate) async fn some(&mut self) -> Vec<u8> {
        match &mut self.wire {
            Wire::One { raw, .. } => {
                if raw.unread.is_empty() {
                    let _ = tokio::io::AsyncReadExt::read_buf(&mut raw.io, &mut raw.unread).await;
                }
                std::mem::take(&mut raw.unread)
            }
            Wire::Two { body, .. } => match body.data().await {
                Some(Ok(data)) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    data.to_vec()
                }
                _ => Vec::new(),
            },
        }
    }

    /// Sends a response before the response.
    pub(crate) async fn inform(&mut self, status: u16, fields: &[(&str, &str)]) {
        match &mut self.wire {
            Wire::One { raw, .. } => raw.send(head(status, fields)).await,
            Wire::Two { respond, .. } => {
                let response = response(status, fields);
                respond.send_informational(response).unwrap();
            }
        }
    }

    /// Sends a head, to be followed by a body: of a length, if `fields` say one.
    pub(crate) async fn head(&mut self, status: u16, fields: &[(&str, &str)]) {
        match &mut self.wire {
            Wire::One {
                raw, is_chunked, ..
            } => {
                let framed = ["content-length", "upgrade"];
                let is_framed = fields.iter().any(|(name, _)| framed.contains(name));
                *is_chunked = !is_framed && !matches!(status, 204 | 304);
                let mut fields = fields.to_vec();
                if *is_chunked {
                    fields.push(("transfer-encoding", "chunked"));
                }
                raw.send(head(status, &fields)).await;
            }
            Wire::Two {
                respond, stream, ..
            } => *stream = respond.send_response(response(status, fields), false).ok(),
        }
    }

    /// Sends a head that nothing follows.
    pub(crate) async fn head_alone(&mut self, status: u16, fields: &[(&str, &str)]) {
        match &mut self.wire {
            Wire::One { raw, .. } => raw.send(head(status, fields)).await,
            Wire::Two { respond, .. } => {
                respond
                    .send_response(response(status, fields), true)
                    .unwrap();
            }
        }
    }

    /// Sends a piece of the body.
    pub(crate) async fn send(&mut self, data: &[u8]) -> bool {
        match &mut self.wire {
            Wire::One {
                raw, is_chunked, ..
            } => {
                if *is_chunked {
                    let _ = raw.try_send(format!("{:x}\r\n", data.len())).await;
                    let _ = raw.try_send(data).await;
                    raw.try_send("\r\n").await
                } else {
                    raw.try_send(data).await
                }
            }
            Wire::Two { stream, .. } => {
                let stream = stream.as_mut().unwrap();
                let mut data = Bytes::copy_from_slice(data);
                while !data.is_empty() {
                    stream.reserve_capacity(data.len());
                    let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return false;
                    };
                    let piece = data.split_to(room.min(data.len()));
                    if stream.send_data(piece, false).is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }

    /// Ends the body.
    pub(crate) async fn end(&mut self, trailers: &[(&str, &str)]) {
        match &mut self.wire {
            Wire::One {
                raw, is_chunked, ..
            } => {
                if *is_chunked {
                    let mut text = "0\r\n".to_owned();
                    for (name, value) in trailers {
                        text.push_str(&format!("{name}: {value}\r\n"));
                    }
                    raw.try_send(text + "\r\n").await;
                }
            }
            Wire::Two { stream, .. } => {
                let stream = stream.as_mut().unwrap();
                if trailers.is_empty() {
                    let _ = stream.send_data(Bytes::new(), true);
                } else {
                    stream.send_trailers(map(trailers)).unwrap();
                }
            }
        }
    }

    /// Sends a whole answer of this length, and is ready for the next request.
    pub(crate) async fn answer(mut self, status: u16, body: &str) {
        let length = body.len().to_string();
        self.head(status, &[("content-length", &length)]).await;
        if !body.is_empty() {
            self.send(body.as_bytes()).await;
        }
        self.end(&[]).await;
        self.next();
    }

    /// Is ready for the next request on its connection.
    pub(crate) fn next(self) {
        if let Wire::One { raw, .. } = self.wire {
            tokio::spawn(one(raw, self.connection, self.calls));
        }
    }

    /// Breaks off: closes the connection, or resets the stream.
    pub(crate) fn abort(self) {
        if let Wire::Two {
            mut respond,
            stream,
            ..
        } = self.wire
        {
            match stream {
                Some(mut stream) => stream.send_reset(Reason::INTERNAL_ERROR),
                None => respond.send_reset(Reason::INTERNAL_ERROR),
            }
        }
    }

    /// Says that the stream was not processed.
    pub(crate) fn refuse(self) {
        match self.wire {
            Wire::Two { mut respond, .. } => respond.send_reset(Reason::REFUSED_STREAM),
            Wire::One { .. } => panic!("not HTTP/2"),
        }
    }

    pub(crate) const fn is_http1(&self) -> bool {
        matches!(self.wire, Wire::One { .. })
    }

    /// Resolves when the proxy has given this request up.
    pub(crate) async fn gone(&mut self) {
        match &mut self.wire {
            Wire::One { raw, .. } => drop(raw.rest().await),
            Wire::Two {
                respond, stream, ..
            } => match stream {
                Some(stream) => drop(poll_fn(|cx| stream.poll_reset(cx)).await),
                None => drop(poll_fn(|cx| respond.poll_reset(cx)).await),
            },
        }
    }

    /// The bytes of the connection.
    pub(crate) fn into_raw(self) -> Raw {
        match self.wire {
            Wire::One { raw, .. } => raw,
            Wire::Two { .. } => panic!("not HTTP/1"),
        }
    }

    /// The two directions of the stream.
    pub(crate) fn into_stream(self) -> (RecvStream, SendStream<Bytes>) {
        match self.wire {
            Wire::Two { body, stream, .. } => (body, stream.unwrap()),
            Wire::One { .. } => panic!("not HTTP/2"),
        }
    }
}

fn head(status: u16, fields: &[(&str, &str)]) -> String {
    let mut text = format!("HTTP/1.1 {status} Reason\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

fn response(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = map(fields);
    response
}
