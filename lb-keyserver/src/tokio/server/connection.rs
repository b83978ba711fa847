//! One connection: the task that owns its stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Sleep, timeout};

use lbcore::Instant;

use super::buffers::{Outgoing, Received};
use super::clock;
use super::mailbox::Order;
use super::registry::Place;
use super::shared::Shared;
use crate::audit;
use crate::server::{Desk, Ending, Refusal, Rules, Session, Turn};

/// A stream, and what is under way on it.
///
/// Each wake-up writes what has been signed, reads all there is, hands on all that is asked, and
/// answers the rest: one lock and one system call each way, however many questions they are.
#[derive(Debug)]
pub(super) struct Connection<S> {
    shared: Arc<Shared>,
    place: Place,
    stream: S,
    session: Session,
    received: Received,
    outgoing: Outgoing,
    turn: Turn,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    timer_at: Instant,
    verify_at: Instant,
    /// The client sends nothing more.
    is_ended: bool,
}

/// Bytes of answers that wait for the client; with more, nothing is read.
const MOST_OUTGOING: usize = 256 * 1024;

/// Turns of one wake-up, each of 64 KiB of answers at most: well within what tokio lets a task do
/// before it holds up its timers.
const TURNS: usize = 4;

/// How long what was on its way may still come after the end, so that a reset does not overtake the
/// last answers; and bytes of it that are looked at.
const LINGER: Duration = Duration::from_secs(1);
const MOST_LINGERING: usize = 1 << 20;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(shared: Arc<Shared>, place: Place, session: Session, stream: S) -> Self {
        let now = clock::now();
        let verify_at = now + shared.verify_again();
        let timer_at = session.poll_timeout().unwrap_or(verify_at).min(verify_at);
        Self {
            shared,
            place,
            stream,
            session,
            received: Received::default(),
            outgoing: Outgoing::new(now),
            turn: Turn::default(),
            timer: Box::pin(tokio::time::sleep_until(clock::to_tokio(timer_at))),
            timer_at,
            verify_at,
            is_ended: false,
        }
    }

    /// Runs until the connection ends, and says how.
    pub(super) async fn run(mut self) -> Ending {
        let ending = poll_fn(|task| self.poll_turns(task)).await;
        self.place.member.mailbox.close();
        if matches!(ending, Ending::Drained | Ending::Client | Ending::Idle) {
            self.close().await;
        }
        ending
    }

    /// Says goodbye, and waits for the client to have heard it.
    async fn close(&mut self) {
        let stream = &mut self.stream;
        let goodbye = pin!(async move {
            stream.shutdown().await?;
            let mut rest = [0; 4096];
            let mut bytes = 0;
            while bytes < MOST_LINGERING {
                match stream.read(&mut rest).await? {
                    0 => break,
                    more => bytes += more,
                }
            }
            std::io::Result::Ok(())
        });
        // A goodbye that nobody hears is no fault.
        drop(timeout(LINGER, goodbye).await);
    }

    fn poll_turns(&mut self, task: &mut Context<'_>) -> Poll<Ending> {
        let now = clock::now();
        for _ in 0..TURNS {
            if let Some(ending) = self.collect(now, task) {
                return Poll::Ready(ending);
            }
            if self
                .outgoing
                .poll_write(now, task, &mut self.stream)
                .is_err()
            {
                return Poll::Ready(Ending::Broken);
            }
            if let Some(ending) = self.is_over() {
                return Poll::Ready(ending);
            }
            let is_read = match self.poll_read(task) {
                Ok(is_read) => is_read,
                Err(ending) => return Poll::Ready(ending),
            };
            match self.handle_received(now) {
                Ok(true) => {}
                Ok(false) if is_read => {}
                Ok(false) => return self.poll_timers(task),
                Err(ending) => return Poll::Ready(ending),
            }
        }
        // There is more, and it comes after what others have: who never stops asking would otherwise
        // go on until tokio stops it, and its timers with it.
        task.waker().wake_by_ref();
        self.poll_timers(task)
    }

    /// Takes what has been signed, and orders.
    fn collect(&mut self, now: Instant, task: &Context<'_>) -> Option<Ending> {
        let mailbox = &self.place.member.mailbox;
        let collected = mailbox.collect(task, self.outgoing.bytes());
        if collected.answers != 0 {
            self.session.handle_answered(now, collected.answers);
        }
        match collected.order? {
            Order::Drain => {
                self.session.drain();
                None
            }
            Order::Revoke => Some(Ending::Revoked),
            Order::ShutDown => Some(Ending::ShutDown),
        }
    }

    fn is_over(&self) -> Option<Ending> {
        if !self.outgoing.is_empty() {
            return None;
        }
        if self.session.is_drained() {
            return Some(Ending::Drained);
        }
        (self.is_ended && !self.session.is_busy()).then_some(Ending::Client)
    }

    fn may_read(&self) -> bool {
        self.session.has_room() && self.outgoing.len() < MOST_OUTGOING
    }

    /// Reads all there is, if there is room for what it may ask; says whether there was anything.
    fn poll_read(&mut self, task: &mut Context<'_>) -> Result<bool, Ending> {
        if self.is_ended || !self.may_read() {
            return Ok(false);
        }
        let mut is_read = false;
        while self.received.has_room() {
            match self.received.poll_read(task, &mut self.stream) {
                Poll::Ready(Ok(0)) => {
                    self.is_ended = true;
                    return Ok(true);
                }
                Poll::Ready(Ok(_)) => is_read = true,
                Poll::Ready(Err(_)) => return Err(Ending::Broken),
                Poll::Pending => break,
            }
        }
        Ok(is_read)
    }

    /// Takes up what has been read; says whether there was any frame.
    fn handle_received(&mut self, now: Instant) -> Result<bool, Ending> {
        if self.received.is_empty() || !self.may_read() {
            return Ok(false);
        }
        let (shared, turn) = (&self.shared, &mut self.turn);
        let access = shared.access.load();
        let desk = Desk {
            rules: Rules {
                store: &*shared.store,
                access: &access,
                quotas: &shared.quotas,
            },
            counters: &shared.counters,
            audit: shared.audit.as_deref(),
            told: &shared.told,
            unix_millis: audit::unix_millis(),
        };
        let used = self
            .session
            .handle_bytes(now, self.received.bytes(), &desk, turn);
        let used = used.map_err(|error| {
            shared.counters.malformed(error);
            Ending::Malformed
        })?;
        self.received.used(used);
        self.outgoing.bytes().append(&mut turn.answers);
        let mailbox = &self.place.member.mailbox;
        shared
            .signers
            .push(self.place.owner, &mut turn.jobs, mailbox);
        self.refuse_left_over(now);
        Ok(used != 0)
    }

    /// Refuses what the signers have no room for.
    fn refuse_left_over(&mut self, now: Instant) {
        let count = self.turn.jobs.len();
        for job in self.turn.jobs.drain(..) {
            let audit = self.shared.audit.as_deref();
            let refused = job.answer(
                Err(Refusal::Overloaded),
                Duration::ZERO,
                audit,
                self.outgoing.bytes(),
            );
            if let Err(why) = refused {
                self.shared.counters.refused(why);
            }
        }
        if count != 0 {
            self.session.handle_answered(now, count);
        }
    }

    /// Sees to deadlines. Those mostly move away before they come, so the timer is set anew only as
    /// it fires, or where one has come nearer.
    fn poll_timers(&mut self, task: &mut Context<'_>) -> Poll<Ending> {
        let next = self.next_timeout();
        if next < self.timer_at {
            self.set_timer(next);
        }
        while self.timer.as_mut().poll(task).is_ready() {
            let now = clock::now();
            if let Some(ending) = self.handle_timeout(now) {
                return Poll::Ready(ending);
            }
            // The runtime's timers are that fine.
            self.set_timer(self.next_timeout().max(now + Duration::from_millis(1)));
        }
        Poll::Pending
    }

    fn next_timeout(&self) -> Instant {
        let write = self.outgoing.poll_timeout(self.shared.write_timeout());
        let timeouts = [self.session.poll_timeout(), write];
        timeouts
            .into_iter()
            .flatten()
            .fold(self.verify_at, Instant::min)
    }

    fn set_timer(&mut self, at: Instant) {
        self.timer_at = at;
        self.timer.as_mut().reset(clock::to_tokio(at));
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<Ending> {
        let write = self.outgoing.poll_timeout(self.shared.write_timeout());
        if write.is_some_and(|at| at <= now) {
            return Some(Ending::WriteTimeout);
        }
        if self.verify_at <= now {
            self.verify_at = now + self.shared.verify_again();
            if !self.shared.admits(&self.place.member) {
                return Some(Ending::Revoked);
            }
        }
        self.session.handle_timeout(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::task::ready;

    use tokio::io::ReadBuf;

    use super::super::KeyServer;
    use super::super::mailbox::Mailbox;
    use super::super::registry::Member;
    use super::*;
    use crate::access::{AccessList, Identities};
    use crate::mode::Mode;
    use crate::mutual_tls::MutualTls;
    use crate::server::KeyServerConfig;
    use crate::store::MemoryStore;

    /// Sends pings without an end, and takes every answer.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let ping = [1, 0, 0, 4, 0, 0, 0, 5, 0x11, 0, 1, 0xf1];
            while into.remaining() >= ping.len() {
                into.put_slice(&ping);
            }
            // The room that is left is for the next ping alone.
            let rest = into.remaining();
            into.put_slice(ping.get(..rest).unwrap_or_default());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(
            self: Pin<&mut Self>,
            task: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            ready!(self.poll_flush(task))?;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn who_never_stops_asking_leaves_others_their_turn() {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let chain = params.self_signed(&pair).expect("signed").pem();
        let key = pair.serialize_pem();
        let tls = MutualTls::from_pem(chain.as_bytes(), key.as_bytes(), chain.as_bytes());
        let config = KeyServerConfig::default().signers(1);
        let server = KeyServer::new(MemoryStore::new(), AccessList::default(), config);
        let bound = server.bind((Ipv4Addr::LOCALHOST, 0), tls.expect("an identity"));
        let shared = Arc::clone(&bound.await.expect("bound").shared);
        let client = Identities::from(
            "lb://node/1"
                .parse::<crate::access::Identity>()
                .expect("a name"),
        );
        let member = Member {
            client: client.clone(),
            mode: Mode::Bound,
            chain: Vec::new(),
            mailbox: Arc::new(Mailbox::default()),
        };
        let place = shared.registry.enter(member, 1).expect("room");
        let session = Session::new(
            clock::now(),
            client,
            None,
            Mode::Bound,
            shared.config.session,
        );
        let mut connection = Connection::new(Arc::clone(&shared), place, session, Endless);
        for _ in 0..2 {
            let before = shared.stats().pings;
            let polled = poll_fn(|task| Poll::Ready(connection.poll_turns(task))).await;
            assert!(polled.is_pending());
            let pings = shared.stats().pings - before;
            assert!((1..1_000).contains(&pings), "{pings}");
        }
    }
}
