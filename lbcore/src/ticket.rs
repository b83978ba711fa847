//! A lease in 8 bytes, for sessions that live in a table.

/// The right of one packet session to send to a backend, small enough to live in a session table.
///
/// Names a backend's slot in the pool and the slot's generation, so that a ticket that outlives its
/// backend is noticed. It does nothing when dropped: whoever expires the session hands it back to
/// the balancer, once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket {
    /// Which backend slot of the pool; the top bit says that the session takes a counted place.
    slot: u32,
    /// Which use of the slot.
    generation: u32,
}

/// The session counts against its backend's limit.
const CAPPED: u32 = 1 << 31;

impl Ticket {
    #[inline]
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self {
            slot: slot & !CAPPED,
            generation,
        }
    }

    /// The same backend, for a session that counts against its limit.
    #[inline]
    pub(crate) const fn capped(self) -> Self {
        Self {
            slot: self.slot | CAPPED,
            generation: self.generation,
        }
    }

    #[inline]
    pub(crate) const fn is_capped(self) -> bool {
        self.slot & CAPPED != 0
    }

    /// Which backend slot of the pool: a small number, for tables beside the pool.
    #[inline]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot & !CAPPED
    }

    /// Which use of the slot it was given for; never 0.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// Whether both are for the same backend.
    #[inline]
    #[must_use]
    pub const fn is_for_backend_of(self, other: Self) -> bool {
        self.slot() == other.slot() && self.generation == other.generation
    }

    /// The ticket as 8 bytes: the slot in the low half, the generation in the high half.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.slot as u64
    }

    /// The ticket that [`to_bits`](Self::to_bits) was called on. Any bits are a ticket, if a stale one.
    #[inline]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are taken apart"
    )]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}
