//! Compresses answers on their way to clients that take them so.
//!
//! ```text
//!   head of the answer ── Compression::apply ──▶ which coding, and the head that says so
//!   its body ── Encoder: push, flush where the backend pauses, finish ──▶ the same, smaller
//! ```
//!
//! Nothing here does I/O. An answer that is compressed is another representation of the same thing
//! (RFC 9110, 8.4): its length is no longer known, its bytes cannot be asked for in ranges, and a
//! strong `ETag` becomes a weak one.
//!
//! Where an answer mixes a secret with what a stranger may put into the request, its compressed
//! length tells of the secret (BREACH, 2013): leave such answers out, by a target of their own
//! without compression or by `Cache-Control: no-transform` from the backend.

mod accept;
mod answer;
mod encoder;
mod types;

use std::fmt;
use std::sync::Arc;

pub use accept::{Choice, choose};
pub use encoder::{EncodeError, Encoder};
pub use types::{ContentTypes, TypeError};

/// A content coding that this proxy can apply (RFC 9110, 8.4.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
#[doc(alias = "content encoding")]
pub enum Codec {
    /// `br` (RFC 7932).
    Brotli,
    /// `gzip` (RFC 1952), which clients may also call `x-gzip`.
    Gzip,
    /// `zstd` (RFC 8878), within the window of RFC 9659.
    Zstd,
}

impl Codec {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Gzip, Self::Zstd];

    /// Its registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of this name, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let is_it = |codec: &Self| name.eq_ignore_ascii_case(codec.as_str().as_bytes());
        Self::ALL.into_iter().find(is_it)
    }

    /// How many bytes an encoder takes that tries as hard as `level` says; what a
    /// [budget](crate::limit::RequestLimits::budget) is charged.
    ///
    /// Measured as what 8 of them add to the resident memory of a process over 4 MiB of text each,
    /// and rounded up: at 4 of brotli 3.5 MiB, at 9 28 MiB, of gzip 0.3 MiB at any, at 3 of zstd
    /// 1.5 MiB, at 9 11 MiB.
    #[must_use]
    pub const fn memory(self, level: u8) -> u64 {
        let kibibytes = match (self, level) {
            (Self::Brotli, 0 | 1) => 512,
            (Self::Brotli, 2 | 3) => 1280,
            (Self::Brotli, 4..=6) => 5 * 1024,
            (Self::Brotli, _) => 30 * 1024,
            (Self::Gzip, _) => 320,
            (Self::Zstd, 0 | 1) => 1024,
            (Self::Zstd, 2 | 3) => 1792,
            (Self::Zstd, 4..=6) => 3584,
            (Self::Zstd, _) => 12 * 1024,
        };
        kibibytes * 1024
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which answers are compressed, and how.
///
/// An answer is, when its client takes a coding of these, it has a body of one of these types that
/// is not shorter than [`min_length`](Self::min_length), and nothing speaks against it: a
/// `Content-Encoding` that it has already, a part of a range (206, `Content-Range`), `no-transform`,
/// a digest of its bytes, or a client of HTTP/1.0, which knows no chunks.
///
/// # Examples
///
/// ```
/// use lb_l7::compress::{Codec, Compression};
///
/// let compression = Compression::default()
///     .codecs([Codec::Brotli, Codec::Gzip])
///     .types(["text/*", "application/json", "application/*+json"])?
///     .min_length(512);
/// # let _ = compression;
/// # Ok::<(), lb_l7::compress::TypeError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compression {
    codecs: Arc<[Codec]>,
    types: ContentTypes,
    min_length: u64,
    levels: Levels,
    offload: bool,
}

/// How hard each codec tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Levels {
    brotli: u8,
    gzip: u8,
    zstd: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            codecs: Arc::new([Codec::Zstd, Codec::Brotli, Codec::Gzip]),
            types: ContentTypes::default(),
            min_length: DEFAULT_MIN_LENGTH,
            levels: Levels {
                brotli: 3,
                gzip: 5,
                zstd: 3,
            },
            offload: false,
        }
    }
}

impl Compression {
    /// Compresses nothing: for a target that is to do without what the settings say.
    #[must_use]
    pub fn off() -> Self {
        Self::default().codecs([])
    }

    /// Whether backends are asked for answers that are not coded, so that all the compressing is
    /// done here. Default false: a backend that compresses saves the way in between too.
    #[must_use]
    pub const fn offload(mut self, offload: bool) -> Self {
        self.offload = offload;
        self
    }

    /// Which codings there are, the one that is liked best first: among those that a client takes
    /// equally gladly, the first is used.
    ///
    /// Default `zstd`, `br`, `gzip`: by how much they save for the time they take.
    #[must_use]
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = Codec>) -> Self {
        self.codecs = codecs.into_iter().collect();
        self
    }

    /// Which types are compressed: `text/html`, `text/*`, `application/*+json`. They replace the
    /// [default](ContentTypes::DEFAULT).
    ///
    /// # Errors
    ///
    /// Names the first that is no such type.
    pub fn types<'a>(
        mut self,
        types: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TypeError> {
        self.types = ContentTypes::new(types)?;
        Ok(self)
    }

    /// How long a body must be, in bytes, if its length is known. Default
    /// [`DEFAULT_MIN_LENGTH`].
    #[must_use]
    pub const fn min_length(mut self, bytes: u64) -> Self {
        self.min_length = bytes;
        self
    }

    /// How hard `codec` tries, from 1 (fast) to 9 (small); more is taken as 9, and 0 as 1.
    ///
    /// Default: brotli 3, gzip 5, zstd 3, beyond which a step saves few bytes for its time and, but
    /// for gzip, its [memory](Codec::memory). Levels that are made for files that are compressed once,
    /// such as 11 of brotli, cannot be had.
    #[must_use]
    pub const fn level(mut self, codec: Codec, level: u8) -> Self {
        let level = match level {
            0 => 1,
            1..=9 => level,
            _ => 9,
        };
        match codec {
            Codec::Brotli => self.levels.brotli = level,
            Codec::Gzip => self.levels.gzip = level,
            Codec::Zstd => self.levels.zstd = level,
        }
        self
    }

    /// What compressing an answer by `codec` takes.
    pub(crate) const fn memory(&self, codec: Codec) -> u64 {
        codec.memory(self.level_of(codec))
    }

    const fn level_of(&self, codec: Codec) -> u8 {
        match codec {
            Codec::Brotli => self.levels.brotli,
            Codec::Gzip => self.levels.gzip,
            Codec::Zstd => self.levels.zstd,
        }
    }
}

/// A body that fits into one packet arrives no sooner when it is smaller: 1 KiB, which with a head
/// fills the 1460 bytes of an Ethernet frame's TCP segment.
pub const DEFAULT_MIN_LENGTH: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_known_by_its_name_in_any_case() {
        for codec in Codec::ALL {
            let name = codec.to_string();
            assert_eq!(Codec::from_name(name.as_bytes()), Some(codec));
            let name = name.to_uppercase();
            assert_eq!(Codec::from_name(name.as_bytes()), Some(codec));
        }
        assert_eq!(Codec::from_name(b"X-Gzip"), Some(Codec::Gzip));
        assert_eq!(Codec::from_name(b"deflate"), None);
        assert_eq!(Codec::from_name(b""), None);
    }

    #[test]
    fn levels_stay_between_one_and_nine() {
        for codec in Codec::ALL {
            let at = |level| Compression::default().level(codec, level).level_of(codec);
            assert_eq!([0, 1, 9, 10, 255].map(at), [1, 1, 9, 9, 9]);
        }
        let set = Compression::default().level(Codec::Gzip, 7);
        let levels = Codec::ALL.map(|codec| set.level_of(codec));
        assert_eq!(levels, [3, 7, 3]);
    }

    #[test]
    fn a_harder_level_takes_no_less_memory() {
        for codec in Codec::ALL {
            assert!((0..20).map(|level| codec.memory(level)).is_sorted());
            assert_eq!(codec.memory(0), codec.memory(1));
            assert_eq!(codec.memory(9), codec.memory(u8::MAX));
        }
        let usual = [(Codec::Brotli, 3), (Codec::Gzip, 5), (Codec::Zstd, 3)];
        let usual = usual.map(|(codec, level)| codec.memory(level) / 1024);
        assert_eq!(usual, [1280, 320, 1792]);
        let most = Codec::ALL.map(|codec| codec.memory(9) / 1024);
        assert_eq!(most, [30_720, 320, 12_288]);
        let middle = Codec::ALL.map(|codec| [4, 6].map(|level| codec.memory(level) / 1024));
        assert_eq!(middle, [[5120, 5120], [320, 320], [3584, 3584]]);
        assert_eq!(
            [Codec::Brotli, Codec::Zstd].map(|codec| codec.memory(2) / 1024),
            [1280, 1792]
        );
        assert_eq!(
            [Codec::Brotli, Codec::Zstd].map(|codec| codec.memory(1) / 1024),
            [512, 1024]
        );
    }
}
