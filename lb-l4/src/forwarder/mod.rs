//! A packet in, a verdict out: what decides over packets, without any I/O.
//!
//! ```text
//!            ┌─ pass 1: parse and classify ─┐ ┌─ pass 2: look up ──┐ ┌─ pass 3: act ──────────────┐
//!  packets ─▶ addressed to a service: client ▶ sessions, by flow   ▶ client: onward, or begin
//!             else: perhaps an answer        ▶ answers, by its ends ▶ answer: back to the client
//!             fragments, ICMP, ARP, others                          ▶ a feature's own file, or pass
//! ```
//!
//! Each pass goes over the whole burst before the next begins, so that the memory of 32 sessions is
//! waited for at once. Nothing is allocated for a packet, save when a pool has changed.
//!
//! # Which file decides what
//!
//! | file | |
//! |---|---|
//! | `burst`, `classifier` | the three passes; which service a packet is addressed to |
//! | `begin`, `quic`, `syn_proxy` | who may begin a session, and with which backend |
//! | `client`, `answer`, `target` | the way to a backend, and back |
//! | `fullnat`, `locals` | what a backend of FULLNAT is told of the client, and the local ports |
//! | `window`, `flows`, `answers` | what is known of a session beside the table |
//! | `end`, `replica`, `services` | sessions that end, come from another node, outlive an update |
//! | `fragments`, `errors`, `special`, `tunnels` | packets that are not a session's by their looks |
//! | `refuse`, `transmit` | packets of our own |
//! | `interface`, `links`, `routes` | where packets leave, and behind which link header |

mod answer;
mod answers;
mod begin;
mod burst;
mod classifier;
mod client;
mod config;
mod end;
mod errors;
mod flows;
mod fragments;
mod fullnat;
mod handed;
mod interface;
mod links;
mod locals;
mod quic;
mod refuse;
mod replica;
mod routes;
mod service;
mod services;
mod special;
mod stats;
mod syn_proxy;
mod target;
mod transmit;
mod tunnels;
mod window;

pub use config::{ForwarderConfig, ForwarderError, Unserved};
pub use interface::Interface;
pub use links::Role;
pub use replica::{AdoptError, Replica, Replicated};
pub use service::{
    Match, OnExpiry, Orphans, Scheduling, ServiceProtocol, Straying, Unavailable, VirtualService,
};
pub use stats::{ForwarderStats, ServiceStats};
pub use transmit::Transmit;

use std::fmt;

use lbcore::Instant;
use lbcore::hash::HashKey;
use lbcore::schedule::Scheduler;
use lbcore::session::{Cursor, Region, SessionId, SessionTable, Table, Timeouts};

use crate::icmp;
use crate::method::fullnat::hand_off::HandOff;
use crate::method::splice::Splices;
use crate::packet::{DropReason, Packet};
use crate::syn_proxy::SynProxy;
use answers::Answers;
use burst::Scratch;
use flows::Flows;
use fragments::Fragments;
use locals::Locals;
use routes::Routes;
use services::{Given, Profiles, Services};
use transmit::Outbox;
use tunnels::Tunnels;

/// Decides over the packets of one worker, like an LVS node.
///
/// It is told of packets and of time, and does no I/O: [`handle_burst`](Self::handle_burst) leaves a
/// verdict in each packet, and [`poll_transmit`](Self::poll_transmit) gives those that it sends by
/// itself. Whoever drives it steers every packet of a flow, and the answers to it, to the same
/// worker, and calls [`handle_timeout`](Self::handle_timeout) when
/// [`poll_timeout`](Self::poll_timeout) says so.
///
/// # Examples
///
/// ```
/// use lb_l4::forwarder::{
///     Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
/// };
/// use lb_l4::packet::{InterfaceId, Link, Packet, Verdict};
/// use lb_l4::wire::emit::TcpSegment;
/// use lb_l4::wire::tcp::flags;
/// use lb_l4::wire::{Frame, parse};
/// use lbcore::hash::HashKey;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Instant, Pool};
///
/// let pool = Pool::new(RoundRobin).backend(Backend::new("a", "10.0.0.7:8080".parse()?));
/// let web = Match::endpoint(ServiceProtocol::Tcp, "203.0.113.10/32".parse()?, 80);
/// let services = vec![VirtualService::new("web", web, pool)];
/// let config = ForwarderConfig::default().interface(Interface::ip(InterfaceId(0)));
/// let now = Instant::ZERO;
/// let mut forwarder = Forwarder::new(now, config, HashKey::new([7; 16]), services)?;
///
/// let mut syn = Vec::new();
/// TcpSegment::new("192.0.2.1:40000".parse()?, "203.0.113.10:80".parse()?, flags::SYN)
///     .emit(&mut syn);
/// let len = syn.len();
/// let mut packet = Packet::new(&mut syn, 0..len, Link::Ip);
/// forwarder.handle_packet(now, &mut packet);
/// assert_eq!(packet.verdict(), Verdict::Forward(InterfaceId(0)));
/// let Frame::Ip(headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
/// assert_eq!(headers.destination_end().to_string(), "10.0.0.7:8080");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "director")]
pub struct Forwarder<S: Scheduler> {
    services: Services<S>,
    table: Table,
    flows: Flows,
    answers: Answers,
    routes: Routes,
    role: Role,
    /// Whether packets to ports that no service has are refused.
    refuses_unserved: bool,
    outbox: Outbox,
    tunnels: Tunnels,
    locals: Locals,
    /// The rings to the other workers, if answers may come to the wrong one.
    hand_off: Option<HandOff>,
    /// While a packet of another worker is looked at.
    is_handed: bool,
    fragments: Fragments,
    icmp: icmp::Answers,
    stats: ForwarderStats,
    scratch: Scratch,
    /// How many bursts there have been.
    burst: u64,
    /// Whether a session has ended in this burst, so that what was found before may be another's.
    has_ended: bool,
    /// How far the search for sessions of services that were removed has come.
    sweep: Option<Cursor>,
    hash: HashKey,
    worker: usize,
    /// Answers SYNs in the place of backends, if there is a key for its cookies.
    syn_proxy: Option<SynProxy<SessionId>>,
    splices: Splices,
    /// The sets of timeouts that sessions go by, and how many of them the configuration gave.
    timeouts: Vec<Timeouts>,
    own_timeouts: usize,
}

impl<S: Scheduler> Forwarder<S> {
    /// A forwarder of these services, whose tables nobody can aim at who does not know `hash`.
    ///
    /// Nodes that take over each other's flows have the same `hash`, and each worker of a node too.
    ///
    /// # Errors
    ///
    /// The configuration or a service is refused; the error says which and why.
    ///
    /// # Panics
    ///
    /// Panics if there is no address space for the session limits.
    pub fn new(
        now: Instant,
        config: ForwarderConfig,
        hash: HashKey,
        services: Vec<VirtualService<S>>,
    ) -> Result<Self, ForwarderError> {
        let ForwarderConfig {
            worker, workers, ..
        } = config;
        if worker >= workers {
            return Err(ForwarderError::Worker { worker, workers });
        }
        let routes = Routes::new(config.interfaces, config.neighbours, &config.discovery)?;
        let timeouts = config.sessions.timeouts.clone();
        let (cookies, limits) = (config.syn_cookies, config.syn_proxy);
        let table = Table::new(config.sessions, hash)?;
        let slots = table.slots();
        let mut new = Self {
            hand_off: None,
            is_handed: false,
            locals: Locals::new(config.local_ports, hash, [worker, workers], &table)?,
            services: Services::new(),
            flows: Flows::new(&table),
            answers: Answers::new(table.slots(), hash),
            table,
            routes,
            role: config.role,
            refuses_unserved: config.unserved == Unserved::Refuse,
            outbox: Outbox::new(config.transmit_queue),
            tunnels: Tunnels::new(&hash, worker),
            fragments: Fragments::new(config.fragments, &hash),
            icmp: icmp::Answers::new(now, config.answers, hash),
            stats: ForwarderStats::default(),
            scratch: Scratch::new(),
            burst: 0,
            has_ended: false,
            sweep: None,
            hash,
            worker,
            syn_proxy: cookies.map(|it| SynProxy::new(it, limits)),
            splices: Splices::new(slots),
            own_timeouts: timeouts.len(),
            timeouts,
        };
        new.update(now, services)?;
        Ok(new)
    }

    /// Takes these services in place of those before.
    ///
    /// A service of the same name, match, pool, method and limits goes on with its sessions. Of one
    /// that is replaced, another having its match, the old sessions go on as they began. The sessions
    /// of one that is gone end, some at each [`handle_timeout`](Self::handle_timeout).
    ///
    /// # Errors
    ///
    /// A service is refused; the error says which and why. Nothing has changed then.
    pub fn update(
        &mut self,
        now: Instant,
        services: Vec<VirtualService<S>>,
    ) -> Result<(), ForwarderError> {
        let cookies = match self.syn_proxy {
            Some(_) => Given::Yes,
            None => Given::No,
        };
        services::check(&services, self.routes.link(), cookies)?;
        services::check_fullnat(&services, &self.locals)?;
        if !self.services.have_room_for(services.len()) {
            return Err(ForwarderError::TooManyServices(services::MOST_SERVICES));
        }
        let current = (&*self.timeouts, self.own_timeouts);
        let profiles = Profiles::new(current, &self.services, &services)?;
        self.table.set_timeouts(profiles.sets.clone())?;
        self.timeouts = profiles.sets;
        let wanted = (services, &*profiles.numbers);
        self.routes.refresh(now);
        if self
            .services
            .update(now, self.worker, wanted, &mut self.routes)
        {
            self.sweep = Some(Cursor::default());
        }
        self.answer_for_services();
        Ok(())
    }

    /// Leaves a verdict in each packet, and has rewritten those that go on.
    ///
    /// Packets are decided in their order. Bursts of 32 are best; one packet is a burst of one. `now`
    /// is of one clock that never goes back, the same as the pools'.
    ///
    /// Cost: O(1) a packet, and no allocation, save in the first burst after a change of a pool.
    pub fn handle_burst(&mut self, now: Instant, packets: &mut [Packet<'_>]) {
        for burst in packets.chunks_mut(burst::BURST) {
            self.one_burst(now, burst);
        }
    }

    /// Leaves a verdict in a packet: a burst of one.
    pub fn handle_packet(&mut self, now: Instant, packet: &mut Packet<'_>) {
        self.one_burst(now, std::slice::from_mut(packet));
    }

    /// A packet that the forwarder wants sent by itself, until there is none.
    pub fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        if self.outbox.is_empty() {
            return self.routes.links.poll_transmit();
        }
        self.outbox.pop()
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> ForwarderStats {
        let mut stats = self.stats;
        stats.sessions = self.table.len();
        stats.fragments = self.fragments.stats();
        stats.dropped[DropReason::FragmentUnmatched as usize] += stats.fragments.discarded;
        stats.answers = self.icmp.stats();
        stats.local_ports = self.locals.stats();
        stats.hand_off = self
            .hand_off
            .as_ref()
            .map(HandOff::stats)
            .unwrap_or_default();
        stats
    }

    /// What has passed through the configured service of this name, and through those that it has
    /// replaced under this name.
    #[must_use]
    pub fn service_stats(&self, name: &str) -> Option<ServiceStats> {
        self.services.stats_of(name)
    }

    /// What has passed through each configured service, by its name; see
    /// [`service_stats`](Self::service_stats).
    pub fn all_service_stats(&self) -> impl Iterator<Item = (&str, ServiceStats)> {
        self.services.configured()
    }

    /// The sessions, to be looked at.
    #[must_use]
    pub const fn sessions(&self) -> &Table {
        &self.table
    }

    /// The memory that packets read, for a program that asks the kernel for huge pages.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        let mut regions = self.table.regions().to_vec();
        regions.extend(self.flows.regions());
        regions.push(self.answers.region());
        regions
    }
}

impl<S: Scheduler> fmt::Debug for Forwarder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("worker", &self.worker)
            .field("sessions", &self.table.len())
            .finish_non_exhaustive()
    }
}
