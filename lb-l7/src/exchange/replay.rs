//! What has been read of a request's body, in case it has to be sent again.

use bytes::Bytes;
use http::HeaderMap;

use crate::body::Frame;

/// The beginning of a body, up to a number of bytes; past it, the body can be sent once only.
///
/// A piece is kept by its handle and not copied, so that what a body holds is what it was read into.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pieces: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// Bytes that may be kept still.
    room: usize,
    /// Whether something went by that was not kept.
    is_broken: bool,
    /// Pieces that the try under way has sent.
    sent: usize,
}

impl Replay {
    /// Keeps at most `room` bytes.
    pub(crate) fn keeping(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Remembers a piece that the try under way sends.
    pub(crate) fn keep(&mut self, frame: &Frame) {
        if self.is_broken {
            return;
        }
        match frame {
            Frame::Data(data) if data.len() <= self.room => {
                self.room -= data.len();
                self.pieces.push(data.clone());
                self.sent += 1;
            }
            Frame::Data(_) => self.forget(),
            Frame::Trailers(fields) => self.trailers = Some(fields.clone()),
        }
    }

    /// Gives up: nothing will be sent again.
    pub(crate) fn forget(&mut self) {
        *self = Self {
            is_broken: true,
            ..Self::default()
        };
    }

    /// Whether all that has been read of the body can be sent again.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.is_broken
    }

    /// Begins another try.
    pub(crate) const fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next piece that an earlier try has sent and this one has not.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.sent)?.clone();
        self.sent += 1;
        Some(piece)
    }

    /// The trailers that an earlier try has read.
    pub(crate) fn trailers(&self) -> Option<HeaderMap> {
        self.trailers.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &'static str) -> Frame {
        Frame::Data(Bytes::from_static(text.as_bytes()))
    }

    fn rest(replay: &mut Replay) -> Vec<Bytes> {
        std::iter::from_fn(|| replay.next()).collect()
    }

    #[test]
    fn a_second_try_gets_what_the_first_one_sent() {
        let mut replay = Replay::keeping(6);
        replay.keep(&data("abc"));
        replay.keep(&data("def"));
        assert_eq!(replay.next(), None);
        replay.rewind();
        assert_eq!(rest(&mut replay), ["abc", "def"]);
        replay.rewind();
        assert_eq!(replay.next().unwrap(), "abc");
        replay.rewind();
        assert_eq!(rest(&mut replay), ["abc", "def"]);
        assert!(replay.is_whole());
    }

    #[test]
    fn one_byte_too_many_and_nothing_can_be_sent_again() {
        let mut replay = Replay::keeping(5);
        replay.keep(&data("abc"));
        assert!(replay.is_whole());
        replay.keep(&data("def"));
        assert!(!replay.is_whole());
        replay.rewind();
        assert_eq!(replay.next(), None);
        replay.keep(&data("x"));
        replay.rewind();
        assert_eq!(replay.next(), None);
    }

    #[test]
    fn trailers_are_sent_again() {
        let mut replay = Replay::keeping(0);
        let fields = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
        replay.keep(&Frame::Trailers(fields.clone()));
        assert!(replay.is_whole());
        assert_eq!(replay.trailers(), Some(fields));
    }
}
