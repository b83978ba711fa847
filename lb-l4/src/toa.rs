//! The client's address in a TCP option, and how a server behind FULLNAT reads it.
//!
//! A forwarder that rewrites the source of a session puts the client's address and port into an
//! option of the client's SYN: kind 254 with an IPv4 address, 253 with an IPv6 one, as Alibaba's
//! LVS does it. A server needs no kernel module to see it: the kernel keeps the headers of the SYN
//! with the connection if it is asked to ([`keep_syn`], Linux 4.3), and gives them once
//! ([`client_of`]).
//!
//! An option proves nothing: anybody can send one. It is believed only of peers that are listed,
//! which are the local addresses of the forwarder, and these take out of each segment what a client
//! has put there.
//!
//! ```text
//! listener: keep_syn          accepted socket: client_of(&socket, &nodes)
//!                               peer is a node, SYN has TOA ──▶ the client's address
//!                               else ──▶ none: the peer is the client
//! ```
//!
//! [`keep_syn`] and [`client_of`] need the feature `tokio`, as all that has sockets does; the
//! sockets themselves are of any kind.
#![warn(clippy::indexing_slicing)]

#[cfg(feature = "tokio")]
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "tokio")]
use std::os::fd::AsFd;

#[cfg(feature = "tokio")]
use lbcore::address_list::AddressRules;

use crate::packet::Link;
#[cfg(feature = "tokio")]
use crate::sys::saved_syn;
use crate::wire::tcp::{self, TcpOption, kind};
use crate::wire::{Frame, ParseError, parse as parse_packet};

/// Asks the kernel to keep the headers of the SYN with each connection that `listener` accepts from
/// now on.
///
/// Costs up to 120 bytes of kernel memory a connection, until [`client_of`] has read them. Linux 4.3
/// (`TCP_SAVE_SYN`).
///
/// # Errors
///
/// Those of `setsockopt(2)`: it is no TCP socket, or the kernel is too old.
#[cfg(feature = "tokio")]
pub fn keep_syn(listener: &impl AsFd) -> io::Result<()> {
    saved_syn::keep(listener.as_fd())
}

/// The client that a forwarder has told of in the SYN of an accepted connection; `None` if the peer
/// is no node, or has told of nobody: then the peer itself is the client.
///
/// `nodes` are the local addresses of the forwarder and must name them. Rules that allow everyone
/// believe everyone, and anybody may then be whoever he likes. The listener must have been told to
/// [`keep_syn`], and the headers can be read once: a second call gives `None`. Two or three system
/// calls.
///
/// # Errors
///
/// Those of `getpeername(2)` and `getsockopt(2)`: it is no connected TCP socket.
///
/// # Examples
///
/// ```no_run
/// use std::net::TcpListener;
///
/// use lb_l4::toa;
/// use lbcore::address_list::AddressRules;
///
/// let nodes = AddressRules::new(["10.0.0.100/32".parse()?], []);
/// let listener = TcpListener::bind("0.0.0.0:8080")?;
/// toa::keep_syn(&listener)?;
/// let (socket, peer) = listener.accept()?;
/// let client = toa::client_of(&socket, &nodes)?.unwrap_or(peer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "tokio")]
pub fn client_of(socket: &impl AsFd, nodes: &AddressRules) -> io::Result<Option<SocketAddr>> {
    let Some(peer) = socket2::SockRef::from(socket).peer_addr()?.as_socket() else {
        return Ok(None);
    };
    if !nodes.allows(peer.ip().to_canonical()) {
        return Ok(None);
    }
    let mut bytes = [0; saved_syn::LONGEST];
    let headers = saved_syn::take(socket.as_fd(), &mut bytes)?;
    // What the kernel has accepted is a SYN of TCP; without its headers nothing was told.
    Ok(parse(headers).ok().flatten())
}

/// The client's address that the headers of a SYN tell, from the IP header on; `None` if they tell
/// none.
///
/// Of several options the first counts, which is where a forwarder puts its own. Who sent them is
/// for the caller to judge.
///
/// # Errors
///
/// When they are no headers of IP and TCP: the kernel gives none such.
///
/// # Examples
///
/// ```
/// use lb_l4::toa;
/// use lb_l4::wire::{emit::TcpSegment, tcp::flags};
///
/// let option = [254, 8, 0x9c, 0x40, 192, 0, 2, 1];
/// let mut syn = Vec::new();
/// TcpSegment::new("10.0.0.1:1025".parse()?, "10.0.1.1:80".parse()?, flags::SYN)
///     .options(&option)
///     .emit(&mut syn);
/// assert_eq!(toa::parse(&syn)?, Some("192.0.2.1:40000".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse(headers: &[u8]) -> Result<Option<SocketAddr>, ParseError> {
    let Frame::Ip(found) = parse_packet(headers, Link::Ip)? else {
        return Ok(None);
    };
    let Some(header) = found.tcp() else {
        return Ok(None);
    };
    let options = found.transport + tcp::HEADER..found.transport + header.len;
    let told =
        tcp::options(headers.get(options).unwrap_or_default()).find_map(|option| match option {
            TcpOption::Toa(client) => Some(client),
            _ => None,
        });
    Ok(told.map(|client| SocketAddr::new(client.ip().to_canonical(), client.port())))
}

/// The bytes of an option that tells of a client.
///
/// An IPv4-mapped IPv6 address is told as the IPv4 address that it is.
///
/// # Examples
///
/// ```
/// use lb_l4::toa::Emitted;
///
/// let option = Emitted::of("192.0.2.1:40000".parse()?);
/// assert_eq!(option.bytes(), [254, 8, 0x9c, 0x40, 192, 0, 2, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Emitted {
    bytes: [u8; LONGEST],
    len: u8,
}

impl Emitted {
    /// The option that tells of `client`.
    #[must_use]
    pub fn of(client: SocketAddr) -> Self {
        let mut bytes = [0; LONGEST];
        let [a, b] = client.port().to_be_bytes();
        let len = match client.ip().to_canonical() {
            IpAddr::V4(address) => {
                let [c, d, e, f] = address.octets();
                let option = [kind::TOA, LENGTH_V4, a, b, c, d, e, f];
                if let Some(front) = bytes.first_chunk_mut() {
                    *front = option;
                }
                LENGTH_V4
            }
            IpAddr::V6(address) => {
                if let Some((front, rest)) = bytes.split_first_chunk_mut() {
                    *front = [kind::TOA_V6, LENGTH_V6, a, b];
                    rest.copy_from_slice(&address.octets());
                }
                LENGTH_V6
            }
        };
        Self { bytes, len }
    }

    /// Its 8 or 20 bytes, with kind and length.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

const LENGTH_V4: u8 = 8;
const LENGTH_V6: u8 = 20;
const LONGEST: usize = 20;
