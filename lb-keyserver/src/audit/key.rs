//! The key of checkpoints.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::json::from_hex;

/// The key of an audit log's checkpoints: HMAC-SHA256 (RFC 2104). Keep it where the log is not.
#[derive(Clone)]
pub struct CheckpointKey(hmac::Key);

impl CheckpointKey {
    /// Bytes of one.
    pub const LEN: usize = 32;

    /// Takes a key, which should be random. The caller's copy is the caller's to wipe.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Reads a file of 64 hexadecimal digits in lower case, as `openssl rand -hex 32` writes them.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is open to others than its owner, or is not that.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, BadCheckpointKey> {
        let mut file = File::open(path)?;
        if file.metadata()?.mode() & 0o077 != 0 {
            return Err(BadCheckpointKey::Exposed);
        }
        let mut text = Zeroizing::new(Vec::with_capacity(READ));
        (&mut file).take(READ as u64).read_to_end(&mut text)?;
        let bytes = from_hex(text.trim_ascii()).map(Zeroizing::new);
        Ok(Self::from_bytes(
            &*bytes.ok_or(BadCheckpointKey::Malformed)?,
        ))
    }

    /// The code over a place in the chain: what kind of line stands there, when it was written, and
    /// all that comes before.
    pub(super) fn mac(&self, seal: &Seal<'_>) -> [u8; 32] {
        let tag = hmac::sign(&self.0, &seal.bytes());
        let mut mac = [0; 32];
        for (to, from) in mac.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        mac
    }

    pub(super) fn verifies(&self, seal: &Seal<'_>, mac: &[u8; 32]) -> bool {
        hmac::verify(&self.0, &seal.bytes(), mac).is_ok()
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckpointKey(..)")
    }
}

/// What a code is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal<'a> {
    pub(super) is_begin: bool,
    pub(super) seq: u64,
    pub(super) prev: &'a [u8; 32],
    pub(super) at: u64,
}

impl Seal<'_> {
    fn bytes(&self) -> Vec<u8> {
        let purpose = b"lb-keyserver audit checkpoint 1";
        let mut bytes = purpose.to_vec();
        bytes.push(u8::from(self.is_begin));
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.at.to_be_bytes());
        bytes.extend(self.prev);
        bytes
    }
}

/// Why there is no [`CheckpointKey`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadCheckpointKey {
    /// Others than the owner may read or write the file.
    #[error("the file is open to others than its owner")]
    Exposed,
    /// It is not 64 hexadecimal digits in lower case.
    #[error("the file does not hold 64 hexadecimal digits in lower case")]
    Malformed,
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
}

/// Room for the digits, and some white space; a longer file is none.
const READ: usize = 128;
