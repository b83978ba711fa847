//! The services of a forwarder, each with its balancer, while their sessions last.

use std::collections::HashSet;
use std::net::SocketAddr;

use lbcore::Instant;
use lbcore::flow::FlowKey;
use lbcore::schedule::Scheduler;
use lbcore::session::{Binding, Timeouts, Tracking};
use lbcore::{Balancer, Ticket};

use super::classifier::Classifier;
use super::locals::Locals;
use super::routes::Routes;
use super::target::Targets;
use super::{
    ForwarderError, Match, OnExpiry, Scheduling, ServiceProtocol, ServiceStats, VirtualService,
};
use crate::method::ForwardingMethod;
use crate::packet::{DropReason, Link};
use crate::syn_proxy::SynRate;
use crate::wire::Headers;

/// One service at work.
pub(crate) struct Service<S: Scheduler> {
    pub(crate) config: VirtualService<S>,
    pub(crate) balancer: Balancer<S>,
    pub(crate) targets: Targets,
    /// Which set of timeouts of the table its sessions have.
    pub(crate) profile: u8,
    pub(crate) standing: Standing,
    /// Sessions under way.
    pub(crate) sessions: usize,
    pub(crate) stats: ServiceStats,
    /// Whether so many SYNs come that they are answered here.
    pub(crate) syn_rate: SynRate,
    /// The last burst that its picture of the pool was looked at in.
    looked: u64,
}

/// Whether a service is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Configured,
    /// No longer, and its sessions are to end.
    Removed,
    /// No longer, and another takes its new sessions; the old go on.
    Replaced,
}

impl<S: Scheduler> Service<S> {
    /// Works with the newest picture of the pool; looks once a burst.
    #[inline]
    pub(crate) fn ready(&mut self, now: Instant, burst: u64, routes: &mut Routes) {
        if self.looked != burst {
            self.looked = burst;
            self.balancer.refresh(now);
            self.aim(now, routes);
        }
    }

    /// Makes the targets those of the balancer's picture.
    #[inline]
    pub(crate) fn aim(&mut self, now: Instant, routes: &mut Routes) {
        let view = self.balancer.view();
        if !self.targets.are_of(view, routes.links.version()) {
            self.targets.rebuild(now, view, routes);
        }
    }

    /// What has passed through it, and what is under way.
    const fn stats_now(&self) -> ServiceStats {
        let mut stats = self.stats;
        stats.active = self.sessions;
        stats
    }

    /// Whether the sender of this packet may begin a session at all.
    pub(crate) fn admits(&self, headers: &Headers, key: &FlowKey) -> Result<(), DropReason> {
        if headers.has_martian_source() || key.source.port() == 0 {
            return Err(DropReason::Malformed);
        }
        if !self.config.rules.allows(key.source.ip()) {
            return Err(DropReason::AddressDenied);
        }
        Ok(())
    }

    /// Which packets of its sessions pass here.
    #[inline]
    pub(crate) const fn tracking(&self) -> Tracking {
        match self.config.method {
            ForwardingMethod::DirectRouting | ForwardingMethod::Tunnel(_) => Tracking::ClientOnly,
            ForwardingMethod::FullNat(_) | ForwardingMethod::Nat => Tracking::BothSides,
        }
    }

    /// Whether sequence numbers of its sessions are of use.
    #[inline]
    pub(crate) fn is_tracked(&self) -> bool {
        self.tracking() == Tracking::BothSides || self.config.on_expiry == OnExpiry::Reset
    }
}

/// Every service by its number, which the sessions in the table know it by.
pub(crate) struct Services<S: Scheduler> {
    by_number: Vec<Option<Box<Service<S>>>>,
    pub(crate) classifier: Classifier,
    /// Those that remember no sessions, and whose answers pass here.
    one_packet: Vec<u16>,
}

impl<S: Scheduler> Services<S> {
    pub(crate) fn new() -> Self {
        Self {
            by_number: Vec::new(),
            classifier: Classifier::new(&[]),
            one_packet: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn at(&self, number: u16) -> Option<&Service<S>> {
        self.by_number.get(usize::from(number))?.as_deref()
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, number: u16) -> Option<&mut Service<S>> {
        self.by_number.get_mut(usize::from(number))?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Service<S>)> {
        let numbered = (0..).zip(&self.by_number);
        numbered.filter_map(|(number, service)| Some((number, service.as_deref()?)))
    }

    /// The configured service of this name.
    pub(crate) fn named(&self, name: &str) -> Option<u16> {
        let mut configured = self
            .iter()
            .filter(|(_, it)| it.standing == Standing::Configured);
        Some(configured.find(|(_, it)| &*it.config.name == name)?.0)
    }

    /// The name of each configured service, with what has passed through it and through those whose
    /// place it took.
    pub(crate) fn configured(&self) -> impl Iterator<Item = (&str, ServiceStats)> {
        let configured = self
            .iter()
            .filter(|(_, it)| it.standing == Standing::Configured);
        configured.map(|(_, it)| (&*it.config.name, self.sum(it)))
    }

    /// What has passed through the configured service of this name.
    pub(crate) fn stats_of(&self, name: &str) -> Option<ServiceStats> {
        Some(self.sum(self.at(self.named(name)?)?))
    }

    /// What has passed through a service, with what still passes through those of its name whose
    /// place it took.
    fn sum(&self, service: &Service<S>) -> ServiceStats {
        let all = self.by_number.iter().flatten();
        let before = all.filter(|it| {
            it.standing != Standing::Configured && it.config.name == service.config.name
        });
        before.fold(service.stats_now(), |sum, it| sum.plus(&it.stats_now()))
    }

    /// What a backend's packet without a session is an answer from, if the backend serves a service
    /// that remembers none and has a single end: that service and its end.
    pub(crate) fn end_without_session(&self, headers: &Headers) -> Option<(u16, SocketAddr)> {
        let from = headers.source_end();
        self.one_packet.iter().find_map(|&number| {
            let service = self.at(number)?;
            let end = service.config.matches.end(headers.protocol)?;
            service.targets.have(from).then_some((number, end))
        })
    }

    /// Forgets services that are no longer configured and have no session left.
    pub(crate) fn forget_unused(&mut self) {
        for at in 0..self.by_number.len() {
            let place = self.by_number.get_mut(at);
            let unused =
                |it: &mut Box<Service<S>>| it.standing != Standing::Configured && it.sessions == 0;
            // What it has done is counted for the one that took its place.
            if let Some(gone) = place.and_then(|place| place.take_if(unused))
                && let Some(number) = self.named(&gone.config.name)
                && let Some(heir) = self.at_mut(number)
            {
                heir.stats = heir.stats.plus(&gone.stats);
            }
        }
    }

    /// Takes `wanted` in place of what was configured; says whether sessions are to be ended.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        worker: usize,
        (wanted, profiles): (Vec<VirtualService<S>>, &[u8]),
        routes: &mut Routes,
    ) -> bool {
        let mut kept = HashSet::new();
        let mut matches = Vec::new();
        for (config, &profile) in wanted.into_iter().zip(profiles) {
            let number = match self.same_as(&config) {
                Some(number) => number,
                None => self.free_number(),
            };
            kept.insert(number);
            matches.push((config.matches, number));
            match self.at_mut(number) {
                Some(service) => {
                    service.syn_rate.set_mode(config.syn_proxy.mode);
                    (service.config, service.profile) = (config, profile);
                }
                None => self.put(number, Self::begin(now, worker, (config, profile), routes)),
            }
        }
        self.classifier = Classifier::new(&matches);
        let mut ends = false;
        for (number, place) in (0..).zip(&mut self.by_number) {
            if let Some(service) = place
                && !kept.contains(&number)
                && service.standing == Standing::Configured
            {
                let replaced = matches.iter().any(|(it, _)| *it == service.config.matches);
                service.standing = if replaced {
                    Standing::Replaced
                } else {
                    Standing::Removed
                };
                ends |= !replaced;
            }
        }
        self.forget_unused();
        let one_packet = self.iter().filter(|(_, it)| {
            it.standing == Standing::Configured
                && it.config.scheduling == Scheduling::OnePacket
                && it.tracking() == Tracking::BothSides
        });
        self.one_packet = one_packet.map(|(number, _)| number).collect();
        ends
    }

    /// Whether there are numbers for so many more.
    pub(crate) fn have_room_for(&self, more: usize) -> bool {
        self.by_number.iter().flatten().count() + more <= MOST_SERVICES
    }

    /// The service that goes on under this configuration, with the sessions that it has.
    fn same_as(&self, config: &VirtualService<S>) -> Option<u16> {
        let number = self.named(&config.name)?;
        let was = &self.at(number)?.config;
        let same_limits = match (&was.limits, &config.limits) {
            (Some(was), Some(now)) => std::sync::Arc::ptr_eq(was, now),
            (None, None) => true,
            _ => false,
        };
        let same = was.matches == config.matches
            && was.method == config.method
            && was.pool.is_same(&config.pool)
            && same_limits;
        same.then_some(number)
    }

    fn free_number(&self) -> u16 {
        let free = self.by_number.iter().position(Option::is_none);
        u16::try_from(free.unwrap_or(self.by_number.len())).unwrap_or(u16::MAX)
    }

    fn put(&mut self, number: u16, service: Service<S>) {
        let at = usize::from(number);
        if at >= self.by_number.len() {
            self.by_number.resize_with(at + 1, || None);
        }
        if let Some(place) = self.by_number.get_mut(at) {
            *place = Some(Box::new(service));
        }
    }

    fn begin(
        now: Instant,
        worker: usize,
        (config, profile): (VirtualService<S>, u8),
        routes: &mut Routes,
    ) -> Service<S> {
        let mut service = Service {
            balancer: config.pool.balancer(worker),
            syn_rate: SynRate::new(config.syn_proxy.mode),
            config,
            targets: Targets::default(),
            profile,
            standing: Standing::Configured,
            sessions: 0,
            stats: ServiceStats::default(),
            looked: 0,
        };
        service.aim(now, routes);
        service
    }
}

/// Refuses what cannot be served.
pub(crate) fn check<S: Scheduler>(
    wanted: &[VirtualService<S>],
    link: Link,
    cookies: Given,
) -> Result<(), ForwarderError> {
    let (mut names, mut matches) = (HashSet::new(), HashSet::new());
    for service in wanted {
        let name = || std::sync::Arc::clone(&service.name);
        if !names.insert(&service.name) || !matches.insert(service.matches) {
            return Err(ForwarderError::DuplicateService(name()));
        }
        if service.method == ForwardingMethod::DirectRouting && link == Link::Ip {
            return Err(ForwarderError::DirectRoutingWithoutLink(name()));
        }
        if let ForwardingMethod::Tunnel(config) = &service.method {
            config
                .check()
                .map_err(|error| ForwarderError::Tunnel(name(), error))?;
        }
        check_syn_proxy(service, cookies)?;
        let sctp = ServiceProtocol::Sctp;
        if matches!(service.matches, Match::Endpoint { protocol, .. } if protocol == sctp) {
            if rewrites(&service.method) {
                return Err(ForwarderError::SctpRewritten(name()));
            }
            if !service.pool.scheduler().places() {
                return Err(ForwarderError::SctpUnplaced(name()));
            }
        }
    }
    Ok(())
}

/// Refuses FULLNAT where nothing can come of it.
pub(crate) fn check_fullnat<S: Scheduler>(
    wanted: &[VirtualService<S>],
    locals: &Locals,
) -> Result<(), ForwarderError> {
    for service in wanted {
        if !matches!(service.method, ForwardingMethod::FullNat(_)) {
            continue;
        }
        let name = || std::sync::Arc::clone(&service.name);
        if service.scheduling == Scheduling::OnePacket {
            return Err(ForwarderError::FullNatOnePacket(name()));
        }
        if locals.addresses().next().is_none() {
            return Err(ForwarderError::FullNatWithoutAddress(name()));
        }
    }
    Ok(())
}

/// Whether addresses change on the way to a backend, which SCTP's checksum and packets within would
/// not survive.
const fn rewrites(method: &ForwardingMethod) -> bool {
    matches!(method, ForwardingMethod::FullNat(_) | ForwardingMethod::Nat)
}

/// Whether there is a key for SYN cookies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Given {
    No,
    Yes,
}

fn check_syn_proxy<S: Scheduler>(
    service: &VirtualService<S>,
    cookies: Given,
) -> Result<(), ForwarderError> {
    let name = || std::sync::Arc::clone(&service.name);
    let config = &service.syn_proxy;
    let checked = config.check();
    checked.map_err(|error| ForwarderError::SynProxy(name(), error))?;
    if config.is_off() {
        return Ok(());
    }
    if let ForwardingMethod::DirectRouting | ForwardingMethod::Tunnel(_) = service.method {
        return Err(ForwarderError::SynProxyOneSided(name()));
    }
    if cookies == Given::No {
        return Err(ForwarderError::SynProxyWithoutKey(name()));
    }
    Ok(())
}

/// Which services goes by which set of timeouts of the table.
///
/// Sessions know a set by its number, so a set keeps its number while a service goes on, and no other
/// gets the number of one whose sessions are not over.
pub(crate) struct Profiles {
    /// Every set: those of the configuration first.
    pub(crate) sets: Vec<Timeouts>,
    /// The number of each service's.
    pub(crate) numbers: Vec<u8>,
}

impl Profiles {
    /// Those of `wanted`, which come after `services`; `current` are the sets of now, and the first
    /// `own` of them are always there.
    pub(crate) fn new<S: Scheduler>(
        (current, own): (&[Timeouts], usize),
        services: &Services<S>,
        wanted: &[VirtualService<S>],
    ) -> Result<Self, ForwarderError> {
        let mut sets = current.to_vec();
        let mut taken: Vec<bool> = (0..sets.len()).map(|at| at < own).collect();
        let going_on: Vec<_> = wanted.iter().map(|it| services.same_as(it)).collect();
        for (number, service) in services.iter() {
            if !going_on.contains(&Some(number))
                && let Some(taken) = taken.get_mut(usize::from(service.profile))
            {
                *taken = true;
            }
        }
        let mut numbers = vec![None; wanted.len()];
        for ((service, number), before) in wanted.iter().zip(&mut numbers).zip(going_on) {
            let before = before.and_then(|it| services.at(it));
            let at = before.map(|it| usize::from(it.profile));
            if let (Some(timeouts), Some(at)) = (&service.timeouts, at)
                && taken.get(at) == Some(&false)
            {
                (sets[at], taken[at], *number) = (timeouts.clone(), true, Some(at));
            }
        }
        let mut all = Vec::with_capacity(wanted.len());
        for (service, number) in wanted.iter().zip(numbers) {
            let at = match (&service.timeouts, number) {
                (None, _) => 0,
                (Some(_), Some(at)) => at,
                (Some(timeouts), None) => place_of(&mut sets, &mut taken, timeouts),
            };
            all.push(u8::try_from(at).map_err(|_| ForwarderError::TooManyTimeouts)?);
        }
        Ok(Self { sets, numbers: all })
    }
}

/// The number of a set: one that is the same, one that nobody goes by, or a new one.
fn place_of(sets: &mut Vec<Timeouts>, taken: &mut Vec<bool>, timeouts: &Timeouts) -> usize {
    let mut known = sets.iter().zip(taken.iter());
    if let Some(same) = known.position(|(it, taken)| *taken && it == timeouts) {
        return same;
    }
    let at = taken.iter().position(|taken| !taken).unwrap_or_else(|| {
        sets.push(timeouts.clone());
        taken.push(false);
        sets.len() - 1
    });
    (sets[at], taken[at]) = (timeouts.clone(), true);
    at
}

/// What a session of service `number` is bound to.
#[inline]
pub(crate) const fn binding(number: u16, ticket: Ticket, profile: u8) -> Binding {
    let [low, high] = number.to_le_bytes();
    Binding {
        ticket,
        method: low,
        flags: high,
        profile,
    }
}

/// The number of the service of a session.
#[inline]
pub(crate) const fn number_of(binding: Binding) -> u16 {
    u16::from_le_bytes([binding.method, binding.flags])
}

/// As many as 16 bits tell apart.
pub(crate) const MOST_SERVICES: usize = 1 << 16;
