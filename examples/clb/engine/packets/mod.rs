//! Packets that are forwarded, by threads of their own: no socket has these sessions.
//!
//! ```text
//!   Engine ── Command ──▶ worker 0: Transport ⇄ Forwarder
//!          ◀── Figures ── worker 1: Transport ⇄ Forwarder
//! ```

mod figures;
mod groups;
mod host;
mod leaving;
mod link;
mod services;
mod steering;
mod worker;

use std::time::Duration;

use lb_l4::Clock;
use lb_l4::forwarder::{Forwarder, ForwarderConfig, Unserved, VirtualService};
use lb_l4::method::fullnat::LocalPortsConfig;
use lb_l4::method::fullnat::hand_off::HandOff;
use lb_l4::packet::InterfaceId;
use lb_l4::syn_proxy::Cookies;
use lbcore::Instant;
use lbcore::hash::HashKey;
use lbcore::schedule::AnyScheduler;
use lbcore::session::{Limits, SessionConfig};
use tokio::sync::watch;
use tracing::{info, warn};

use self::figures::Figures;
use self::groups::Groups;
use self::leaving::Leaving;
use self::link::{Link, Opened};
use self::services::Kept;
use self::steering::Steered;
use self::worker::{Command, Handle};
use super::pools::Pool;
use crate::admin::snapshot;
use crate::config::{self, Config, Listener};
use crate::process;

type Service = VirtualService<AnyScheduler>;

/// The threads that forward packets, and what they forward.
#[derive(Debug)]
pub(super) struct Packets {
    section: config::Packet,
    opened: Opened,
    workers: Vec<Handle>,
    /// What outlives a change of the file, by listener.
    kept: Vec<Kept>,
    services: Vec<Service>,
    leaving: Leaving,
    steered: Steered,
    groups: Groups,
    /// Without senders the last worker has ended.
    over: watch::Sender<()>,
    is_draining: bool,
}

/// What a new file needs, made before anything is changed.
pub(super) struct Prepared {
    /// Where nothing has been forwarded so far.
    begun: Option<(config::Packet, Opened, Vec<Link>)>,
    kept: Vec<Kept>,
    services: Vec<Service>,
}

/// Makes what `config` needs, beside what `running` has; `None` if it needs nothing.
///
/// # Errors
///
/// Says what is in the way; nothing has changed then.
pub(super) fn prepare(
    running: Option<&Packets>,
    config: &Config,
    clock: Clock,
    pools: &dyn Fn(&str) -> Option<Pool>,
) -> Result<Option<Prepared>, String> {
    let listeners: Vec<Listener> = config.forwarded().cloned().collect();
    let section = running.map(|it| &it.section).or(config.packet.as_ref());
    if let Some(section) = section {
        host::check(section, &listeners)?;
    }
    let (begun, section, interface) = match (running, &config.packet) {
        (Some(running), _) => (None, &running.section, running.opened.interface.clone()),
        (None, Some(section)) if !listeners.is_empty() => {
            let (opened, links) = link::open(section)?;
            let interface = opened.interface.clone();
            (Some((section.clone(), opened, links)), section, interface)
        }
        (None, _) => return Ok(None),
    };
    let before = running.map_or(&[][..], |running| &running.kept);
    let made = services::Maker {
        section,
        mtu: interface.mtu,
        now: clock.now(),
        pools,
    };
    let (kept, services) = made.all(&listeners, before)?;
    // The workers must not be the first to hear of what the library refuses.
    let trial = forwarder(section, clock, HashKey::from_seed(0))
        .sessions(sessions([16, 16]))
        .interface(interface);
    Forwarder::new(clock.now(), trial, HashKey::from_seed(0), services.clone())
        .map_err(|error| error.to_string())?;
    Ok(Some(Prepared {
        begun,
        kept,
        services,
    }))
}

impl Packets {
    /// Goes over to what has been prepared; sessions that nothing was changed about go on.
    ///
    /// # Errors
    ///
    /// Says why no worker could be started; nothing is forwarded then.
    pub(super) fn change(
        running: Option<Self>,
        prepared: Prepared,
        clock: Clock,
    ) -> Result<Self, String> {
        let Prepared {
            begun,
            kept,
            services,
        } = prepared;
        let mut packets = match (running, begun) {
            (Some(running), _) => running,
            (None, Some((section, opened, links))) => Self::start(section, opened, links, clock)?,
            (None, None) => return Err("packet: nothing was opened".into()),
        };
        for kept in &kept {
            kept.log(&packets.kept);
        }
        let before = packets.kept.drain(..).zip(packets.services.drain(..));
        packets.leaving.change(clock.now(), before, &services);
        packets.kept = kept;
        packets.services = services;
        packets.offer();
        Ok(packets)
    }

    /// Ends what is left of services whose drain is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.leaving.handle_timeout(now) {
            self.offer();
        }
    }

    /// How long until there is something to be done about time.
    pub(super) fn next(&self, clock: Clock) -> Option<Duration> {
        self.leaving.next(clock)
    }

    /// Has the workers and the link go over to what is there.
    fn offer(&mut self) {
        let serving = self.kept.iter().zip(&self.services);
        let all: Vec<(&Kept, &Service)> = serving.chain(self.leaving.iter()).collect();
        let services: Vec<Service> = all.iter().map(|(_, it)| Service::clone(it)).collect();
        let listeners: Vec<&Listener> = all.iter().map(|(kept, _)| &kept.config).collect();
        let steering = self.opened.steering.as_ref();
        self.steered
            .change(steering, &self.section, &listeners, &services);
        self.groups.change(&self.section, &listeners);
        self.tell(|| match self.is_draining {
            true => Command::Drain(services.clone()),
            false => Command::Update(services.clone()),
        });
    }

    fn start(
        section: config::Packet,
        opened: Opened,
        links: Vec<Link>,
        clock: Clock,
    ) -> Result<Self, String> {
        host::warn_of_forwarding(&section);
        let hash = section.hash_key.unwrap_or_else(HashKey::random);
        let cookies = section.syn_cookie_key.unwrap_or_else(HashKey::random);
        let count = links.len();
        let (over, running) = watch::channel(());
        let mut workers = Vec::with_capacity(count);
        let mut rings = rings(count)?;
        for (place, link) in links.into_iter().enumerate() {
            let config = forwarder(&section, clock, cookies)
                .sessions(sessions(section.sessions))
                .interface(opened.interface.clone())
                .worker(place, count);
            let forwarder = Forwarder::new(clock.now(), config, hash, Vec::new());
            let mut forwarder = forwarder.map_err(|error| error.to_string())?;
            if let Some(ring) = rings.next() {
                forwarder.set_hand_off(ring);
            }
            let handle = worker::start(clock, forwarder, link, place, running.clone());
            workers.push(handle.map_err(|error| format!("packet: worker {place}: {error}"))?);
        }
        info!(
            interface = %section.interface,
            transport = %section.transport.name(),
            mode = %opened.mode,
            workers = count,
            mtu = opened.interface.mtu,
            "forwarding packets"
        );
        let groups = Groups::open(&section);
        Ok(Self {
            groups,
            section,
            opened,
            workers,
            kept: Vec::new(),
            services: Vec::new(),
            leaving: Leaving::default(),
            steered: Steered::default(),
            over,
            is_draining: false,
        })
    }

    /// Begins no session from here on, and ends with the last.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        for service in &mut self.services {
            service.accepting = false;
        }
        self.offer();
    }

    /// Resolves when no worker is left.
    pub(super) async fn over(&self) {
        self.over.closed().await;
    }

    /// What has been done so far.
    pub(super) async fn figures(&self) -> Figures {
        let mut sum = Figures::default();
        for worker in &self.workers {
            if let Some(figures) = worker.ask().await {
                sum.add(figures);
            }
        }
        sum
    }

    /// As metrics and status show it.
    pub(super) fn show(&self, figures: &Figures) -> snapshot::Packets {
        figures.show(&self.section, &self.opened)
    }

    /// What listeners have done.
    pub(super) fn listeners(&self, figures: &Figures) -> Vec<snapshot::Listener> {
        let state = if self.is_draining {
            "draining"
        } else {
            "serving"
        };
        // Those in service come last, and so decide over what is no figure.
        let leaving = self.leaving.iter().map(|(kept, _)| (kept, "draining"));
        let serving = self.kept.iter().map(|kept| (kept, state));
        let all = leaving.chain(serving);
        all.map(|(kept, state)| figures.listener(kept, state))
            .collect()
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for (place, worker) in self.workers.iter().enumerate() {
            if !worker.tell(command()) {
                warn!(worker = place, "a worker of packets does not listen");
            }
        }
    }
}

/// What all workers are told alike.
fn forwarder(section: &config::Packet, clock: Clock, cookies: HashKey) -> ForwarderConfig {
    let since_start = clock.now().since(Instant::ZERO);
    let epoch = process::since_1970().saturating_sub(since_start);
    let local = LocalPortsConfig::default().addresses(section.local_addresses.iter().copied());
    ForwarderConfig::default()
        .syn_cookies(Cookies::new(cookies, epoch))
        .local_ports(local)
        // None of the addresses is the host's, so nobody else would answer.
        .unserved(Unserved::Refuse)
}

/// The rings between so many workers, whose answers may come to the wrong one: none for one alone.
fn rings(workers: usize) -> Result<impl Iterator<Item = HandOff>, String> {
    let count = u16::try_from(workers).unwrap_or(u16::MAX);
    let count = if count > 1 { count } else { 0 };
    let rings = HandOff::rings(count, HANDED).map_err(|error| format!("packet: {error}"))?;
    Ok(rings.into_iter())
}

fn sessions([v4, v6]: [u32; 2]) -> SessionConfig {
    let limits = |most: u32| Limits::of(usize::try_from(most).unwrap_or(usize::MAX));
    let mut config = SessionConfig::default();
    (config.v4, config.v6) = (limits(v4), limits(v6));
    config
}

/// Answers that may wait for each worker: some bursts of all others.
const HANDED: usize = 1_024;

/// The one interface.
const INTERFACE: InterfaceId = InterfaceId(0);

/// A file of listeners at port 80 of these addresses, forwarded like this to backends of their own:
/// 10.9.0.11 and 10.9.0.12, 10.9.1.11 and so on.
#[cfg(test)]
fn file(transport: &str, local: &str, listen: &[(&str, &str)]) -> Config {
    let gateway = match transport {
        "tun" => "",
        _ => "gateway = \"10.9.0.1\"",
    };
    let mut text = format!(
        "[packet]\ntransport = \"{transport}\"\ninterface = \"eth0\"\n\
         local_addresses = [\"{local}\"]\n{gateway}\n"
    );
    for (n, (address, forwarding)) in listen.iter().enumerate() {
        text += &format!(
            "[[pool]]\nname = \"p{n}\"\nscheduler = \"round-robin\"\n\
             backends = [{{ name = \"a\", address = \"10.9.{n}.11:80\" }}, \
             {{ name = \"b\", address = \"10.9.{n}.12:80\" }}]\n\
             [[listener]]\nname = \"l{n}\"\nprotocol = \"tcp\"\nlisten = \"{address}:80\"\n\
             pool = \"p{n}\"\nforwarding = \"{forwarding}\"\n"
        );
    }
    config::parse(&text).expect("a good file").config
}

/// The services of a file, each over the backends of its pool.
#[cfg(test)]
fn offered(config: &Config) -> Vec<Service> {
    let pools = |name: &str| {
        let pool = config.pools.iter().find(|pool| pool.name == name)?;
        let round_robin = AnyScheduler::new(lbcore::schedule::RoundRobin);
        Some(Pool::new(round_robin).backends(pool.backends.iter().cloned()))
    };
    let maker = services::Maker {
        section: config.packet.as_ref().expect("a section"),
        mtu: 1_500,
        now: Instant::ZERO,
        pools: &pools,
    };
    let made = maker.all(&config.listeners, &[]).expect("good services");
    made.1
}
