//! One thread: packets in, packets out, and now and then a word from the engine.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::forwarder::Forwarder;
use lb_l4::transport::{Transport, Woken};
use lbcore::Instant;
use lbcore::schedule::AnyScheduler;
use lbcore::session::Class;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use super::Service;
use super::figures::Figures;
use super::link::Link;

/// What the engine says to a worker.
pub(super) enum Command {
    /// Say what has been done.
    Ask(oneshot::Sender<Figures>),
    /// Take these services, which begin no session, and end with the last session.
    Drain(Vec<Service>),
    /// Take these services.
    Update(Vec<Service>),
}

/// The engine's end of a worker.
#[derive(Debug)]
pub(super) struct Handle {
    commands: SyncSender<Command>,
    wake: Arc<OwnedFd>,
}

impl Handle {
    /// Tells the worker; whether it can hear.
    pub(super) fn tell(&self, command: Command) -> bool {
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return false,
        }
        // A counter that is full wakes too.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        true
    }

    /// What the worker has done; `None` if it has ended, or is too busy to say.
    pub(super) async fn ask(&self) -> Option<Figures> {
        let (answer, answered) = oneshot::channel();
        if !self.tell(Command::Ask(answer)) {
            return None;
        }
        tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
    }
}

/// Starts a thread for one queue, which holds `running` until it ends.
pub(super) fn start(
    clock: Clock,
    forwarder: Forwarder<AnyScheduler>,
    link: Link,
    place: usize,
    running: watch::Receiver<()>,
) -> io::Result<Handle> {
    let (sender, commands) = sync_channel(COMMANDS);
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let worker = Worker {
        clock,
        forwarder,
        place,
        commands,
        wake: Arc::clone(&wake),
        is_draining: false,
        look_again: Instant::ZERO,
        has_failed: false,
    };
    let named = thread::Builder::new().name(format!("clb-packets-{place}"));
    named.spawn(move || {
        match link {
            Link::AfPacket(link) => worker.run(link),
            Link::AfXdp(link) => worker.run(*link),
            Link::Tun(link) => worker.run(link),
        }
        drop(running);
    })?;
    Ok(Handle {
        commands: sender,
        wake,
    })
}

struct Worker {
    clock: Clock,
    forwarder: Forwarder<AnyScheduler>,
    place: usize,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    is_draining: bool,
    /// While it drains: when sessions are counted next.
    look_again: Instant,
    has_failed: bool,
}

impl Worker {
    fn run(mut self, mut link: impl Transport) {
        loop {
            if self.hear(&link).is_none() {
                return;
            }
            match self.turn(&mut link) {
                Ok(()) if self.has_failed => {
                    self.has_failed = false;
                    info!(worker = self.place, "the interface is back");
                    // Whoever has forgotten on which port of a switch it is.
                    self.announce(self.clock.now());
                }
                Ok(()) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    /// Does what there is to be done, then sleeps until there is more.
    fn turn(&mut self, link: &mut impl Transport) -> io::Result<()> {
        let Self {
            clock,
            forwarder,
            is_draining,
            look_again,
            ..
        } = self;
        for _ in 0..BURSTS {
            if link.forward(|burst| forwarder.handle_burst(clock.now(), burst))? == 0 {
                break;
            }
        }
        let now = clock.now();
        forwarder.handle_handed(now);
        forwarder.handle_timeout(now);
        while let Some(packet) = forwarder.poll_transmit(now) {
            link.send(packet.bytes)?;
        }
        let mut deadline = forwarder.poll_timeout();
        if *is_draining {
            let look = *look_again;
            deadline = Some(deadline.map_or(look, |deadline| deadline.min(look)));
        }
        let wake = self.wake.as_fd();
        let woken = match forwarder.hand_off() {
            None => link.wait(now, deadline, &[wake])?,
            Some(handed) => {
                if !handed.is_idle() {
                    return Ok(());
                }
                link.wait(now, deadline, &[wake, handed.as_fd()])?
            }
        };
        if woken == Woken::Other(0) {
            self.woken();
        }
        Ok(())
    }

    /// Does what the engine says; `None` when it is time to end.
    fn hear(&mut self, link: &impl Transport) -> Option<()> {
        let now = self.clock.now();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                // Whoever asked may have gone.
                Command::Ask(answer) => drop(answer.send(self.figures(link))),
                Command::Drain(services) => {
                    self.is_draining = true;
                    self.take(now, services);
                }
                Command::Update(services) => {
                    self.take(now, services);
                    self.announce(now);
                }
            }
        }
        (!self.is_done(now)).then_some(())
    }

    /// Whether the drain is over: no session is left but of those whose both ends have closed.
    ///
    /// Looks through the table, so not more than once a second.
    fn is_done(&mut self, now: Instant) -> bool {
        if !self.is_draining || self.look_again > now {
            return false;
        }
        self.look_again = now + LOOKS;
        let table = self.forwarder.sessions();
        let mut sessions = (0..table.slots()).filter_map(|slot| table.flow(table.at(slot)?));
        !sessions.any(|(_, state)| state.class() != Class::Closing)
    }

    /// Tells the link whose addresses are here, once for all workers.
    fn announce(&mut self, now: Instant) {
        if self.place == 0 {
            self.forwarder.announce(now);
        }
    }

    fn figures(&self, link: &impl Transport) -> Figures {
        Figures::of(&self.forwarder, link.stats())
    }

    fn take(&mut self, now: Instant, services: Vec<Service>) {
        if let Err(error) = self.forwarder.update(now, services) {
            error!(worker = self.place, %error, "services are not changed");
        }
    }

    /// The interface is down, or gone: it may come back.
    fn fail(&mut self, fault: &io::Error) {
        if !self.has_failed {
            error!(worker = self.place, %fault, "the interface fails");
        }
        self.has_failed = true;
        let mut heard = [PollFd::new(&*self.wake, PollFlags::IN)];
        let _ = poll(&mut heard, Some(&PAUSE));
        self.woken();
    }

    fn woken(&self) {
        // Nothing in it is nothing to be taken out.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
    }
}

/// Bursts in a row before the engine is heard and time is looked at.
const BURSTS: usize = 64;
/// Words from the engine that may wait: changes, and questions of a scraper.
const COMMANDS: usize = 64;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at what is left of a drain.
const LOOKS: Duration = Duration::from_secs(1);
/// Until the next try after the interface has failed.
const PAUSE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
