//! What a client's connection begins with, before its bytes are relayed.

use std::net::SocketAddr;
use std::time::Duration;

use lbcore::proxy_protocol::{self, Parse, Proxied};
use tokio::io::AsyncReadExt;

use super::client_hello::{self, Peek};
use super::counters::Refused;
use super::server_name::ServerName;
use crate::connect::Stream;

/// What was read of a client before its session, and what it said.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Read, and to be sent to the backend: headers of proxies are taken off.
    pub(crate) bytes: Vec<u8>,
    /// The client's address and the one it addressed, as a proxy in front of us tells them.
    pub(crate) proxied: Option<(SocketAddr, SocketAddr)>,
    /// The host that a TLS client asks for.
    pub(crate) server_name: Option<ServerName>,
}

impl Head {
    /// Reads the PROXY protocol header that must come, within `limit`.
    pub(crate) async fn read_proxy_header(
        &mut self,
        stream: &mut Stream,
        limit: Duration,
    ) -> Result<(), Refused> {
        let reading = self.proxy_header(stream);
        let read = tokio::time::timeout(limit, reading).await;
        read.unwrap_or(Err(Refused::ProxyTimeout))
    }

    /// Reads the ClientHello that must come, within `limit`; its bytes stay.
    pub(crate) async fn read_client_hello(
        &mut self,
        stream: &mut Stream,
        limit: Duration,
    ) -> Result<(), Refused> {
        let reading = self.client_hello(stream);
        let read = tokio::time::timeout(limit, reading).await;
        read.unwrap_or(Err(Refused::TlsTimeout))
    }

    async fn proxy_header(&mut self, stream: &mut Stream) -> Result<(), Refused> {
        loop {
            match proxy_protocol::parse(&self.bytes) {
                Ok(Parse::Complete {
                    header, consumed, ..
                }) => {
                    if let Proxied::Flow(flow) = header.proxied {
                        self.proxied = Some((flow.source, flow.destination));
                    }
                    self.bytes.drain(..consumed);
                    return Ok(());
                }
                Ok(Parse::Incomplete { need }) => {
                    self.read_to(stream, need, Refused::ProxyHeader).await?;
                }
                Err(_) => return Err(Refused::ProxyHeader),
            }
        }
    }

    async fn client_hello(&mut self, stream: &mut Stream) -> Result<(), Refused> {
        loop {
            match client_hello::peek(&self.bytes) {
                Ok(Peek::Complete(hello)) => {
                    self.server_name = hello.server_name;
                    return Ok(());
                }
                Ok(Peek::Incomplete { need }) => {
                    self.read_to(stream, need, Refused::TlsHello).await?;
                }
                Err(_) => return Err(Refused::TlsHello),
            }
        }
    }

    /// Reads on: at least one byte, and as many as `need` in all, or a little more at once.
    async fn read_to(
        &mut self,
        stream: &mut Stream,
        need: usize,
        otherwise: Refused,
    ) -> Result<(), Refused> {
        // `need` is bounded by both parsers.
        self.bytes
            .reserve(need.saturating_sub(self.bytes.len()).max(FIRST));
        match stream.read_buf(&mut self.bytes).await {
            Ok(n) if n > 0 => Ok(()),
            Ok(_) | Err(_) => Err(otherwise),
        }
    }
}

/// Room for a first read: most PROXY headers and ClientHellos come whole in one.
const FIRST: usize = 1024;
