//! SYN cookies: what a client asked for, in the numbers that it gives back.
//!
//! Nothing is kept between our SYN-ACK and the client's ACK, and any node that has the key can check
//! the ACK. Without timestamps everything is in our sequence number, highest bit first:
//!
//! ```text
//!   31 30   slot modulo 4
//!   29      the client takes SACK
//!   28–25   its window scale, 0 to 14; 15: none
//!   24–22   its MSS, as an index of MSS
//!   21–0    22 bits of MAC
//! ```
//!
//! With timestamps, which the client repeats in its ACK, the sequence number holds less and our
//! timestamp the rest:
//!
//! ```text
//!   31 30   slot modulo 4                    31–6   milliseconds since the epoch, without
//!   29–27   MSS                                     their last 6 bits, less one
//!   26–0    27 bits of MAC                   5      the client takes ECN
//!                                            4      SACK
//!                                            3–0    window scale; 15: none
//! ```
//!
//! A slot lasts 64 seconds; a cookie is good in its own and the next, and in the one before for a
//! node whose clock is behind. The MAC is SipHash-2-4 under the cluster's key of the slot, the flow,
//! the client's initial sequence number, everything above, and the window scale that we announce,
//! cut to its lowest bits. So the bits of a guess can all be chosen but those of the MAC: **one guess
//! in 2^22 (4,194,304) is right, with timestamps one in 2^27**, and twice as many while a second key is
//! accepted. Every guess costs a packet and no memory; one that is right costs a session, which
//! counts against the limits of its service.
//!
//! Source: RFC 4987, 3.6; the layout is our own.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;
use std::time::Duration;

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::hash::HashKey;

/// The largest segment sizes that a cookie tells apart; a client's is rounded down to one of them.
///
/// From hosts of 576 bytes (RFC 9293, 3.7.1) and the least IPv6 link (RFC 8200, 5) over tunnels and
/// PPPoE to Ethernet and its jumbo frames. One below the first is taken as the first.
pub const MSS: [u16; 8] = [216, 536, 1220, 1340, 1400, 1440, 1460, 8940];

/// How long a cookie's slot lasts: a cookie is good for one to two of them.
pub const SLOT: Duration = Duration::from_secs(64);

/// What a client's SYN asked for, as far as it is remembered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "what a cookie has room for; a sixth part would be another layout"
)]
pub struct SynOptions {
    /// The largest segment that the client takes, bytes.
    pub mss: u16,
    /// The client's window scale, 0 to 14; `None` if it sent none.
    pub window_scale: Option<u8>,
    /// Whether the client takes selective acknowledgements.
    pub sack: bool,
    /// Whether the client sends timestamps.
    pub timestamps: bool,
    /// Whether the client takes ECN (RFC 3168, 6.1.1); remembered with timestamps only.
    pub ecn: bool,
}

/// The numbers of a SYN-ACK.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the two numbers that a client repeats"
)]
pub struct Cookie {
    /// Our initial sequence number.
    pub sequence: u32,
    /// Our timestamp, if the client sends any.
    pub timestamp: Option<u32>,
}

/// Which SYN a cookie is for, besides its flow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "what a MAC is over, of a handshake"
)]
pub struct ClientSyn {
    /// The client's initial sequence number: of its SYN, or one less than that of its first ACK.
    pub sequence: u32,
    /// The window scale that is announced to clients; a cookie from before a change is not taken,
    /// since its client would misread every window.
    pub promised_scale: u8,
}

/// Makes cookies, and checks those that come back.
///
/// Nodes of one cluster are given the same keys, and what the clock they share shows when their own
/// is zero: each then takes the ACK of a SYN that another has answered. Their clocks may differ by up
/// to [`SLOT`].
///
/// To change the key, let every node accept the new one beside the old, then let every node issue
/// it, and after two slots forget the old one.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::flow::{FlowKey, Protocol};
/// use lbcore::hash::HashKey;
/// use lb_l4::syn_proxy::{ClientSyn, Cookies, SynOptions};
///
/// let flow = FlowKey::new(Protocol::Tcp, "192.0.2.1:40000".parse()?, "203.0.113.10:80".parse()?);
/// let syn = ClientSyn { sequence: 17, promised_scale: 7 };
/// let asked = SynOptions { mss: 1460, window_scale: Some(8), sack: true, timestamps: true, ecn: false };
/// let epoch = Duration::from_secs(1_800_000_000);
///
/// let here = Cookies::new(HashKey::new([7; 16]), epoch);
/// let cookie = here.issue(Instant::ZERO, &flow, syn, &asked);
///
/// let there = Cookies::new(HashKey::new([7; 16]), epoch);
/// let soon = Instant::ZERO + Duration::from_millis(80);
/// assert_eq!(there.check(soon, &flow, syn, cookie), Some(asked));
/// assert_eq!(there.check(soon, &flow, ClientSyn { sequence: 18, ..syn }, cookie), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cookies {
    issued: HashKey,
    accepted: Option<HashKey>,
    /// What the shared clock shows at [`Instant::ZERO`].
    epoch: Duration,
}

impl Cookies {
    /// Cookies under `key`; `epoch` is what the clock that the nodes share shows at
    /// [`Instant::ZERO`] of this node, counted from any start: the time since 1970, say.
    #[must_use]
    pub const fn new(key: HashKey, epoch: Duration) -> Self {
        Self {
            issued: key,
            accepted: None,
            epoch,
        }
    }

    /// Sets a second key, whose cookies are taken too. Default none.
    #[must_use]
    pub const fn accepted(mut self, key: HashKey) -> Self {
        self.accepted = Some(key);
        self
    }

    /// The numbers of a SYN-ACK that answers the SYN of `flow`, the client's own direction.
    ///
    /// Cost: one SipHash of at most 64 bytes, about 70 ns.
    #[must_use]
    pub fn issue(
        &self,
        now: Instant,
        flow: &FlowKey,
        syn: ClientSyn,
        asked: &SynOptions,
    ) -> Cookie {
        let time = self.time(now);
        let slot = slot_of(time);
        let timestamp = asked.timestamps.then(|| timestamp(time, asked));
        let clear = Clear::of(slot, asked);
        let mac = mac(&self.issued, slot, flow, syn, clear, timestamp);
        Cookie {
            sequence: clear.bits | mac & clear.mac_mask,
            timestamp,
        }
    }

    /// What the client asked for, if `cookie` is one that a node has issued for its SYN in the last
    /// 64 to 128 seconds.
    ///
    /// `cookie` is what the client's ACK repeats: its acknowledgement less one, and the timestamp
    /// that it echoes. An MSS comes back as one of [`MSS`].
    ///
    /// Cost: as [`issue`](Self::issue), twice while a second key is accepted.
    #[must_use]
    pub fn check(
        &self,
        now: Instant,
        flow: &FlowKey,
        syn: ClientSyn,
        cookie: Cookie,
    ) -> Option<SynOptions> {
        let slot = slot_near(slot_of(self.time(now)), cookie.sequence >> SLOT_AT)?;
        let clear = Clear::read(cookie);
        let right = |key: &HashKey| {
            let mac = mac(key, slot, flow, syn, clear, cookie.timestamp);
            (mac ^ cookie.sequence) & clear.mac_mask == 0
        };
        let known = right(&self.issued) || self.accepted.as_ref().is_some_and(right);
        known.then(|| clear.options(cookie))
    }

    /// The shared clock.
    fn time(&self, now: Instant) -> Duration {
        self.epoch
            .saturating_add(Duration::from_nanos(now.as_nanos()))
    }
}

/// The bits of a sequence number that are not the MAC, in their places.
#[derive(Clone, Copy)]
struct Clear {
    bits: u32,
    mac_mask: u32,
}

impl Clear {
    fn of(slot: u64, asked: &SynOptions) -> Self {
        let slot = low(slot & 3) << SLOT_AT;
        let mss = mss_index(asked.mss);
        if asked.timestamps {
            Self {
                bits: slot | mss << MSS_AT_WITH_TIMESTAMPS,
                mac_mask: MAC_WITH_TIMESTAMPS,
            }
        } else {
            let sack = u32::from(asked.sack) << SACK_AT;
            let scale = scale_bits(asked.window_scale) << SCALE_AT;
            Self {
                bits: slot | sack | scale | mss << MSS_AT,
                mac_mask: MAC,
            }
        }
    }

    const fn read(cookie: Cookie) -> Self {
        let mac_mask = if cookie.timestamp.is_some() {
            MAC_WITH_TIMESTAMPS
        } else {
            MAC
        };
        Self {
            bits: cookie.sequence & !mac_mask,
            mac_mask,
        }
    }

    fn options(self, cookie: Cookie) -> SynOptions {
        match cookie.timestamp {
            Some(timestamp) => SynOptions {
                mss: mss_at(self.bits >> MSS_AT_WITH_TIMESTAMPS),
                window_scale: scale_of(timestamp),
                sack: timestamp & TIMESTAMP_SACK != 0,
                timestamps: true,
                ecn: timestamp & TIMESTAMP_ECN != 0,
            },
            None => SynOptions {
                mss: mss_at(self.bits >> MSS_AT),
                window_scale: scale_of(self.bits >> SCALE_AT),
                sack: self.bits >> SACK_AT & 1 != 0,
                timestamps: false,
                ecn: false,
            },
        }
    }
}

/// Our timestamp: up to 127 ms behind the clock and never before it, so that those of later
/// segments, which run on from it, are behind those of the next connection of the same ports.
fn timestamp(time: Duration, asked: &SynOptions) -> u32 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let clock = low((millis >> 6).wrapping_sub(1)) << 6;
    let sack = if asked.sack { TIMESTAMP_SACK } else { 0 };
    let ecn = if asked.ecn { TIMESTAMP_ECN } else { 0 };
    clock | ecn | sack | scale_bits(asked.window_scale)
}

fn mac(
    key: &HashKey,
    slot: u64,
    flow: &FlowKey,
    syn: ClientSyn,
    clear: Clear,
    timestamp: Option<u32>,
) -> u32 {
    let mut message = Message::default();
    message.put(&slot.to_le_bytes());
    message.put(&syn.sequence.to_le_bytes());
    message.put(&clear.bits.to_le_bytes());
    message.put(&timestamp.unwrap_or_default().to_le_bytes());
    message.put(&[u8::from(timestamp.is_some()), syn.promised_scale]);
    for end in [flow.source, flow.destination] {
        message.put(&end.port().to_le_bytes());
        match end.ip() {
            IpAddr::V4(address) => message.put(&address.octets()),
            IpAddr::V6(address) => message.put(&address.octets()),
        }
    }
    low(key.sip24(message.bytes()))
}

/// What is hashed: at most 58 bytes.
struct Message {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            bytes: [0; 64],
            len: 0,
        }
    }
}

impl Message {
    fn put(&mut self, part: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(part) {
            *to = *from;
        }
        self.len += part.len();
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

fn slot_of(time: Duration) -> u64 {
    time.as_secs() / SLOT.as_secs()
}

/// The slot next to `current` whose last two bits are these, unless it would be two away.
fn slot_near(current: u64, bits: u32) -> Option<u64> {
    let back = low(current).wrapping_sub(bits) & 3;
    match back {
        0 => Some(current),
        1 => Some(current.wrapping_sub(1)),
        3 => Some(current.wrapping_add(1)),
        _ => None,
    }
}

/// The place of the largest size that is not above `mss`; of the smallest if all are.
fn mss_index(mss: u16) -> u32 {
    let above = MSS.partition_point(|it| *it <= mss);
    u32::try_from(above.saturating_sub(1)).unwrap_or(0)
}

fn mss_at(index: u32) -> u16 {
    let index = usize::try_from(index & 7).unwrap_or(0);
    MSS.get(index).copied().unwrap_or(536)
}

/// RFC 7323, 2.3: a scale above 14 counts as 14.
fn scale_bits(scale: Option<u8>) -> u32 {
    scale.map_or(NO_SCALE, |it| u32::from(it.min(14)))
}

fn scale_of(bits: u32) -> Option<u8> {
    let scale = bits & NO_SCALE;
    (scale != NO_SCALE).then(|| u8::try_from(scale).unwrap_or(14))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low(word: u64) -> u32 {
    word as u32
}

const SLOT_AT: u32 = 30;
const SACK_AT: u32 = 29;
const SCALE_AT: u32 = 25;
const MSS_AT: u32 = 22;
const MAC: u32 = (1 << MSS_AT) - 1;
const MSS_AT_WITH_TIMESTAMPS: u32 = 27;
const MAC_WITH_TIMESTAMPS: u32 = (1 << MSS_AT_WITH_TIMESTAMPS) - 1;
const TIMESTAMP_ECN: u32 = 1 << 5;
const TIMESTAMP_SACK: u32 = 1 << 4;
/// In the four bits of a window scale: none was sent.
const NO_SCALE: u32 = 15;

#[cfg(test)]
mod tests;
