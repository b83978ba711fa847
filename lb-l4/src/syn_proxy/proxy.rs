//! The SYN proxy of one worker.

use std::fmt::Debug;

use lbcore::Instant;

use crate::method::splice::Splice;
use crate::packet::{DropReason, Packet};
use crate::wire::Headers;

use super::desk::Desk;
use super::half_open::{HalfOpen, Released};
use super::places::Places;
use super::{Cookies, SynProxyConfig, SynProxyLimits, SynProxyStats};

/// How often a SYN is sent to a backend again, after 1, 3 and 7 seconds; after 15 the client gets an
/// RST.
pub const RETRIES: u32 = 3;

/// Which handshake of a [`SynProxy`]: what a session keeps until it is joined.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HalfOpenId(pub(super) u32);

impl HalfOpenId {
    /// The number of its place, below [`u32::MAX`], for a side table.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The handshake whose place has this number; `None` for [`u32::MAX`], which none has.
    #[must_use]
    pub const fn from_bits(place: u32) -> Option<Self> {
        match place {
            u32::MAX => None,
            place => Some(Self(place)),
        }
    }
}

/// A client whose cookie was right, before it has a session.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub(super) half: HalfOpen,
}

/// What becomes of a client's packet while its backend has not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum ClientStep {
    /// Drop it for this reason.
    Drop(DropReason),
    /// What it says is kept.
    Held,
    /// It is now an answer to the client: send it back.
    Reply,
    /// The client has given up. The packet is now an RST for the backend, as from the client: send it
    /// there, and end the session. The handshake is over.
    Reset,
}

/// What becomes of a backend's packet while it has not answered.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum BackendStep {
    /// Drop it for this reason.
    Drop(DropReason),
    /// The backend has answered, and the handshake is over. Keep the splice with the session; the
    /// packet is now the first of the session for the client, in the backend's numbers: treat it as
    /// any. Then send what was held.
    Joined {
        /// What differs between the two sides.
        splice: Splice,
        /// What the client has sent meanwhile.
        released: Released,
        /// The window scale that the client was promised; 0 if there is none.
        promised_scale: u8,
    },
    /// The backend refuses. The packet is now an RST for the client, in the client's numbers: send it
    /// there without a splice, send the other packets to the backend, and end the session. The
    /// handshake is over.
    Refused(Option<Released>),
    /// It is now an RST for an old connection of the backend: send it back. The SYN is sent again in
    /// its time.
    Reply,
}

/// What is due after silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[non_exhaustive]
pub enum Due<T> {
    /// Nobody has answered: send the packet, an RST from the service, to the client, and end the
    /// session. The handshake is over.
    GiveUp(T),
    /// Send the packet, a SYN from the client to the service, to the session's backend.
    Retry(T),
}

/// Answers SYNs with cookies, and takes clients that return them to a backend.
///
/// It keeps nothing of a client before the cookie has come back. From then until the backend answers
/// it keeps one handshake, under a name that the caller's session keeps: `T` is how the caller names
/// his session.
///
/// ```text
///   SYN of no session ── answer ──▶ SYN-ACK to the client
///   ACK of no session ── accept ──▶ SYN to a backend, if a session can be had: open
///                                   else refuse ──▶ RST to the client
///   while it is open:  handle_client, handle_backend, handle_timeout and poll_due
/// ```
///
/// What a client sends before the backend has answered is held, from its first byte on and without
/// gaps, up to the window that the SYN-ACK announced, and for all clients up to
/// [`SynProxyLimits::held_bytes`]. What comes above is dropped; as it is not acknowledged, the client
/// sends it again. A window of 0 would hold nothing, and would cost each session a round trip more
/// and a probe whenever the packet that opens it is lost.
///
/// Pure: no I/O and no clock. Everything is O(1) but for the deadlines, which are O(log n) for n
/// handshakes under way; nothing is allocated for a SYN.
#[derive(Debug)]
pub struct SynProxy<T> {
    desk: Desk,
    places: Places<T>,
}

impl<T: Copy + Debug> SynProxy<T> {
    /// A proxy with these cookies, that keeps no more than `limits`.
    #[must_use]
    pub fn new(cookies: Cookies, limits: SynProxyLimits) -> Self {
        Self {
            desk: Desk::new(cookies, limits),
            places: Places::default(),
        }
    }

    /// Changes the keys, for handshakes to come.
    pub fn set_cookies(&mut self, cookies: Cookies) {
        self.desk.cookies = cookies;
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> SynProxyStats {
        SynProxyStats {
            half_open: self.places.len(),
            ..self.desk.stats
        }
    }

    /// Answers a SYN: the packet becomes a SYN-ACK with a cookie, to be sent back.
    ///
    /// # Errors
    ///
    /// It is no SYN of a flow, not sound, or there is no room for the answer.
    pub fn answer(
        &mut self,
        now: Instant,
        config: &SynProxyConfig,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Result<(), DropReason> {
        self.desk.answer(now, config, packet, headers)
    }

    /// Checks an ACK that belongs to no session: if it returns a cookie, the packet becomes the SYN
    /// that the client has once sent, as the first packet of a session.
    ///
    /// The caller then finds a backend, makes a session, calls [`open`](Self::open) and sends the
    /// packet to the backend; or calls [`refuse`](Self::refuse) and sends it back.
    ///
    /// # Errors
    ///
    /// [`DropReason::SynCookieWrong`] if it returns no cookie; [`DropReason::HoldFull`] if as many
    /// handshakes are under way as may be; and the packet is as it was.
    pub fn accept(
        &mut self,
        now: Instant,
        config: &SynProxyConfig,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Result<Accepted, DropReason> {
        let crowded = self.places.len() >= self.desk.limits.handshakes;
        let half = self.desk.accept(now, config, crowded, packet, headers)?;
        Ok(Accepted { half })
    }

    /// Begins a handshake with the backend of `session`, whose SYN is sent now.
    pub fn open(&mut self, now: Instant, session: T, accepted: Accepted) -> HalfOpenId {
        self.places.open(now, session, accepted.half)
    }

    /// Tells a client that there is no session for it: the packet becomes an RST, to be sent back.
    ///
    /// # Errors
    ///
    /// There is no room for it: drop the packet for this reason.
    pub fn refuse(
        &mut self,
        accepted: Accepted,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Result<(), DropReason> {
        self.desk.refuse(&accepted.half, packet, headers)
    }

    /// Forgets a handshake whose session has ended in another way; one that is over stays over.
    pub fn close(&mut self, id: HalfOpenId) {
        if let Some(half) = self.places.close(id) {
            self.desk.let_go(&half);
        }
    }

    /// A packet of the client's, of a session whose backend has not answered.
    pub fn handle_client(
        &mut self,
        id: HalfOpenId,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> ClientStep {
        let Some(half) = self.places.at(id) else {
            return ClientStep::Drop(DropReason::NoSession);
        };
        let step = self.desk.handle_client(half, packet, headers);
        if step == ClientStep::Reset {
            self.close(id);
        }
        step
    }

    /// A packet of the backend's, of a session that it has not answered yet.
    pub fn handle_backend(
        &mut self,
        id: HalfOpenId,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> BackendStep {
        let Some(half) = self.places.at(id) else {
            return BackendStep::Drop(DropReason::NoSession);
        };
        let step = self.desk.handle_backend(half, packet, headers);
        if matches!(step, BackendStep::Joined { .. } | BackendStep::Refused(_)) {
            self.close(id);
        }
        step
    }

    /// When something is due next; `None` if nothing is.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.places.poll_timeout()
    }

    /// What is due at `now`, with its packet in `out`, from the IP header on; call it until there is
    /// nothing.
    pub fn poll_due(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Due<T>> {
        out.clear();
        let (id, tries) = self.places.poll_due(now)?;
        let session = self.places.session(id)?;
        let half = self.places.at(id)?;
        if tries < RETRIES {
            half.emit_syn(out);
            self.places.retry(now, id);
            self.desk.stats.retries += 1;
            return Some(Due::Retry(session));
        }
        let reset = half.reset_to_client(half.service, half.client);
        reset.emit(out);
        self.close(id);
        self.desk.stats.unanswered += 1;
        Some(Due::GiveUp(session))
    }
}
