//! Which formats there are, and which server is which backend.

use std::collections::HashMap;
use std::fmt;

use lbcore::BackendId;
use thiserror::Error;

use super::{ConnectionId, MAX_SERVER_ID, ServerId};

/// Which format a connection id has: its first three bits, 0 to 6.
///
/// 7 says that an id names no server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConfigRotation(u8);

impl ConfigRotation {
    /// The format of this number.
    ///
    /// # Errors
    ///
    /// [`QuicLbError::Rotation`] above 6.
    pub const fn new(number: u8) -> Result<Self, QuicLbError> {
        if number < UNROUTABLE {
            Ok(Self(number))
        } else {
            Err(QuicLbError::Rotation(number))
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ConfigRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the last five bits of the first octet are.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum LengthBits {
    /// Whatever the server writes.
    #[default]
    Any,
    /// How many octets follow; an id in a long header of which that is not true names no server.
    ///
    /// To be set when all servers do so: then an id that a client has made up is taken for a
    /// server's less often.
    Length,
}

/// How connection ids are made up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Format {
    server_id: u8,
    nonce: u8,
    length_bits: LengthBits,
}

impl Format {
    /// Ids with this many octets of server id and of nonce; an id may be longer and not shorter.
    ///
    /// # Errors
    ///
    /// [`QuicLbError::Lengths`] unless the server id has 1 to 15 octets, the nonce at least 4, and
    /// both at most 19.
    pub const fn new(server_id: u8, nonce: u8) -> Result<Self, QuicLbError> {
        let both = server_id.saturating_add(nonce);
        if server_id == 0 || nonce < 4 || both > 19 {
            return Err(QuicLbError::Lengths { server_id, nonce });
        }
        Ok(Self {
            server_id,
            nonce,
            length_bits: LengthBits::Any,
        })
    }

    /// Sets what the last five bits of the first octet are. Default [`LengthBits::Any`].
    #[must_use]
    pub const fn length_bits(mut self, bits: LengthBits) -> Self {
        self.length_bits = bits;
        self
    }

    /// Octets of the server id.
    #[must_use]
    pub const fn server_id(self) -> u8 {
        self.server_id
    }

    /// The server id in `id`, whose first octet is `first`, if `id` can be of this format.
    #[inline]
    fn read(self, first: u8, id: &ConnectionId<'_>) -> Option<ServerId> {
        let (ConnectionId::Long(octets) | ConnectionId::Short(octets)) = id;
        let whole = 1 + usize::from(self.server_id) + usize::from(self.nonce);
        if octets.len() < whole {
            return None;
        }
        if self.length_bits == LengthBits::Length {
            let said = usize::from(first & LENGTH);
            let true_so_far = match id {
                ConnectionId::Long(octets) => said + 1 == octets.len(),
                ConnectionId::Short(octets) => said + 1 >= whole && said < octets.len(),
            };
            if !true_so_far {
                return None;
            }
        }
        ServerId::of(octets.get(1..=self.server_id.into())?)
    }
}

/// Formats and servers.
///
/// Several formats may be in use at once, while servers go from one to the next.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct QuicLbConfig {
    /// The formats by their rotation. Default none: no id names a server.
    pub formats: [Option<Format>; UNROUTABLE as usize],
    /// Which backend has which server id in ids of which rotation. Default none. A backend may have
    /// several.
    pub servers: Vec<(ConfigRotation, ServerId, BackendId)>,
}

impl QuicLbConfig {
    /// Adds the format of a rotation, in place of another.
    #[must_use]
    pub fn format(mut self, rotation: ConfigRotation, format: Format) -> Self {
        if let Some(place) = self.formats.get_mut(usize::from(rotation.0)) {
            *place = Some(format);
        }
        self
    }

    /// Adds a server.
    #[must_use]
    pub fn server(mut self, rotation: ConfigRotation, id: ServerId, backend: BackendId) -> Self {
        self.servers.push((rotation, id, backend));
        self
    }

    /// The server id in a connection id, with the rotation that it counts in.
    #[inline]
    pub(super) fn read(&self, id: &ConnectionId<'_>) -> Option<(ConfigRotation, ServerId)> {
        let (ConnectionId::Long(octets) | ConnectionId::Short(octets)) = id;
        let &first = octets.first()?;
        let rotation = first >> LENGTH.count_ones();
        let format = (*self.formats.get(usize::from(rotation))?)?;
        Some((ConfigRotation(rotation), format.read(first, id)?))
    }
}

/// Reads which backend a datagram is for.
#[derive(Clone, Debug)]
pub struct QuicLb {
    config: QuicLbConfig,
    servers: HashMap<(ConfigRotation, ServerId), BackendId>,
}

impl QuicLb {
    /// By these formats and servers.
    ///
    /// # Errors
    ///
    /// [`QuicLbError`] says which server cannot be.
    pub fn new(config: QuicLbConfig) -> Result<Self, QuicLbError> {
        let mut servers = HashMap::with_capacity(config.servers.len());
        for &(rotation, id, backend) in &config.servers {
            let format = config.formats.get(usize::from(rotation.0));
            let format = format
                .and_then(|it| *it)
                .ok_or(QuicLbError::NoFormat(rotation))?;
            if id.as_bytes().len() != usize::from(format.server_id) {
                return Err(QuicLbError::ServerIdLength { id, rotation });
            }
            let before = servers.insert((rotation, id), backend);
            if before.is_some_and(|before| before != backend) {
                return Err(QuicLbError::Twice { id, rotation });
            }
        }
        Ok(Self { config, servers })
    }

    /// What it was made of.
    #[must_use]
    pub const fn config(&self) -> &QuicLbConfig {
        &self.config
    }

    /// The backend that has this server id.
    #[inline]
    #[must_use]
    pub fn server(&self, rotation: ConfigRotation, id: ServerId) -> Option<BackendId> {
        self.servers.get(&(rotation, id)).copied()
    }
}

/// What is wrong with a [`QuicLbConfig`] or a part of it; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum QuicLbError {
    /// draft-ietf-quic-load-balancers, 5.3.
    #[error(
        "a server id of {server_id} octets and a nonce of {nonce}: at least 1 and 4, together at most 19"
    )]
    Lengths {
        /// Octets of the server id.
        server_id: u8,
        /// Octets of the nonce.
        nonce: u8,
    },
    /// A server in ids of a rotation that has no format.
    #[error("rotation {0} has no format")]
    NoFormat(ConfigRotation),
    /// Three bits, of which seven says that an id names no server.
    #[error("rotation {0} is above 6")]
    Rotation(u8),
    /// A server id of another length than its format has.
    #[error("server id {id} has not the length of rotation {rotation}")]
    ServerIdLength {
        /// The server id.
        id: ServerId,
        /// The rotation.
        rotation: ConfigRotation,
    },
    /// One server id for two backends.
    #[error("server id {id} of rotation {rotation} is given to two backends")]
    Twice {
        /// The server id.
        id: ServerId,
        /// The rotation.
        rotation: ConfigRotation,
    },
}

/// The rotation of ids that name no server (draft-ietf-quic-load-balancers, 3.2).
const UNROUTABLE: u8 = 0b111;
const LENGTH: u8 = 0b1_1111;
/// A server id as long as may be fits its type.
const _: () = assert!(MAX_SERVER_ID + 4 == 19);
