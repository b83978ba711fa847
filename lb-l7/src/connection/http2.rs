//! A connection of HTTP/2: streams side by side, each an exchange in a task of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, Version, header, request};
use lbcore::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::body::BodyLength;
use crate::clock;
use crate::exchange::{self, Incoming};
use crate::front::h2::Http2;
use crate::h1::{Rejection, authority, is_look_alike};
use crate::h2_guard::{Guarded, Stop, poll_accept};
use crate::headers::{Direction, http2};
use crate::report::{Party, Phase, Termination, Why};
use crate::rewound::Rewound;
use crate::timeout::{Alarm, after};
use crate::websocket;

pub(super) async fn serve<IO>(connection: Connection, accepted: Instant, io: IO, unread: BytesMut)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = Rewound::new(unread.freeze(), io);
    let mut alarm = Alarm::default();
    let timeouts = connection.settings.timeouts;
    let deadline = after(accepted, timeouts.request_head);
    let mut builder = h2::server::Builder::new();
    connection.settings.http2.configure(&mut builder);
    // WebSocket within a stream (RFC 8441).
    builder.enable_connect_protocol();
    let (io, guard) = Guarded::new(io, connection.settings.http2);
    let handshake = builder.handshake::<_, Bytes>(io);
    let Some(Ok(mut http2)) = alarm.limit(deadline, handshake).await else {
        return;
    };
    let mut drained = connection.proxy.drain_of().waiting();
    let mut drained = std::pin::pin!(drained.has_begun());
    let mut is_draining = false;
    let mut connection = Arc::new(connection);
    // A connection that never sent a request is no idle one: it has to come to the point.
    let mut idle_since = accepted;
    let mut most = timeouts.request_head;
    let mut is_busy = false;
    loop {
        let accepted = poll_fn(|cx| {
            if let Poll::Ready(accepted) = poll_accept(&mut http2, &guard, cx) {
                return Poll::Ready(Some(accepted));
            }
            if !is_draining && drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if http2.has_streams() {
                is_busy = true;
                return Poll::Pending;
            }
            if std::mem::take(&mut is_busy) {
                idle_since = clock::now();
            }
            alarm.poll(cx, after(idle_since, most)).map(|()| None)
        })
        .await;
        match accepted {
            Some(Some(Ok((request, respond)))) => {
                if !is_draining {
                    most = timeouts.keep_alive;
                }
                if let Some(newer) = connection.refreshed() {
                    connection = Arc::new(newer);
                }
                tokio::spawn(exchange(Arc::clone(&connection), request, respond));
            }
            Some(ended @ (Some(Err(_)) | None)) => {
                let error = ended.and_then(Result::err);
                let told = guard.stop().map(|stop| (why(stop), stop.as_str()));
                if let Some((why, detail)) = told.or_else(|| error.as_ref().and_then(by_codec)) {
                    let ended = Termination::new(Party::Client, Phase::KeepAlive, why);
                    exchange::note(&connection.at(), Version::HTTP_2, ended, detail);
                }
                return;
            }
            // It was told, and neither answers nor leaves.
            None if is_draining => return,
            // Said twice: once for what is on its way, once it has arrived (RFC 9113, 6.8).
            None => {
                is_draining = true;
                idle_since = clock::now();
                most = FAREWELL.min(timeouts.keep_alive);
                http2.graceful_shutdown();
            }
        }
    }
}

/// How long a client without a stream may take to answer to a GOAWAY, as long as a slow network's
/// round trip takes a few times over.
const FAREWELL: Duration = Duration::from_secs(5);

const fn why(stop: Stop) -> Why {
    match stop {
        Stop::Flood(_) => Why::FloodDetected,
        Stop::Illegal(_) => Why::Malformed,
    }
}

/// Why the codec ended a connection by itself: it decodes what the guard only counts.
fn by_codec(error: &h2::Error) -> Option<(Why, &'static str)> {
    if !error.is_library() {
        return None;
    }
    Some(match error.reason()? {
        Reason::ENHANCE_YOUR_CALM => (Why::FloodDetected, "h2-codec-flood"),
        _ => (Why::Malformed, "h2-codec-error"),
    })
}

async fn exchange(
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let mut alarm = Alarm::default();
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    match incoming(parts, body.is_end_stream(), &connection) {
        Ok(mut incoming) => {
            let mut front = Http2::new(body, respond, &method);
            exchange::run(&connection.at(), &mut front, &mut alarm, &mut incoming).await;
        }
        // What is malformed is a stream error (RFC 9113, 8.1.1).
        Err(malformed) => {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            let ended = Termination::new(Party::Client, Phase::RequestHead, Why::Malformed);
            exchange::note(&connection.at(), Version::HTTP_2, ended, malformed);
        }
    }
}

/// The normal form of a request.
fn incoming(
    mut parts: request::Parts,
    is_ended: bool,
    connection: &Connection,
) -> Result<Incoming, &'static str> {
    let now = clock::now();
    let fields = &mut parts.headers;
    let admitted = connection.settings.http2.admits(fields);
    admitted.map_err(|flood| flood.as_str())?;
    http2::check(fields, Direction::Request).map_err(|why| why.as_str())?;
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    http2::settle_host(fields, authority, connection.peer.secured()).map_err(|why| why.as_str())?;
    // As strict as HTTP/1 is: what goes on may well be that.
    let host = fields
        .get(header::HOST)
        .map_or(&b""[..], HeaderValue::as_bytes);
    authority::check(host).map_err(|why| why.as_str())?;
    http2::merge_cookies(fields);
    let length = length(fields.remove(header::CONTENT_LENGTH).as_ref(), is_ended)?;
    let expects_continue = fields
        .get(header::EXPECT)
        .is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    as_strict(&parts, is_ended).map_err(|rejection| rejection.as_str())?;
    let protocol = parts.extensions.remove::<h2::ext::Protocol>();
    // RFC 9220, 3: what is no WebSocket stays a CONNECT, which is not done.
    let upgrade = protocol
        .filter(|name| name.as_str().eq_ignore_ascii_case("websocket"))
        .map(|_| HeaderValue::from_static("websocket"));
    if upgrade.is_some() {
        // RFC 8441: as the handshake of HTTP/1 would be, which proves what HTTP/2 need not.
        parts.method = Method::GET;
        connection
            .worker
            .with_rng(|rng| websocket::add_key(&mut parts.headers, rng));
    }
    let target = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok(Incoming {
        parts,
        length: if upgrade.is_some() {
            BodyLength::Empty
        } else {
            length
        },
        expects_continue: expects_continue && !length.is_empty(),
        upgrade,
        head_bytes: 0,
        accepted: now,
        begun: now,
    })
}

/// Refuses what the codec of HTTP/1 refuses and that of HTTP/2 lets pass: backends may speak either.
fn as_strict(parts: &request::Parts, is_ended: bool) -> Result<(), Rejection> {
    let host = parts.headers.get(header::HOST);
    authority::check(host.map_or(&[], HeaderValue::as_bytes))?;
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(Rejection::TargetForm);
    }
    if parts.method == Method::TRACE && !is_ended {
        return Err(Rejection::ContentForbidden);
    }
    let mut names = parts.headers.keys();
    if names.any(|name| is_look_alike(name.as_str().as_bytes())) {
        return Err(Rejection::FramingLookAlike);
    }
    Ok(())
}

fn length(declared: Option<&HeaderValue>, is_ended: bool) -> Result<BodyLength, &'static str> {
    let Some(declared) = declared else {
        return Ok(if is_ended {
            BodyLength::Empty
        } else {
            BodyLength::Streamed
        });
    };
    let text = declared
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let bytes = text.and_then(|text| text.parse().ok());
    let bytes = bytes.ok_or(Rejection::LengthSyntax.as_str())?;
    if is_ended && bytes > 0 {
        return Err(Rejection::Truncated.as_str());
    }
    Ok(BodyLength::Exact(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(
        method: Method,
        path: &'static str,
        host: &str,
        is_ended: bool,
    ) -> Result<(), Rejection> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host);
        as_strict(&request.body(()).unwrap().into_parts().0, is_ended)
    }

    #[test]
    fn a_host_that_http_1_refuses_is_refused() {
        for host in ["a", "a:81", "[::1]:81"] {
            assert_eq!(strict(Method::GET, "/", host, true), Ok(()), "{host}");
        }
        for host in ["a:0", "a:0x", "a:65536", "a:"] {
            assert_eq!(
                strict(Method::GET, "/", host, true),
                Err(Rejection::Port),
                "{host}"
            );
        }
        for host in ["", "a,b", "a;b", "a!", "a/b"] {
            let refused = Err(Rejection::HostSyntax);
            assert_eq!(strict(Method::GET, "/", host, true), refused, "{host}");
        }
    }

    #[test]
    fn an_asterisk_is_for_options_and_trace_has_no_content() {
        assert_eq!(strict(Method::OPTIONS, "*", "a", true), Ok(()));
        assert_eq!(
            strict(Method::GET, "*", "a", true),
            Err(Rejection::TargetForm)
        );
        assert_eq!(strict(Method::TRACE, "/", "a", true), Ok(()));
        let refused = Err(Rejection::ContentForbidden);
        assert_eq!(strict(Method::TRACE, "/", "a", false), refused);
        assert_eq!(strict(Method::POST, "/", "a", false), Ok(()));
    }

    #[test]
    fn a_field_that_looks_like_a_framing_field_is_refused() {
        for (name, refused) in [
            ("content_length", true),
            ("transfer_encoding", true),
            ("transfer-encodinG_", false),
            ("content_type", false),
        ] {
            let request = Request::builder()
                .uri("/")
                .header("host", "a")
                .header(name, "5");
            let checked = as_strict(&request.body(()).unwrap().into_parts().0, true);
            assert_eq!(
                checked == Err(Rejection::FramingLookAlike),
                refused,
                "{name}"
            );
        }
    }
}
