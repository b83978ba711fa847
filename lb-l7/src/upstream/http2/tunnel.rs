//! Bytes in both directions over a stream of HTTP/2 (RFC 8441; RFC 9113, 8.5).

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use super::connection::StreamPlace;
use super::exchange::{give_room, poll_room};

/// Both directions of a stream.
#[derive(Debug)]
pub(in crate::upstream) struct Http2Tunnel {
    to: SendStream<Bytes>,
    from: RecvStream,
    /// Come, and not yet read.
    piece: Bytes,
    is_shut: bool,
    /// Last, so that the stream is done with before another takes its place.
    _place: StreamPlace,
}

impl Http2Tunnel {
    pub(super) const fn new(to: SendStream<Bytes>, from: RecvStream, place: StreamPlace) -> Self {
        Self {
            to,
            from,
            piece: Bytes::new(),
            is_shut: false,
            _place: place,
        }
    }

    /// What has come; empty at the end. What is not taken of it is given back by
    /// [`taken`](Self::taken).
    pub(in crate::upstream) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        if !self.piece.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.piece)));
        }
        loop {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => return Poll::Ready(Ok(piece)),
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Ok(Bytes::new())),
            }
        }
    }

    /// So many bytes have been read, and `rest` has not.
    pub(in crate::upstream) fn taken(&mut self, bytes: usize, rest: Bytes) {
        give_room(&mut self.from, bytes);
        self.piece = rest;
    }

    pub(in crate::upstream) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(poll_room(&mut self.to, bytes.len(), cx));
        let room = room.map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        let sent = self.to.send_data(Bytes::copy_from_slice(now), false);
        Poll::Ready(sent.map(|()| now.len()).map_err(failed))
    }

    /// Says that nothing more comes from here.
    pub(in crate::upstream) fn shutdown(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_shut, true) {
            return Ok(());
        }
        self.to.send_data(Bytes::new(), true).map_err(failed)
    }
}

fn failed(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::Other.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
