//! Both directions of a session, and how it ends.

use std::io;
use std::task::{Context, Poll};

use super::counters::End;
use super::flow::{Broken, Flow, Ledger, Turn, Wait, Way};
use super::side::Side;

/// A client and a backend joined.
///
/// It ends when both directions have ended or either side fails; then both sides are closed by a
/// FIN or by an RST, as the failing side was.
#[derive(Debug)]
pub(crate) struct Relay<C, B> {
    client: C,
    backend: B,
    down: Flow,
    up: Flow,
    /// Who ended first.
    first: Option<End>,
}

impl<C: Side, B: Side> Relay<C, B> {
    /// Joins the two; `first_bytes` of the client were read already and go to the backend first.
    pub(crate) fn new(client: C, backend: B, first_bytes: Vec<u8>) -> Self {
        Self {
            client,
            backend,
            down: Flow::new(Way::Down),
            up: Flow::starting_with(Way::Up, first_bytes),
            first: None,
        }
    }

    /// Moves what can be moved; ready when the session has ended.
    pub(crate) fn poll<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_, L>,
    ) -> Poll<End> {
        // The answer goes first: a backend that answers and then resets has its answer delivered
        // before writing to it fails.
        if let Poll::Ready(Err(broken)) = self.poll_down(cx, turn) {
            return Poll::Ready(self.fail(&broken, Way::Down));
        }
        if let Poll::Ready(Err(broken)) = self.poll_up(cx, turn) {
            if matches!(broken, Broken::Sink(_)) {
                // It may have answered between the two.
                let _ = self.poll_down(cx, turn);
            }
            return Poll::Ready(self.fail(&broken, Way::Up));
        }
        if self.first.is_none() {
            self.first = match (self.up.has_ended(), self.down.has_ended()) {
                (true, _) => Some(End::Client),
                (false, true) => Some(End::Backend),
                (false, false) => None,
            };
        }
        match self.first {
            Some(end) if self.up.is_over() && self.down.is_over() => Poll::Ready(end),
            _ => Poll::Pending,
        }
    }

    /// Closes both sides by a reset when dropped.
    pub(crate) fn reset(&mut self) {
        self.client.reset();
        self.backend.reset();
    }

    /// Both sides, client first, for a driver that must tell them what is ready.
    pub(crate) const fn sides(&mut self) -> (&mut C, &mut B) {
        (&mut self.client, &mut self.backend)
    }

    /// Whether bytes moved in the last turn.
    pub(crate) const fn moved(&self) -> bool {
        self.up.moved() || self.down.moved()
    }

    /// What else than its sides the session waits for: the earlier of its directions.
    pub(crate) fn wait(&self) -> Wait {
        match (self.up.wait(), self.down.wait()) {
            (Wait::Turn, _) | (_, Wait::Turn) => Wait::Turn,
            (Wait::Until(one), Wait::Until(other)) => Wait::Until(one.min(other)),
            (Wait::Until(one), Wait::Sides) | (Wait::Sides, Wait::Until(one)) => Wait::Until(one),
            (Wait::Sides, Wait::Sides) => Wait::Sides,
        }
    }

    fn poll_down<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_, L>,
    ) -> Poll<Result<(), Broken>> {
        turn.last = self.up.is_over();
        self.down
            .poll(cx, &mut self.backend, &mut self.client, turn)
    }

    fn poll_up<L: Ledger>(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_, L>,
    ) -> Poll<Result<(), Broken>> {
        turn.last = self.down.is_over();
        self.up.poll(cx, &mut self.client, &mut self.backend, turn)
    }

    /// Resets both sides, and says whose fault it was.
    fn fail(&mut self, broken: &Broken, way: Way) -> End {
        self.reset();
        let (Broken::Source(error) | Broken::Sink(error)) = broken;
        if !is_the_peers(error) {
            return End::Error;
        }
        match (broken, way) {
            (Broken::Source(_), Way::Up) | (Broken::Sink(_), Way::Down) => End::ClientReset,
            (Broken::Source(_), Way::Down) | (Broken::Sink(_), Way::Up) => End::BackendReset,
        }
    }
}

/// Whether the peer, or the network to it, has ended the connection, and not this host.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::UnexpectedEof
            | Kind::WriteZero
    )
}
