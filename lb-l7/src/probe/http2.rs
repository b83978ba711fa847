//! A probe over HTTP/2.

use std::future::poll_fn;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::uri::{Authority, Scheme};
use http::{Request, Uri, header, request};
use lbcore::health::ProbeFailure;

use super::Answer;
use super::dial::failure;
use crate::upstream::BackendStream;

/// Sends `request` with `body`, and reads the answer; of its body at most `wanted` bytes.
pub(super) async fn ask(
    io: BackendStream,
    request: Request<()>,
    body: Bytes,
    wanted: Option<usize>,
) -> Result<Answer, ProbeFailure> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(MAX_HEADER_LIST);
    let begun = builder.handshake(io).await;
    let (sender, connection) = begun.map_err(|error| told(&error))?;
    let mut exchange = pin!(exchange(sender, request, body, wanted));
    let mut connection = pin!(connection);
    let mut is_open = true;
    poll_fn(|cx| {
        // What the connection says when it ends, the exchange hears as well.
        if is_open && connection.as_mut().poll(cx).is_ready() {
            is_open = false;
        }
        exchange.as_mut().poll(cx)
    })
    .await
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    wanted: Option<usize>,
) -> Result<Answer, ProbeFailure> {
    let told = |error: h2::Error| told(&error);
    let mut sender = sender.ready().await.map_err(told)?;
    let is_bare = body.is_empty();
    let (response, mut sending) = sender.send_request(request, is_bare).map_err(told)?;
    if !is_bare {
        sending.send_data(body, true).map_err(told)?;
    }
    let (parts, mut receiving) = response.await.map_err(told)?.into_parts();
    let mut answer = Answer {
        status: parts.status,
        fields: parts.headers,
        body: Bytes::new(),
        trailers: None,
    };
    let Some(limit) = wanted else {
        return Ok(answer);
    };
    let mut body = BytesMut::new();
    while let Some(data) = receiving.data().await {
        let data = data.map_err(told)?;
        // It fails on a stream that is over, where nothing is owed.
        let _ = receiving.flow_control().release_capacity(data.len());
        let room = limit - body.len();
        body.extend_from_slice(data.get(..room).unwrap_or(&data));
        if body.len() >= limit {
            answer.body = body.freeze();
            return Ok(answer);
        }
    }
    answer.body = body.freeze();
    answer.trailers = receiving.trailers().await.map_err(told)?;
    Ok(answer)
}

/// The request with its scheme and its host where HTTP/2 has them.
pub(super) fn absolute(
    mut parts: request::Parts,
    scheme: Scheme,
    host: Authority,
) -> Result<Request<()>, ProbeFailure> {
    parts.headers.remove(header::HOST);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(scheme);
    uri.authority = Some(host);
    parts.uri = Uri::from_parts(uri).map_err(|_| ProbeFailure::Io)?;
    parts.version = http::Version::HTTP_2;
    Ok(Request::from_parts(parts, ()))
}

/// What an error says of the backend.
fn told(error: &h2::Error) -> ProbeFailure {
    match error.get_io() {
        Some(error) => failure(error),
        None if error.is_remote() && error.is_reset() => ProbeFailure::Reset,
        None => ProbeFailure::WrongAnswer,
    }
}

/// Bytes of fields that an answer may have.
const MAX_HEADER_LIST: u32 = 64 * 1024;
