//! Frames as bytes, legal or not.

use std::fmt;

/// RFC 9113, 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113, 6.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
    /// Of no RFC.
    pub(crate) const UNKNOWN: u8 = 0xff;
}

/// RFC 9113, 6.1 and 6.2.
pub(crate) mod flag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
    /// A whole request without a body.
    pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// RFC 9113, 7.
pub(crate) mod code {
    pub(crate) const PROTOCOL: u32 = 1;
    pub(crate) const FLOW_CONTROL: u32 = 3;
    pub(crate) const STREAM_CLOSED: u32 = 5;
    pub(crate) const FRAME_SIZE: u32 = 6;
    pub(crate) const REFUSED: u32 = 7;
    pub(crate) const CANCEL: u32 = 8;
    pub(crate) const COMPRESSION: u32 = 9;
    /// Of no RFC.
    pub(crate) const UNKNOWN: u32 = 0xff;
}

/// The settings of RFC 9113, 6.5.2 that cases use.
pub(crate) mod setting {
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const INITIAL_WINDOW: u16 = 4;
    pub(crate) const MAX_FRAME: u16 = 5;
    /// Of no RFC.
    pub(crate) const UNKNOWN: u16 = 0xff;
}

/// A frame that was received.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The first frame of `bytes` and its length, once it is whole.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let [a, b, c, kind, flags, w, x, y, z] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let frame = Self {
            kind,
            flags,
            stream: u32::from_be_bytes([w, x, y, z]) & 0x7fff_ffff,
            payload: rest.get(..length)?.to_vec(),
        };
        Some((frame, 9 + length))
    }

    pub(crate) fn is_ack(&self) -> bool {
        self.flags & flag::ACK != 0
    }

    pub(crate) fn ends_stream(&self) -> bool {
        self.flags & flag::END_STREAM != 0
    }

    /// The error code of GOAWAY and RST_STREAM.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::GOAWAY => 4,
            kind::RST_STREAM => 0,
            _ => return None,
        };
        let bytes = self.payload.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }

    /// The identifiers and values of SETTINGS.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (u16, u32)> {
        self.payload.chunks_exact(6).map(|setting| {
            let id = u16::from_be_bytes([setting[0], setting[1]]);
            let value = [setting[2], setting[3], setting[4], setting[5]];
            (id, u32::from_be_bytes(value))
        })
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 10] = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        let name = NAMES.get(usize::from(self.kind)).unwrap_or(&"UNKNOWN");
        write!(f, "{name}")?;
        if let Some(code) = self.code() {
            write!(f, "({code:#x})")?;
        }
        write!(f, " on {}", self.stream)
    }
}

/// Any frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn data(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload)
}

pub(crate) fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

pub(crate) fn continuation(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, block)
}

/// The priority of a stream: what it depends on, whether alone, and its weight less one.
pub(crate) fn dependency(on: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    let on = on | if exclusive { 1 << 31 } else { 0 };
    let mut bytes = on.to_be_bytes().to_vec();
    bytes.push(weight);
    bytes
}

pub(crate) fn priority(stream: u32, dependency: &[u8]) -> Vec<u8> {
    frame(kind::PRIORITY, flag::NONE, stream, dependency)
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(kind::SETTINGS, flag::NONE, 0, &payload)
}

pub(crate) fn ack() -> Vec<u8> {
    frame(kind::SETTINGS, flag::ACK, 0, &[])
}

pub(crate) fn ping(payload: [u8; 8]) -> Vec<u8> {
    frame(kind::PING, flag::NONE, 0, &payload)
}

pub(crate) fn goaway(stream: u32, code: u32) -> Vec<u8> {
    let mut payload = vec![0; 4];
    payload.extend(code.to_be_bytes());
    frame(kind::GOAWAY, flag::NONE, stream, &payload)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    let increment = increment.to_be_bytes();
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, &increment)
}

/// A payload with `padding` bytes of padding, which it claims are `claimed`.
pub(crate) fn padded(claimed: u8, payload: &[u8], padding: usize) -> Vec<u8> {
    let mut bytes = vec![claimed];
    bytes.extend(payload);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}
