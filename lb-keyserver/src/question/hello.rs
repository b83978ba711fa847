//! The two hellos, as far as a key server looks.

use super::reader::Reader;
use super::request::host_name;
use crate::scheme::Hash;

/// A ClientHello (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientHello<'a> {
    pub(super) random: &'a [u8; 32],
    session_id: &'a [u8],
    suites: &'a [u8],
    /// The host name, if the client asked for one.
    pub(super) server_name: Option<&'a str>,
    offers_tls13: bool,
}

impl<'a> ClientHello<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        if reader.u16()? != TLS12 {
            return None;
        }
        let random = reader.array()?;
        let session_id = reader.vector8().filter(|id| id.len() <= 32)?;
        let suites = reader.vector16().filter(|suites| suites.len() % 2 == 0)?;
        reader.vector8().filter(|methods| methods.contains(&0))?;
        let extensions = Extensions::read(reader)?;
        let server_name = match extensions.find(SERVER_NAME)? {
            Some(list) => server_name(list)?,
            None => None,
        };
        let offers_tls13 = match extensions.find(SUPPORTED_VERSIONS)? {
            Some(list) => offers_tls13(list)?,
            None => false,
        };
        Some(Self {
            random,
            session_id,
            suites,
            server_name,
            offers_tls13,
        })
    }

    /// Whether a server may answer this hello by that one, as far as a key server looks.
    pub(super) fn is_answered_by(&self, hello: &ServerHello<'_>) -> bool {
        let mut suites = self.suites.chunks_exact(2);
        let offers = suites.any(|suite| suite == hello.suite.to_be_bytes());
        let is_tls12 = matches!(hello.kind, ServerHelloKind::Tls12);
        offers && (is_tls12 || self.offers_tls13 && self.session_id == hello.session_id)
    }
}

/// A ServerHello (RFC 8446, 4.1.3; RFC 5246, 7.4.1.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerHello<'a> {
    pub(super) random: &'a [u8; 32],
    session_id: &'a [u8],
    pub(super) suite: u16,
    pub(super) kind: ServerHelloKind,
}

/// What a ServerHello settles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ServerHelloKind {
    /// Nothing yet: the client is to try again (RFC 8446, 4.1.4).
    HelloRetryRequest,
    Tls12,
    Tls13,
}

impl<'a> ServerHello<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        if reader.u16()? != TLS12 {
            return None;
        }
        let random = reader.array()?;
        let session_id = reader.vector8().filter(|id| id.len() <= 32)?;
        let suite = reader.u16()?;
        if reader.u8()? != 0 {
            return None;
        }
        let version = Extensions::read(reader)?.find(SUPPORTED_VERSIONS)?;
        let kind = match version {
            None if random != HELLO_RETRY_REQUEST => ServerHelloKind::Tls12,
            Some([3, 4]) if random == HELLO_RETRY_REQUEST => ServerHelloKind::HelloRetryRequest,
            Some([3, 4]) => ServerHelloKind::Tls13,
            _ => return None,
        };
        Some(Self {
            random,
            session_id,
            suite,
            kind,
        })
    }

    /// The hash of the transcript, if the cipher suite is one of TLS 1.3 (RFC 8446, B.4).
    pub(super) const fn hash(&self) -> Option<Hash> {
        match self.suite {
            0x1301 | 0x1303 | 0x1304 | 0x1305 => Some(Hash::Sha256),
            0x1302 => Some(Hash::Sha384),
            _ => None,
        }
    }
}

/// The extensions of a hello, which one of TLS 1.2 may lack.
#[derive(Clone, Copy)]
struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// Takes all that is left of a hello.
    fn read(mut hello: Reader<'a>) -> Option<Self> {
        if hello.is_empty() {
            return Some(Self(&[]));
        }
        let extensions = hello.vector16()?;
        hello.is_empty().then_some(Self(extensions))
    }

    /// The content of the extension of that type; the outer `None` when the list is broken, or has
    /// it twice (RFC 8446, 4.2).
    fn find(self, of_type: u16) -> Option<Option<&'a [u8]>> {
        let (mut list, mut found) = (Reader::new(self.0), None);
        while !list.is_empty() {
            let (extension, content) = (list.u16()?, list.vector16()?);
            if extension == of_type && found.replace(content).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

/// The name in a ServerNameList (RFC 6066, 3), which has one of each type; the outer `None` when it
/// is broken. What is no host name counts as none, as it does for rustls.
fn server_name(list: &[u8]) -> Option<Option<&str>> {
    let mut reader = Reader::new(list);
    let mut names = Reader::new(reader.vector16().filter(|_| reader.is_empty())?);
    if names.u8()? != HOST_NAME {
        return None;
    }
    let name = names.vector16()?;
    names.is_empty().then(|| host_name(name))
}

/// Whether TLS 1.3 is in the list of a ClientHello (RFC 8446, 4.2.1); `None` when it is broken.
fn offers_tls13(list: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(list);
    let versions = reader.vector8().filter(|_| reader.is_empty())?;
    let whole = versions.len().is_multiple_of(2);
    let mut versions = versions.chunks_exact(2);
    whole.then(|| versions.any(|version| version == [3, 4]))
}

/// `legacy_version`, of both hellos and both versions.
const TLS12: u16 = 0x0303;
// ExtensionType (RFC 8446, 4.2) and NameType (RFC 6066, 3).
const SERVER_NAME: u16 = 0;
const SUPPORTED_VERSIONS: u16 = 43;
const HOST_NAME: u8 = 0;
/// The random of a ServerHello that is a HelloRetryRequest: the SHA-256 of that word
/// (RFC 8446, 4.1.3).
pub(super) const HELLO_RETRY_REQUEST: &[u8; 32] = &[
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
