//! Where streams come from: a connection to a backend, and a client's connection made usable.
//!
//! Two traits make transports pluggable above packets, and name no runtime: a stream is whatever
//! type the runtime of the implementer reads and writes, and the wait for it is a plain future. They
//! are the one place of this crate that has futures, for between the two ends of a stream there is
//! nothing to decide, and everything to wait for.
//!
//! ```text
//!  client ── raw ──▶ Accept ── stream ──▶ balancer ◀── stream ── Connect ──▶ backend
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use crate::backend::Address;

/// Opens streams to backends.
///
/// The balancer asks once a session, with the address of the backend that was picked, and sets its
/// own deadline: it drops the future when that has passed, which must end the attempt and free what
/// it holds. Connecting again, to this backend or another, is the balancer's decision too.
///
/// An implementer chooses the transport: TCP, a Unix socket, a pair of buffers in this process; or
/// it wraps another `Connect` and does a handshake over what that one opened, as TLS does. An
/// [`Address`] of a kind that it does not serve is [`io::ErrorKind::Unsupported`].
///
/// The error is [`io::Error`] for every implementer, and not a type of its own, because the balancer
/// has to tell by its kind whose fault a failure is: a refused connection is charged to the backend,
/// a lack of file descriptors to this machine. A handshake's error travels inside it.
///
/// # Examples
///
/// Streams inside one process, and a caller without a runtime:
///
/// ```
/// use std::collections::HashMap;
/// use std::io;
/// use std::pin::pin;
/// use std::sync::mpsc::{Receiver, Sender, channel};
/// use std::task::{Context, Poll, Waker};
///
/// use lbcore::backend::Address;
/// use lbcore::connect::Connect;
///
/// /// Both directions of one stream.
/// struct Duplex {
///     to: Sender<u8>,
///     from: Receiver<u8>,
/// }
///
/// /// Hands the other end of each stream to whoever listens under the name.
/// struct Memory {
///     listeners: HashMap<String, Sender<Duplex>>,
/// }
///
/// impl Connect for Memory {
///     type Stream = Duplex;
///
///     async fn connect(&self, address: &Address) -> io::Result<Duplex> {
///         let Address::Memory(name) = address else {
///             return Err(io::ErrorKind::Unsupported.into());
///         };
///         let listener = self.listeners.get(&**name);
///         let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
///         let ((to_backend, at_backend), (to_us, at_us)) = (channel(), channel());
///         let theirs = Duplex { to: to_us, from: at_backend };
///         listener.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
///         Ok(Duplex { to: to_backend, from: at_us })
///     }
/// }
///
/// let (listener, accepted) = channel();
/// let memory = Memory { listeners: HashMap::from([("app".to_owned(), listener)]) };
/// let mut context = Context::from_waker(Waker::noop());
///
/// let address = "memory:app".parse()?;
/// let Poll::Ready(stream) = pin!(memory.connect(&address)).poll(&mut context) else {
///     panic!("nothing to wait for");
/// };
/// stream?.to.send(7)?;
/// assert_eq!(accepted.recv()?.from.recv()?, 7);
///
/// let address = "memory:other".parse()?;
/// let Poll::Ready(Err(error)) = pin!(memory.connect(&address)).poll(&mut context) else {
///     panic!("nobody listens there");
/// };
/// assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Connect: Send + Sync {
    /// What an open connection is.
    type Stream: Send;

    /// Opens a stream to `address`; returns when bytes can be sent.
    ///
    /// Dropping the future gives the attempt up.
    ///
    /// # Errors
    ///
    /// When there is no stream, with a kind that says whose fault it is.
    fn connect(&self, address: &Address) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl<C: Connect> Connect for Arc<C> {
    type Stream = C::Stream;

    fn connect(&self, address: &Address) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        C::connect(self, address)
    }
}

/// Makes a client's raw stream one that carries the application's bytes.
///
/// The balancer asks once a connection, after it has read the PROXY protocol header if one must
/// come. It may have looked at the bytes behind: `first` is what it saw, perhaps nothing, and the
/// implementer may choose by it, such as a certificate by the server name. **A look takes nothing**:
/// `raw` gives these bytes again, whether the kernel still holds them (`MSG_PEEK`) or a buffer in
/// front of the socket does. So an implementer that needs no look ignores `first` and loses nothing.
///
/// [`Plain`] passes the stream through. One that terminates TLS runs the handshake over `raw`; its
/// `Stream` is the decrypted one, and what the handshake settled (name, protocol, certificates) is
/// read from it. Where the private key lives, here or behind a network, is the implementer's alone,
/// and so is how long a signature takes: the future may wait for it. The balancer sets the deadline
/// for all of it, and drops the future when it has passed.
///
/// The error is the implementer's own type, unlike that of [`Connect`]: whatever it is, the client's
/// connection is closed and a refusal counted, so that nobody has to tell its kinds apart.
///
/// # Examples
///
/// A stream that only clients with the right opening reach:
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// use lbcore::connect::Accept;
///
/// /// Lets TLS through, and nothing else.
/// struct OnlyTls;
///
/// #[derive(Debug, PartialEq, thiserror::Error)]
/// #[error("the client does not speak TLS")]
/// struct NotTls;
///
/// impl<Raw: Send> Accept<Raw> for OnlyTls {
///     type Stream = Raw;
///     type Error = NotTls;
///
///     async fn accept(&self, first: &[u8], raw: Raw) -> Result<Raw, NotTls> {
///         // 22 is the content type of a handshake (RFC 8446, 5.1).
///         if first.first() == Some(&22) { Ok(raw) } else { Err(NotTls) }
///     }
/// }
///
/// let mut context = Context::from_waker(Waker::noop());
/// let accepted = pin!(OnlyTls.accept(b"\x16\x03\x01", "socket 1")).poll(&mut context);
/// assert_eq!(accepted, Poll::Ready(Ok("socket 1")));
/// let accepted = pin!(OnlyTls.accept(b"GET /", "socket 2")).poll(&mut context);
/// assert_eq!(accepted, Poll::Ready(Err(NotTls)));
/// ```
pub trait Accept<Raw>: Send + Sync {
    /// What the application's bytes are read from and written to.
    type Stream: Send;

    /// Why a client was refused.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes `raw` usable; `first` is what a look into it showed, and is still in it.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// When the client is refused; `raw` is gone then, after whatever the implementer told the
    /// client, such as a TLS alert.
    fn accept(
        &self,
        first: &[u8],
        raw: Raw,
    ) -> impl Future<Output = Result<Self::Stream, Self::Error>> + Send;
}

impl<Raw, A: Accept<Raw>> Accept<Raw> for Arc<A> {
    type Stream = A::Stream;
    type Error = A::Error;

    fn accept(
        &self,
        first: &[u8],
        raw: Raw,
    ) -> impl Future<Output = Result<Self::Stream, Self::Error>> + Send {
        A::accept(self, first, raw)
    }
}

/// Passes every client's stream through as it is, at once and without a copy.
///
/// # Examples
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// use lbcore::connect::{Accept, Plain};
///
/// let mut context = Context::from_waker(Waker::noop());
/// let accepted = pin!(Plain.accept(b"", "socket")).poll(&mut context);
/// assert_eq!(accepted, Poll::Ready(Ok("socket")));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct Plain;

impl<Raw: Send> Accept<Raw> for Plain {
    type Stream = Raw;
    type Error = Infallible;

    fn accept(
        &self,
        _first: &[u8],
        raw: Raw,
    ) -> impl Future<Output = Result<Raw, Infallible>> + Send {
        std::future::ready(Ok(raw))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Answers with the address it was asked for, after one wait.
    struct Slow;

    impl Connect for Slow {
        type Stream = String;

        async fn connect(&self, address: &Address) -> io::Result<String> {
            let mut waited = false;
            std::future::poll_fn(|_| {
                if std::mem::replace(&mut waited, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            Ok(address.to_string())
        }
    }

    /// A generic caller, as a balancer is.
    async fn relay<C: Connect, A: Accept<u32>>(
        connect: C,
        accept: A,
    ) -> Option<(A::Stream, C::Stream)> {
        let client = accept.accept(b"", 7).await.ok()?;
        let address = Address::Memory("app".into());
        let backend = connect.connect(&address).await.ok()?;
        Some((client, backend))
    }

    /// Holds a future to what every executor may ask of it.
    fn sendable<F: Future + Send>(future: F) -> F {
        future
    }

    #[test]
    fn a_generic_caller_waits_for_both_ends_whether_shared_or_not() {
        let mut context = Context::from_waker(Waker::noop());
        let ends = Poll::Ready(Some((7, "memory:app".to_owned())));
        let mut owned = pin!(sendable(relay(Slow, Plain)));
        assert_eq!(owned.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(owned.as_mut().poll(&mut context), ends);
        let mut shared = pin!(sendable(relay(Arc::new(Slow), Arc::new(Plain))));
        assert_eq!(shared.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(shared.as_mut().poll(&mut context), ends);
    }
}
