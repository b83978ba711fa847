//! A probe over HTTP/1.1.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, request};
use lbcore::health::ProbeFailure;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Answer;
use super::dial::failure;
use crate::body::BodyLength;
use crate::h1::wire::Wire;
use crate::h1::{
    BodyDecoder, Connection, HeadLimits, Piece, Response, Scan, emit_request, parse_response,
};

/// Sends `request`, which has no body, and reads the answer; of its body at most `wanted` bytes.
pub(super) async fn ask<IO>(
    io: IO,
    request: &request::Parts,
    wanted: Option<usize>,
) -> Result<Answer, ProbeFailure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(io);
    let close = Some(Connection::Close);
    emit_request(wire.outgoing(), request, BodyLength::Empty, close);
    wire.flush().await.map_err(|error| failure(&error))?;
    let response = head(&mut wire, request).await?;
    let body = match wanted {
        Some(limit) => body(&mut wire, response.length, limit).await?,
        None => Bytes::new(),
    };
    Ok(Answer {
        status: response.parts.status,
        fields: response.parts.headers,
        body,
        trailers: None,
    })
}

/// Waits for the head of the final answer.
async fn head<IO>(wire: &mut Wire<IO>, request: &request::Parts) -> Result<Response, ProbeFailure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut fields = HeaderMap::new();
    let mut scan = Scan::default();
    let mut interim = 0;
    loop {
        let (limits, to) = (&HeadLimits::DEFAULT, (&request.method).into());
        let parsed = parse_response(wire.unread(), &mut scan, limits, &mut fields, to);
        match parsed.map_err(|_| ProbeFailure::WrongAnswer)? {
            Some(response) if !response.parts.status.is_informational() => return Ok(response),
            // What was not asked for is no answer, nor is a flood.
            Some(response) if response.tunnel || interim == MAX_INTERIM => {
                return Err(ProbeFailure::WrongAnswer);
            }
            Some(_) => {
                interim += 1;
                scan = Scan::default();
            }
            None => fill(wire).await?,
        }
    }
}

async fn body<IO>(
    wire: &mut Wire<IO>,
    length: BodyLength,
    limit: usize,
) -> Result<Bytes, ProbeFailure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = BodyDecoder::new(length);
    let mut body = BytesMut::new();
    while body.len() < limit {
        let piece = decoder.decode(wire.unread());
        match piece.map_err(|_| ProbeFailure::WrongAnswer)? {
            Some(Piece::Data(data)) => {
                let room = limit - body.len();
                body.extend_from_slice(data.get(..room).unwrap_or(&data));
            }
            Some(Piece::Trailers(_)) => {}
            Some(Piece::End) => break,
            None if wire.is_ended() => {
                let ended = decoder.handle_close();
                ended.map_err(|_| ProbeFailure::WrongAnswer)?;
                break;
            }
            None => match wire.fill(ROOM).await {
                Ok(_) => {}
                Err(error) => return Err(failure(&error)),
            },
        }
    }
    Ok(body.freeze())
}

async fn fill<IO>(wire: &mut Wire<IO>) -> Result<(), ProbeFailure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    match wire.fill(ROOM).await {
        // It hung up instead of answering.
        Ok(0) => Err(ProbeFailure::WrongAnswer),
        Ok(_) => Ok(()),
        Err(error) => Err(failure(&error)),
    }
}

/// Responses before the response that are borne.
const MAX_INTERIM: u8 = 8;

/// Bytes that are read at once.
const ROOM: usize = 4 * 1024;
