//! How a stream to a backend comes about.

use std::fmt;
use std::io;
use std::pin::Pin;

use lbcore::backend::Address;
use lbcore::connect::Connect;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::stream::BackendStream;

/// A connector whose type is forgotten; a box for each connection, none for a request.
pub(super) trait Dial: Send + Sync {
    fn dial<'a>(&'a self, address: &'a Address) -> Dialling<'a>;
}

/// A connection on its way.
pub(super) type Dialling<'a> = Pin<Box<dyn Future<Output = io::Result<BackendStream>> + Send + 'a>>;

/// TCP and Unix sockets; TCP without Nagle's delay.
#[derive(Debug)]
pub(super) struct Sockets;

impl Dial for Sockets {
    fn dial<'a>(&'a self, address: &'a Address) -> Dialling<'a> {
        Box::pin(async move {
            match address {
                Address::Socket(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(stream.into())
                }
                Address::Unix(path) => Ok(UnixStream::connect(path).await?.into()),
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}

/// Somebody else's connector.
pub(super) struct Connector<C>(pub(super) C);

impl<C> Dial for Connector<C>
where
    C: Connect,
    C::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn dial<'a>(&'a self, address: &'a Address) -> Dialling<'a> {
        Box::pin(async move { Ok(BackendStream::any(self.0.connect(address).await?)) })
    }
}

impl fmt::Debug for dyn Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(..)")
    }
}
