//! What a frame must be like, whatever came before it, and which streams have ended.

use crate::h2_guard::Illegal;
use crate::h2_guard::frames::{Head, kind};
use crate::h2_guard::limits::MAX_FRAME;

/// Lengths, padding, increments, and whether there is a stream where one belongs.
pub(super) fn admit_shape(head: Head, shown: u32) -> Result<(), Illegal> {
    let exact = |length: u32| head.length == length;
    let fits = head.length <= MAX_FRAME
        && match head.kind {
            kind::PRIORITY => exact(5),
            kind::RST_STREAM | kind::WINDOW_UPDATE => exact(4),
            kind::SETTINGS if head.is_ack() => exact(0),
            kind::SETTINGS => head.length.is_multiple_of(6),
            kind::PING => exact(8),
            kind::GOAWAY => head.length >= 8,
            kind::PRIORITY_UPDATE => head.length >= 4,
            _ => true,
        };
    if !fits {
        return Err(Illegal::FrameLength);
    }
    let on_stream = head.stream != 0;
    let placed = match head.kind {
        kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION => {
            on_stream
        }
        kind::SETTINGS | kind::PING | kind::GOAWAY | kind::PRIORITY_UPDATE => !on_stream,
        _ => true,
    };
    if !placed {
        return Err(Illegal::StreamId);
    }
    match head.kind {
        kind::PUSH_PROMISE => Err(Illegal::Push),
        kind::DATA | kind::HEADERS if head.is_padded() => {
            let before = if head.kind == kind::HEADERS {
                head.priority_length()
            } else {
                0
            };
            if head.length <= before {
                return Err(Illegal::FrameLength);
            }
            // RFC 9113, 6.1: padding as long as the payload, its length field included, is too long.
            if shown + before >= head.length {
                return Err(Illegal::Padding);
            }
            Ok(())
        }
        kind::HEADERS if head.priority_length() > head.length => Err(Illegal::FrameLength),
        // RFC 9113, 6.9: for a stream it is the stream's error, which the `h2` crate answers.
        kind::WINDOW_UPDATE if !on_stream && shown & 0x7fff_ffff == 0 => {
            Err(Illegal::WindowIncrement)
        }
        _ => Ok(()),
    }
}

/// RFC 9113, 6.5.2, and RFC 8441, 3.
pub(super) fn admit_setting(id: u16, value: u32) -> Result<(), Illegal> {
    match id {
        2 | 8 if value > 1 => Err(Illegal::SettingValue),
        4 if value > 0x7fff_ffff => Err(Illegal::SettingWindow),
        5 if !(1 << 14..1 << 24).contains(&value) => Err(Illegal::SettingValue),
        _ => Ok(()),
    }
}

/// The streams that the client ended last, in a ring.
///
/// The `h2` crate answers what comes on them by PROTOCOL_ERROR while it remembers them. A client
/// whose frames are in order never sends any, so that what falls out of the ring is no loss.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    streams: [u32; 32],
    next: usize,
}

impl Ended {
    pub(super) fn holds(&self, stream: u32) -> bool {
        self.streams.contains(&stream)
    }

    pub(super) fn push(&mut self, stream: u32) {
        if let Some(oldest) = self.streams.get_mut(self.next) {
            *oldest = stream;
        }
        self.next = (self.next + 1) % self.streams.len();
    }
}
