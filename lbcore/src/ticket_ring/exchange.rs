//! Who carries rings to the other nodes.

use super::TicketRing;
use crate::time::Instant;

/// Spreads rings over the nodes of a cluster.
///
/// A ring opens every ticket, and whoever gives one to a node makes it seal with keys that he has.
/// So an implementer **encrypts and authenticates** each ring, with keys that only nodes have, and
/// takes no ring that is not from one; where it cannot, it carries none. Rings may be lost, repeated
/// or come out of order: merging bears all three, and the last one published is sent again from time
/// to time, so that a node that joins hears it before the next turn.
///
/// # Examples
///
/// One node among others, without a clock of its own:
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::ticket_ring::{RingExchange, Rotation, TicketRing, TicketSecret};
///
/// fn handle_timeout(
///     now: Instant,
///     ring: &mut TicketRing,
///     rotation: &mut Rotation,
///     exchange: &mut impl RingExchange,
///     random: impl FnMut() -> Option<TicketSecret>,
/// ) {
///     while let Some(heard) = exchange.poll_ring(now) {
///         ring.merge(&heard);
///     }
///     if rotation.handle_timeout(now, ring, random) {
///         exchange.publish(now, ring);
///     }
/// }
/// ```
pub trait RingExchange {
    /// Sends `ring` to every other node, now and, until the next call, again whenever the implementer
    /// thinks a node may have missed it.
    fn publish(&mut self, now: Instant, ring: &TicketRing);

    /// The next ring that another node published.
    fn poll_ring(&mut self, now: Instant) -> Option<TicketRing>;
}
