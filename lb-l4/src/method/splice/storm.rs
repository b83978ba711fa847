//! Two ends that acknowledge each other without end.

use std::time::Duration;

use lbcore::Instant;
use lbcore::session::Side;

use crate::wire::TcpHeader;
use crate::wire::tcp::flags::{ACK, RST};

/// Notices that both sides repeat one acknowledgement at each other.
///
/// Where an end holds numbers that the other has never sent, each packet of either is answered with
/// the acknowledgement that should put the other right (RFC 9293, 3.10.7.4), and that one is
/// answered too. A session is in a storm once both sides have repeated an acknowledgement
/// [`Self::MOST`] times within a second, with no data, no other number and no other window between
/// them. One with SACK blocks tells of something that was lost, and does not count; nor do
/// keep-alives, which are further apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storm {
    since: Instant,
    sides: [Repeated; 2],
}

/// What a side said last, and how often it has said it again.
#[derive(Clone, Copy, Debug, Default)]
struct Repeated {
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    times: u16,
}

impl Storm {
    /// How often each side may repeat itself within [`Self::SPAN`]: more than receivers without SACK
    /// repeat themselves when each has lost the first of a flight of the usual size, and far less
    /// than a storm, which knows no pause.
    pub const MOST: u16 = 64;

    /// How long a count lasts.
    pub const SPAN: Duration = Duration::from_secs(1);

    /// Whether this segment of `side`, `len` sequence numbers long, feeds a storm and is to be
    /// dropped.
    #[must_use]
    pub fn handle_segment(&mut self, now: Instant, side: Side, tcp: &TcpHeader, len: u32) -> bool {
        if len > 0 || tcp.flags & (RST | ACK) != ACK {
            *self = Self::default();
            return false;
        }
        if tcp.len > WITHOUT_SACK {
            return false;
        }
        if now.since(self.since) >= Self::SPAN {
            self.since = now;
            for side in &mut self.sides {
                side.times = 0;
            }
        }
        let [client, backend] = &mut self.sides;
        let (own, other) = match side {
            Side::Backend => (backend, client),
            Side::Client => (client, backend),
        };
        own.count(tcp);
        own.times > Self::MOST && other.times >= Self::MOST
    }
}

impl Repeated {
    fn count(&mut self, tcp: &TcpHeader) {
        let said = (tcp.sequence, tcp.acknowledgement, tcp.window);
        if said == (self.sequence, self.acknowledgement, self.window) {
            self.times = self.times.saturating_add(1);
            return;
        }
        let (sequence, acknowledgement, window) = said;
        *self = Self {
            sequence,
            acknowledgement,
            window,
            times: 0,
        };
    }
}

/// A header with timestamps and no more: SACK blocks take at least another 12 bytes.
const WITHOUT_SACK: usize = 32;
