//! Answers that have come to the wrong worker, on their way to the right one.

use lbcore::Instant;
use lbcore::schedule::Scheduler;

use super::Forwarder;
use super::burst::{BURST, Decided};
use crate::method::fullnat::hand_off::HandOff;
use crate::packet::{DropReason, Packet, Verdict};

impl<S: Scheduler> Forwarder<S> {
    /// Lets the workers hand answers to local ports to each other, and tell each other what neighbours
    /// say of their link addresses. Without this, an answer that comes to a worker which has not
    /// handed out its port is dropped, and a worker that neighbours' answers do not come to knows no
    /// link address.
    ///
    /// The worker then calls [`handle_handed`](Self::handle_handed) in its loop, and before it waits
    /// it asks whether the [hand-off](Self::hand_off) is idle.
    pub fn set_hand_off(&mut self, hand_off: HandOff) {
        self.hand_off = Some(hand_off);
    }

    /// This worker's end of the rings between workers, if it has one.
    pub const fn hand_off(&mut self) -> Option<&mut HandOff> {
        self.hand_off.as_mut()
    }

    /// Decides over packets that other workers have handed over, at most a burst of them, and queues
    /// what is to be sent for [`poll_transmit`](Self::poll_transmit); how many there were.
    pub fn handle_handed(&mut self, now: Instant) -> usize {
        for count in 0..BURST {
            let Some(mut handed) = self.hand_off.as_mut().and_then(HandOff::take) else {
                return count;
            };
            let mut packet = handed.packet();
            self.is_handed = true;
            self.handle_packet(now, &mut packet);
            self.is_handed = false;
            self.send_handed(&packet);
            if let Some(hand_off) = &self.hand_off {
                hand_off.give_back(handed);
            }
        }
        BURST
    }

    fn send_handed(&mut self, packet: &Packet<'_>) {
        let out = match packet.verdict() {
            Verdict::Forward(out) => out,
            Verdict::Reply => packet.interface(),
            // Dropped and counted, or kept; or the host's, which has not seen it: it is no answer to
            // a local port any more, as the settings of the workers differ for a moment.
            _ => return,
        };
        if self.outbox.push_frame(out, packet.bytes()) {
            self.stats.transmitted += 1;
        } else {
            self.stats.dropped[DropReason::QueueFull as usize] += 1;
        }
    }

    /// Lets all other workers know what a neighbour says of itself. They have asked as well, and the
    /// link brings answers to one worker alone.
    #[cold]
    pub(super) fn share(&mut self, packet: &Packet<'_>) {
        if let Some(hand_off) = &mut self.hand_off
            && !self.is_handed
        {
            hand_off.give_all(packet);
        }
    }

    /// A packet that belongs to another worker.
    #[cold]
    pub(super) fn hand_over(&mut self, packet: &Packet<'_>, worker: u16) -> Decided {
        let hand_off = self.hand_off.as_mut().ok_or(DropReason::NoSession)?;
        hand_off.give(worker, packet)?;
        Ok(Verdict::Held)
    }
}
