//! One handshake between a client's ACK and a backend's answer.

use std::net::SocketAddr;

use crate::method::splice::Splice;
use crate::wire::TcpHeader;
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN};

use super::segment::{Said, Timestamps};
use super::{Cookie, SynOptions};

/// What is known of a handshake whose cookie was right.
#[derive(Clone, Debug)]
pub(super) struct HalfOpen {
    pub(super) client: SocketAddr,
    pub(super) service: SocketAddr,
    /// The client's initial sequence number, which the backend is given too.
    pub(super) sequence: u32,
    pub(super) cookie: Cookie,
    pub(super) asked: SynOptions,
    pub(super) promised_scale: u8,
    /// The client's newest timestamp; 0 if it sends none.
    pub(super) timestamp: u32,
    /// The client's newest window, as it stands in its segments.
    pub(super) window: u16,
    /// What the client has sent, from its first byte on and without a gap.
    pub(super) held: Vec<u8>,
    /// Whether the client has nothing to send after that.
    pub(super) fin: bool,
    /// How many bytes it may send: what it was told.
    pub(super) most: u16,
}

/// What a segment of a client brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Brought<'a> {
    /// Nothing that is not known.
    Nothing,
    /// These bytes behind those that are held, and whether they are the last.
    Bytes(&'a [u8], Last),
    /// Bytes that do not follow those that are held, or more than the client may send.
    Outside,
}

/// Whether a client has said that nothing follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Last {
    Yes,
    No,
}

impl HalfOpen {
    /// The client's first byte.
    pub(super) const fn first(&self) -> u32 {
        self.sequence.wrapping_add(1)
    }

    /// Our first byte, if we ever sent one: what the client acknowledges.
    pub(super) const fn acknowledged(&self) -> u32 {
        self.cookie.sequence.wrapping_add(1)
    }

    /// The scale of windows that the client is told.
    pub(super) const fn scale(&self) -> u8 {
        match self.asked.window_scale {
            Some(_) => self.promised_scale,
            None => 0,
        }
    }

    /// The SYN for the backend, as from the client to the service.
    pub(super) fn emit_syn(&self, out: &mut Vec<u8>) {
        let said = self.syn_options();
        let options = said.options();
        self.syn(options.bytes()).emit(out);
    }

    pub(super) fn syn_options(&self) -> Said {
        Said {
            mss: Some(self.asked.mss),
            window_scale: self.asked.window_scale,
            sack: self.asked.sack,
            timestamps: self.asked.timestamps.then_some(Timestamps {
                value: self.timestamp,
                echo: 0,
            }),
        }
    }

    pub(super) fn syn<'a>(&self, options: &'a [u8]) -> TcpSegment<'a> {
        // RFC 3168, 6.1.1: a SYN that offers ECN has both.
        let ecn = if self.asked.ecn { ECE | CWR } else { 0 };
        // RFC 7323, 2.2: the window of a SYN is never scaled.
        let scale = self.asked.window_scale.unwrap_or(0);
        let window = u32::from(self.window) << scale.min(14);
        TcpSegment::new(self.client, self.service, SYN | ecn)
            .sequence(self.sequence)
            .window(u16::try_from(window).unwrap_or(u16::MAX))
            .options(options)
    }

    /// An RST from the client, for a backend that may have taken the SYN.
    pub(super) fn reset_to_backend(&self) -> TcpSegment<'static> {
        TcpSegment::new(self.client, self.service, RST).sequence(self.first())
    }

    /// What tells the client that the session is no more; `from` and `to` are its ends as the packet
    /// that carries it has them.
    pub(super) fn reset_to_client(&self, from: SocketAddr, to: SocketAddr) -> TcpSegment<'static> {
        TcpSegment::new(from, to, RST | ACK)
            .sequence(self.acknowledged())
            .acknowledgement(self.first())
    }

    /// Says again what we have: the answer to a segment that cannot belong to this handshake
    /// (RFC 5961, 4).
    pub(super) fn challenge<'a>(&self, options: &'a [u8]) -> TcpSegment<'a> {
        let scale = self.scale();
        TcpSegment::new(self.service, self.client, ACK)
            .sequence(self.acknowledged())
            .acknowledgement(self.first())
            .window(scaled(self.most, scale))
            .options(options)
    }

    pub(super) fn challenge_options(&self) -> Said {
        Said {
            timestamps: self.cookie.timestamp.map(|value| Timestamps {
                value,
                echo: self.timestamp,
            }),
            ..Said::default()
        }
    }

    /// Whether an RST of the client's is to be believed: with our number in it, anywhere in its
    /// window, else where it can be only the next (RFC 5961, 3.2).
    pub(super) fn is_reset_by(&self, tcp: &TcpHeader) -> bool {
        let offset = tcp.sequence.wrapping_sub(self.first());
        if tcp.has(ACK) && tcp.acknowledgement == self.acknowledged() {
            return offset <= u32::from(self.most);
        }
        offset == 0 || u32::try_from(self.held.len() + usize::from(self.fin)) == Ok(offset)
    }

    /// What of a segment with this payload is new.
    pub(super) fn brought<'a>(&self, tcp: &TcpHeader, payload: &'a [u8]) -> Brought<'a> {
        let offset = tcp.sequence.wrapping_sub(self.first());
        // Before the first byte there is nothing but a keep-alive's repetition of the SYN.
        if self.fin || offset > u32::MAX / 2 {
            return Brought::Nothing;
        }
        let held = self.held.len();
        let fin = tcp.has(FIN);
        let Some(known) = held.checked_sub(usize::try_from(offset).unwrap_or(usize::MAX)) else {
            return match payload.is_empty() && !fin {
                true => Brought::Nothing,
                false => Brought::Outside,
            };
        };
        let Some(new) = payload.get(known..) else {
            return Brought::Nothing;
        };
        let room = usize::from(self.most).saturating_sub(held);
        let fits = new.get(..room).unwrap_or(new);
        match (new.len(), fits.len()) {
            (0, _) if !fin => Brought::Nothing,
            (1.., 0) => Brought::Outside,
            (new, fits_len) if fin && new == fits_len => Brought::Bytes(fits, Last::Yes),
            _ => Brought::Bytes(fits, Last::No),
        }
    }

    /// The newest of what the client says in each segment.
    pub(super) fn observe(&mut self, tcp: &TcpHeader, said: &Said) {
        self.window = tcp.window;
        if let Some(Timestamps { value, .. }) = said.timestamps
            && value.wrapping_sub(self.timestamp) < 1 << 31
        {
            self.timestamp = value;
        }
    }

    /// Whether the backend lacks something that the client was promised, and that cannot be made up
    /// for: every segment of a session with timestamps has one (RFC 7323, 3.2).
    pub(super) const fn is_broken_by(&self, answer: &Said) -> bool {
        self.cookie.timestamp.is_some() && answer.timestamps.is_none()
    }

    /// What differs between the two sides, given the backend's SYN-ACK.
    pub(super) fn splice(&self, tcp: &TcpHeader, answer: &Said) -> Splice {
        let theirs = self.cookie.sequence.wrapping_sub(tcp.sequence);
        let mut splice = Splice::default().backend_sequence(theirs);
        if let (Some(ours), Some(Timestamps { value, .. })) =
            (self.cookie.timestamp, answer.timestamps)
        {
            splice.backend_timestamp = ours.wrapping_sub(value);
        }
        if let Some(client) = self.asked.window_scale {
            // RFC 7323, 2.2: a side that is not told of scaling does not scale either.
            let backend = answer.window_scale;
            splice.backend_window = shift(backend.unwrap_or(0), self.promised_scale);
            splice.client_window = match backend {
                Some(_) => 0,
                None => shift(client, 0),
            };
        }
        splice.blank_sack = self.asked.sack && !answer.sack;
        splice.blank_ecn = self.asked.ecn && !tcp.has(ECE);
        splice
    }

    /// The backend's SYN-ACK as an acknowledgement without SYN, in the backend's numbers: it tells the
    /// client the backend's window.
    pub(super) fn opening<'a>(
        &self,
        (from, to): (SocketAddr, SocketAddr),
        tcp: &TcpHeader,
        scale: u8,
        options: &'a [u8],
    ) -> TcpSegment<'a> {
        TcpSegment::new(from, to, ACK)
            .sequence(tcp.sequence.wrapping_add(1))
            .acknowledgement(self.first())
            .window(scaled(tcp.window, scale))
            .options(options)
    }

    /// What the client has sent, for the backend: `window` bytes at most. Nothing is held any more.
    pub(super) fn release(&mut self, window: u16, mss: u16) -> Released {
        let fits = usize::from(window) >= self.held.len();
        let mut held = std::mem::take(&mut self.held);
        held.truncate(usize::from(window));
        Released {
            segment: TcpSegment::new(self.client, self.service, ACK)
                .sequence(self.first())
                .acknowledgement(self.acknowledged())
                .window(self.window),
            timestamps: self.cookie.timestamp.map(|echo| Timestamps {
                value: self.timestamp,
                echo,
            }),
            held,
            sent: 0,
            chunk: usize::from(mss.saturating_sub(MOST_OPTIONS).max(LEAST_CHUNK)),
            fin: self.fin && fits,
            done: false,
        }
    }
}

/// Segments of a client that were held for its backend, from the client to the service, in the
/// client's numbers: each goes the way of any packet of the session.
#[derive(Clone, Debug)]
pub struct Released {
    segment: TcpSegment<'static>,
    timestamps: Option<Timestamps>,
    held: Vec<u8>,
    sent: usize,
    chunk: usize,
    fin: bool,
    done: bool,
}

impl Released {
    /// One segment alone, and nothing held.
    pub(super) const fn only(segment: TcpSegment<'static>) -> Self {
        Self {
            segment,
            timestamps: None,
            held: Vec::new(),
            sent: 0,
            chunk: 1,
            fin: false,
            done: false,
        }
    }

    /// Writes the next segment into `out`, from the IP header on, in the place of what is there; says
    /// whether there was one.
    ///
    /// The first acknowledges the backend's SYN, with data or without.
    pub fn poll(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        if self.done {
            return false;
        }
        let rest = self.held.get(self.sent..).unwrap_or_default();
        let payload = rest.get(..self.chunk).unwrap_or(rest);
        self.done = payload.len() == rest.len();
        let said = Said {
            timestamps: self.timestamps,
            ..Said::default()
        };
        let options = said.options();
        let mut segment = TcpSegment {
            payload,
            options: options.bytes(),
            ..self.segment
        };
        if self.done && !rest.is_empty() {
            segment.flags |= PSH;
        }
        if self.done && self.fin {
            segment.flags |= FIN;
        }
        let sent = u32::try_from(self.sent).unwrap_or(u32::MAX);
        segment.sequence = segment.sequence.wrapping_add(sent);
        segment.emit(out);
        self.sent += payload.len();
        true
    }
}

/// An unscaled window in a scale; one that is open stays open.
fn scaled(window: u16, scale: u8) -> u16 {
    (window >> scale.min(14)).max(window.min(1))
}

/// From one scale to another, as a shift to the left.
fn shift(from: u8, to: u8) -> i8 {
    let bits = |scale: u8| i8::try_from(scale.min(14)).unwrap_or(14);
    bits(from) - bits(to)
}

/// Room in a segment that a method may fill with an option of its own.
const MOST_OPTIONS: u16 = 40;
/// As little as a segment is cut to, whatever the backend says: a host takes 536 bytes (RFC 9293,
/// 3.7.1).
const LEAST_CHUNK: u16 = 496;
