//! Cuts a stream of bytes into frames, and reads of each no more than a decision needs.
#![warn(clippy::indexing_slicing)]

/// What the client sends before its first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;

/// A frame's header (RFC 9113, 4.1).
const HEAD: usize = 9;

/// A setting: an identifier of two bytes and a value of four.
const SETTING: usize = 6;

/// The types of RFC 9113, 6, and of RFC 9218, 7.1.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
    pub(in super::super) const PRIORITY_UPDATE: u8 = 16;
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
}

impl Head {
    fn parse(bytes: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, w, x, y, z] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The first bit is reserved, and ignored (RFC 9113, 4.1).
            stream: u32::from_be_bytes([w, x, y, z]) & 0x7fff_ffff,
        }
    }

    /// ACK of SETTINGS and PING has the same bit as END_STREAM.
    pub(super) fn is_ack(self) -> bool {
        self.flags & 0x1 != 0
    }

    pub(super) fn ends_stream(self) -> bool {
        self.flags & 0x1 != 0
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & 0x4 != 0
    }

    pub(super) fn is_padded(self) -> bool {
        self.flags & 0x8 != 0
    }

    /// Bytes of HEADERS before the fragment other than the length of the padding.
    pub(super) fn priority_length(self) -> u32 {
        if self.flags & 0x20 != 0 { 5 } else { 0 }
    }

    /// How many bytes of the payload are shown with it.
    fn shown(self) -> usize {
        let wanted = match self.kind {
            kind::DATA | kind::HEADERS if self.is_padded() => 1,
            kind::RST_STREAM | kind::WINDOW_UPDATE => 4,
            _ => 0,
        };
        wanted.min(self.length as usize)
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// A frame began. `shown` is the pad length of DATA and HEADERS with padding, the error code of
    /// RST_STREAM, the increment of WINDOW_UPDATE; 0 without.
    Frame { head: Head, shown: u32 },
    /// One setting of the SETTINGS frame that began before.
    Setting { id: u16, value: u32 },
}

/// Where in the stream of bytes it is. Copies at most 15 bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    /// The bytes of the unit under way: a header with what is shown, or a setting.
    unit: [u8; HEAD + 4],
    have: usize,
    /// The frame whose payload is under way.
    head: Option<Head>,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// Bytes to pass over before the next unit.
    skip: usize,
}

impl Frames {
    /// What a client sends: the preface, whose bytes the `h2` crate checks, and then frames.
    pub(super) fn of_client() -> Self {
        Self {
            skip: PREFACE,
            ..Self::of_server()
        }
    }

    /// What a server sends: frames.
    pub(super) fn of_server() -> Self {
        Self {
            unit: [0; HEAD + 4],
            have: 0,
            head: None,
            left: 0,
            skip: 0,
        }
    }

    /// Whether the next byte is the first of a frame.
    pub(super) fn is_between(&self) -> bool {
        self.skip == 0 && self.have == 0 && self.head.is_none()
    }

    /// Passes over what of the payload under way matters no more.
    pub(super) fn pass(&mut self, bytes: &mut &[u8]) {
        let passed = self.skip.min(bytes.len());
        *bytes = bytes.get(passed..).unwrap_or_default();
        self.skip -= passed;
    }

    /// The next event, taking what it needs from the front of `bytes`; `None` when it took all.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        loop {
            self.pass(bytes);
            if bytes.is_empty() {
                return None;
            }
            let event = match self.head {
                Some(head) if head.kind == kind::SETTINGS => self.setting(bytes),
                Some(head) => self.shown(head, bytes),
                None => self.frame(bytes),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// A header, and what is shown with it if that is nothing.
    fn frame(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        let unit: [u8; HEAD] = self.collect(bytes)?;
        let head = Head::parse(unit);
        self.left = head.length as usize;
        if head.shown() > 0 {
            self.head = Some(head);
            return None;
        }
        if head.kind == kind::SETTINGS && self.left >= SETTING {
            self.head = Some(head);
        } else {
            self.skip = self.left;
        }
        Some(Event::Frame { head, shown: 0 })
    }

    fn shown(&mut self, head: Head, bytes: &mut &[u8]) -> Option<Event> {
        let shown = match head.shown() {
            1 => u32::from_be_bytes([0, 0, 0, self.collect::<1>(bytes)?[0]]),
            4 => u32::from_be_bytes(self.collect(bytes)?),
            // An RST_STREAM or WINDOW_UPDATE that is too short: only its length matters.
            _ => 0,
        };
        self.skip = match head.shown() {
            taken @ (1 | 4) => self.left - taken,
            _ => self.left,
        };
        self.head = None;
        Some(Event::Frame { head, shown })
    }

    fn setting(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        let [a, b, value @ ..] = self.collect::<SETTING>(bytes)?;
        self.left -= SETTING;
        if self.left < SETTING {
            self.head = None;
            self.skip = self.left;
        }
        Some(Event::Setting {
            id: u16::from_be_bytes([a, b]),
            value: u32::from_be_bytes(value),
        })
    }

    /// `N` bytes, over any number of calls.
    fn collect<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        if self.have == 0
            && let Some((whole, rest)) = bytes.split_first_chunk()
        {
            *bytes = rest;
            return Some(*whole);
        }
        let room = self.unit.get_mut(self.have..N)?;
        let taken = room.len().min(bytes.len());
        let (now, later) = bytes.split_at_checked(taken)?;
        room.get_mut(..taken)?.copy_from_slice(now);
        *bytes = later;
        self.have += taken;
        if self.have < N {
            return None;
        }
        self.have = 0;
        self.unit.first_chunk().copied()
    }
}
