//! The transport below the `h2` crate that shows every byte to a [`FrameWatch`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::{FrameWatch, H2Limits, Stop};
use crate::clock;

/// A connection whose frames are counted; give it to `h2::server::Builder::handshake`.
///
/// Once a limit is passed or a rule broken, it gives nothing more to read, raises its [`Alarm`],
/// and fails any write that would have to wait: a client that floods and does not read is not
/// waited for. Closing lingers: after its own end it reads and throws away what is under way, at
/// most 1 MiB and for at most half a second, as otherwise the reset that unread bytes cause would
/// overtake the GOAWAY (RFC 9112, 9.6).
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    watch: FrameWatch,
    signal: Arc<Signal>,
    ended: bool,
    linger: Option<Linger>,
}

/// Tells the one who polls the connection that the transport below has stopped it.
#[derive(Clone, Debug)]
pub struct Alarm(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    stop: OnceLock<Stop>,
    worn: AtomicBool,
    answered: AtomicBool,
    drained: AtomicBool,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

/// After nginx's `lingering_timeout`, shortened: no request is waited for.
const LINGER_TIME: Duration = Duration::from_millis(500);

/// More than sockets hold of what was sent before the end was known; heads have no window.
const LINGER_BYTES: usize = 1 << 20;

impl<IO> Guarded<IO> {
    /// Guards `io`, of which nothing has been read; `limits` should have been
    /// [checked](H2Limits::check).
    pub fn new(io: IO, limits: H2Limits) -> (Self, Alarm) {
        let signal = Arc::<Signal>::default();
        let guarded = Self {
            io,
            watch: FrameWatch::new(limits, clock::now()),
            signal: Arc::clone(&signal),
            ended: false,
            linger: None,
        };
        (guarded, Alarm(signal))
    }

    fn wrote(&mut self, bytes: &[u8]) {
        if let Err(stop) = self.watch.observe_written(bytes) {
            let _ = self.signal.stop.set(stop);
        }
    }

    /// A write that waits is not waited for once the connection is to end.
    fn or_end<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.signal.stop.get().is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        polled
    }
}

impl Alarm {
    /// Why the connection must end, once it must.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.0.stop.get().copied()
    }

    /// Whether the connection has had all its streams ([`Flood::Streams`](super::Flood::Streams)).
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.0.worn.load(Ordering::Relaxed)
    }
}

/// The next request of a guarded connection, as `h2::server::Connection::poll_accept`.
///
/// Sends the GOAWAY when `alarm` is raised; every stream then fails with its reason, and the next
/// answer is `None` or an error. Drains a connection that [is worn](Alarm::is_worn). Poll it until
/// it answers `None`, also while streams are served.
#[expect(
    clippy::type_complexity,
    reason = "as `h2::server::Connection::poll_accept` has it"
)]
pub fn poll_accept<IO, B>(
    connection: &mut Connection<Guarded<IO>, B>,
    alarm: &Alarm,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<(Request<RecvStream>, SendResponse<B>), h2::Error>>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    B: Buf,
{
    let polled = connection.poll_accept(cx);
    if polled.is_ready() {
        return polled;
    }
    if let Some(stop) = alarm.stop()
        && !alarm.0.answered.swap(true, Ordering::Relaxed)
    {
        connection.abrupt_shutdown(stop.reason());
        return connection.poll_accept(cx);
    }
    if alarm.is_worn() && !alarm.0.drained.swap(true, Ordering::Relaxed) {
        connection.graceful_shutdown();
        return connection.poll_accept(cx);
    }
    polled
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.signal.stop.get().is_some() {
            // No one has to be woken: `poll_accept` asks the alarm after this very poll.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        this.ended |= read.is_empty();
        let observed = this.watch.observe_read(clock::now(), read);
        if this.watch.is_worn() {
            this.signal.worn.store(true, Ordering::Relaxed);
        }
        let Err(stopped) = observed else {
            return Poll::Ready(Ok(()));
        };
        let _ = this.signal.stop.set(stopped.why);
        buf.set_filled(before + stopped.passed);
        if stopped.passed == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        let written = ready!(this.or_end(polled))?;
        this.wrote(buf.get(..written).unwrap_or(buf));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        let written = ready!(this.or_end(polled))?;
        let mut left = written;
        for buf in bufs {
            let taken = left.min(buf.len());
            this.wrote(buf.get(..taken).unwrap_or_default());
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.or_end(polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let polled = Pin::new(&mut this.io).poll_shutdown(cx);
            ready!(this.or_end(polled))?;
        }
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        let linger = this.linger.get_or_insert_with(|| Linger {
            until: Box::pin(tokio::time::sleep(LINGER_TIME)),
            left: LINGER_BYTES,
        });
        // What comes after the end matters to nobody, nor how it fails.
        linger.poll(&mut this.io, cx).map(Ok)
    }
}

impl Linger {
    /// Reads until the other side ends, or enough was read, or the time is over.
    fn poll<IO: AsyncRead + Unpin>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        while self.left > 0 {
            let mut buf = ReadBuf::uninit(&mut room);
            match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                Poll::Pending => return self.until.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buf.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
