//! Pieces of a body in, pieces of a smaller one out.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::zstd::params::CParameter;
use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use thiserror::Error;

use super::Codec;

/// Compresses one body, piece by piece.
///
/// It holds what its codec needs ([`Codec::memory`]) and 16 KiB, whatever passes through it, and
/// gives at once all that its codec has to give.
///
/// # Examples
///
/// ```
/// use lb_l7::compress::{Codec, Encoder};
///
/// let mut encoder = Encoder::new(Codec::Gzip, 5);
/// let mut body = Vec::new();
/// body.extend_from_slice(&encoder.push(b"the same, ")?);
/// body.extend_from_slice(&encoder.push(b"the same, the same")?);
/// body.extend_from_slice(&encoder.finish()?);
/// assert!(body.starts_with(&[0x1f, 0x8b]));
/// # Ok::<(), lb_l7::compress::EncodeError>(())
/// ```
pub struct Encoder {
    codec: Codec,
    state: State,
    /// Whether something was taken that may not have been given.
    is_holding: bool,
    flushes_on_pause: bool,
    scratch: Box<[u8]>,
}

enum State {
    Brotli(Box<BrotliEncoder>),
    Gzip(GzipEncoder),
    Zstd(ZstdEncoder),
}

/// An encoder could not go on. A fault of this program or of the codec's; the body cannot be ended.
#[derive(Debug, Error)]
#[error("the {codec} encoder failed: {error}")]
pub struct EncodeError {
    codec: Codec,
    #[source]
    error: io::Error,
}

/// What is asked of a codec.
#[derive(Clone, Copy)]
enum Step {
    Push,
    Flush,
    Finish,
}

impl Encoder {
    /// An encoder that tries as hard as `level` says, 1 to 9.
    ///
    /// # Panics
    ///
    /// When there is no memory for it.
    #[must_use]
    pub fn new(codec: Codec, level: u8) -> Self {
        let level = Level::Precise(level.clamp(1, 9).into());
        let state = match codec {
            Codec::Brotli => {
                let params = EncoderParams::default()
                    .quality(level)
                    .window_size(i32::from(WINDOW_LOG));
                State::Brotli(Box::new(BrotliEncoder::new(params)))
            }
            Codec::Gzip => State::Gzip(GzipEncoder::new(level.into())),
            Codec::Zstd => {
                let window = CParameter::window_log(u32::from(WINDOW_LOG));
                let level = CParameter::quality(level);
                State::Zstd(ZstdEncoder::new_with_params(level, &[window]))
            }
        };
        Self {
            codec,
            state,
            is_holding: false,
            flushes_on_pause: false,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        }
    }

    /// Whether [`pause`](Self::pause) gives what is held back. Default false.
    #[must_use]
    pub const fn flush_on_pause(mut self, flushes: bool) -> Self {
        self.flushes_on_pause = flushes;
        self
    }

    /// Whether [`pause`](Self::pause) gives what is held back.
    #[must_use]
    pub const fn flushes_on_pause(&self) -> bool {
        self.flushes_on_pause
    }

    /// What it codes with.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes a piece, and gives what that completes: often nothing.
    ///
    /// # Errors
    ///
    /// When the codec fails; the body cannot be ended then.
    pub fn push(&mut self, data: &[u8]) -> Result<Bytes, EncodeError> {
        if data.is_empty() {
            return Ok(Bytes::new());
        }
        self.is_holding = true;
        self.run(data, Step::Push)
    }

    /// Gives whatever was taken so far, so that a client can decode all of it; nothing, if it can.
    ///
    /// Costs some bytes, and what could have been saved by seeing more.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn flush(&mut self) -> Result<Bytes, EncodeError> {
        if !std::mem::take(&mut self.is_holding) {
            return Ok(Bytes::new());
        }
        let mut given = BytesMut::new();
        loop {
            self.drain(&mut given);
            let flushed = self.run(&[], Step::Flush)?;
            given.extend_from_slice(&flushed);
            if !matches!(self.state, State::Gzip(_)) || flushed.len() < SCRATCH {
                return Ok(given.freeze());
            }
        }
    }

    /// Gives what gzip's codec has made and had no room for.
    ///
    /// It forgets that a flush was asked for when it runs out of room on the way, and calls it done
    /// once what was made so far is given. So it is flushed with nothing waiting, and again until
    /// the room was enough.
    fn drain(&mut self, given: &mut BytesMut) {
        let State::Gzip(gzip) = &mut self.state else {
            return;
        };
        loop {
            let mut output = WriteBuffer::new_initialized(&mut self.scratch);
            // To have nothing to give is an error to it; a real one comes again with the flush.
            let asked = gzip.encode(&mut PartialBuffer::new(&[]), &mut output);
            given.extend_from_slice(output.written());
            if asked.is_err() || output.written_len() == 0 {
                return;
            }
        }
    }

    /// The source has paused: what it has sent may be all for a while.
    ///
    /// [`flush`](Self::flush)es, if it was made to: a body without a length may be a stream of
    /// events, whose reader waits for each; the end of one with a length is in sight.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn pause(&mut self) -> Result<Bytes, EncodeError> {
        if self.flushes_on_pause {
            self.flush()
        } else {
            Ok(Bytes::new())
        }
    }

    /// Ends the body. Nothing may be pushed after it.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Bytes, EncodeError> {
        self.is_holding = false;
        self.run(&[], Step::Finish)
    }

    fn run(&mut self, data: &[u8], step: Step) -> Result<Bytes, EncodeError> {
        let codec = self.codec;
        let failed = |error| EncodeError { codec, error };
        let state: &mut dyn EncodeV2 = match &mut self.state {
            State::Brotli(brotli) => &mut **brotli,
            State::Gzip(gzip) => gzip,
            State::Zstd(zstd) => zstd,
        };
        let mut given = BytesMut::new();
        let mut input = PartialBuffer::new(data);
        loop {
            let before = input.written_len();
            let mut output = WriteBuffer::new_initialized(&mut self.scratch);
            let is_done = match step {
                Step::Push => {
                    state.encode(&mut input, &mut output).map_err(failed)?;
                    input.unwritten().is_empty()
                }
                Step::Flush => state.flush(&mut output).map_err(failed)?,
                Step::Finish => state.finish(&mut output).map_err(failed)?,
            };
            given.extend_from_slice(output.written());
            if is_done {
                return Ok(given.freeze());
            }
            if output.written_len() == 0 && input.written_len() == before {
                return Err(failed(io::ErrorKind::WriteZero.into()));
            }
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("codec", &self.codec)
            .field("is_holding", &self.is_holding)
            .field("flushes_on_pause", &self.flushes_on_pause)
            .finish_non_exhaustive()
    }
}

/// 2^18 bytes of the past are searched: more saves little of a page, and costs memory at both ends.
/// RFC 9659 lets a zstd answer have 2^23 at most.
const WINDOW_LOG: u8 = 18;

/// Bytes that a codec gives at once.
const SCRATCH: usize = 16 * 1024;

#[cfg(test)]
mod tests;
