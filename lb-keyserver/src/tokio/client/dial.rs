//! Making a connection to a key server.

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Fault;
use crate::mode::Mode;

use super::cause::Cause;
use super::shared::{Gate, Shared};

/// Connects, shows the client's certificate, checks the server's, and settles the mode.
pub(super) async fn dial(shared: &Shared, gate: &Gate) -> Result<TlsStream<TcpStream>, Cause> {
    let stream = TcpStream::connect(gate.address).await?;
    // Questions gather in one write already; one that is alone must not wait for more (RFC 896).
    stream.set_nodelay(true)?;
    let mode = shared.config.mode;
    let connector = TlsConnector::from(shared.identity.load().client_config(mode));
    let stream = connector.connect(gate.name.clone(), stream).await?;
    let (_, session) = stream.get_ref();
    if Mode::agreed(session.alpn_protocol()) == Some(mode) {
        Ok(stream)
    } else {
        Err(Fault::Mode.into())
    }
}
