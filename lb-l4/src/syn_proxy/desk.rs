//! What is said to clients and backends in a handshake, and what is held.

use std::net::IpAddr;

use lbcore::Instant;
use lbcore::flow::FlowKey;

use crate::packet::{DropReason, Packet};
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::flags::{ACK, CWR, ECE, RST, SYN};
use crate::wire::{Headers, TcpHeader};

use super::half_open::{Brought, HalfOpen, Last, Released};
use super::proxy::{BackendStep, ClientStep};
use super::segment::{Said, Timestamps, default_mss, is_sound, replace, turn_link};
use super::{
    ClientSyn, Cookie, Cookies, SynOptions, SynProxyConfig, SynProxyLimits, SynProxyStats,
};

/// All of a SYN proxy but its places.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) cookies: Cookies,
    pub(super) limits: SynProxyLimits,
    pub(super) stats: SynProxyStats,
    /// Room to write a packet in.
    scratch: Vec<u8>,
}

impl Desk {
    pub(super) fn new(cookies: Cookies, limits: SynProxyLimits) -> Self {
        Self {
            cookies,
            limits,
            stats: SynProxyStats::default(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn answer(
        &mut self,
        now: Instant,
        config: &SynProxyConfig,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Result<(), DropReason> {
        let (flow, tcp) = flow_of(headers)?;
        if !tcp.is_first_syn() {
            return Err(DropReason::NoSession);
        }
        if !is_sound(packet, headers) {
            return Err(DropReason::BadChecksum);
        }
        let said = Said::read(packet, headers);
        let asked = agreed(config, &said, &tcp, flow.source.ip());
        let syn = ClientSyn {
            sequence: tcp.sequence,
            promised_scale: config.window_scale,
        };
        let cookie = self.cookies.issue(now, &flow, syn, &asked);
        let promised = promise(config, &asked, cookie, &said, flow.source.ip());
        let options = promised.options();
        let ecn = if asked.ecn { ECE } else { 0 };
        let segment = TcpSegment::new(flow.destination, flow.source, SYN | ACK | ecn)
            .sequence(cookie.sequence)
            .acknowledgement(tcp.sequence.wrapping_add(1))
            .window(config.window)
            .options(options.bytes());
        replace(packet, headers, &segment, &mut self.scratch)?;
        turn_link(packet);
        self.stats.answered += 1;
        Ok(())
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        config: &SynProxyConfig,
        crowded: bool,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Result<HalfOpen, DropReason> {
        let mut half = self.checked(now, config, packet, headers)?;
        if !is_sound(packet, headers) {
            return Err(DropReason::BadChecksum);
        }
        if crowded {
            self.stats.crowded += 1;
            return Err(DropReason::HoldFull);
        }
        if let Some(tcp) = headers.tcp() {
            let payload = packet.bytes().get(headers.payload()).unwrap_or_default();
            self.hold(&mut half, tcp, payload);
        }
        let options = half.syn_options().options();
        let syn = half.syn(options.bytes());
        if let Err(reason) = replace(packet, headers, &syn, &mut self.scratch) {
            self.let_go(&half);
            return Err(reason);
        }
        self.stats.accepted += 1;
        Ok(half)
    }

    /// The handshake whose cookie an ACK returns.
    fn checked(
        &mut self,
        now: Instant,
        config: &SynProxyConfig,
        packet: &Packet<'_>,
        headers: &Headers,
    ) -> Result<HalfOpen, DropReason> {
        let (flow, tcp) = flow_of(headers)?;
        if tcp.flags & (SYN | RST | ACK) != ACK {
            return Err(DropReason::NoSession);
        }
        let said = Said::read(packet, headers);
        let syn = ClientSyn {
            sequence: tcp.sequence.wrapping_sub(1),
            promised_scale: config.window_scale,
        };
        let cookie = Cookie {
            sequence: tcp.acknowledgement.wrapping_sub(1),
            timestamp: said.timestamps.map(|it| it.echo),
        };
        let Some(asked) = self.cookies.check(now, &flow, syn, cookie) else {
            self.stats.wrong += 1;
            return Err(DropReason::SynCookieWrong);
        };
        Ok(HalfOpen {
            client: flow.source,
            service: flow.destination,
            sequence: syn.sequence,
            cookie,
            asked,
            promised_scale: config.window_scale,
            timestamp: said.timestamps.map_or(0, |it| it.value),
            window: tcp.window,
            held: Vec::new(),
            fin: false,
            most: config.window,
        })
    }

    pub(super) fn refuse(
        &mut self,
        half: &HalfOpen,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> Result<(), DropReason> {
        self.let_go(half);
        let reset = half.reset_to_client(half.service, half.client);
        replace(packet, headers, &reset, &mut self.scratch)?;
        turn_link(packet);
        Ok(())
    }

    /// What a handshake held is held no more.
    pub(super) const fn let_go(&mut self, half: &HalfOpen) {
        self.stats.held_bytes = self.stats.held_bytes.saturating_sub(half.held.len());
    }

    pub(super) fn handle_client(
        &mut self,
        half: &mut HalfOpen,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> ClientStep {
        let Some(&tcp) = headers.tcp() else {
            return ClientStep::Drop(DropReason::NoSession);
        };
        if !is_sound(packet, headers) {
            return ClientStep::Drop(DropReason::BadChecksum);
        }
        if tcp.has(RST) {
            return self.client_reset(half, &tcp, packet, headers);
        }
        if tcp.has(SYN) {
            return self.challenge(half, packet, headers);
        }
        if !tcp.has(ACK) || tcp.acknowledgement != half.acknowledged() {
            return ClientStep::Drop(DropReason::OutsideWindow);
        }
        half.observe(&tcp, &Said::read(packet, headers));
        let payload = packet.bytes().get(headers.payload()).unwrap_or_default();
        match self.hold(half, &tcp, payload) {
            true => ClientStep::Held,
            false => ClientStep::Drop(DropReason::HoldFull),
        }
    }

    fn client_reset(
        &mut self,
        half: &HalfOpen,
        tcp: &TcpHeader,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> ClientStep {
        if !half.is_reset_by(tcp) {
            return ClientStep::Drop(DropReason::OutsideWindow);
        }
        let reset = half.reset_to_backend();
        match replace(packet, headers, &reset, &mut self.scratch) {
            Ok(()) => {
                self.stats.abandoned += 1;
                ClientStep::Reset
            }
            Err(reason) => ClientStep::Drop(reason),
        }
    }

    /// A SYN for what has begun: the network's copy, or a client that has forgotten.
    fn challenge(
        &mut self,
        half: &HalfOpen,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> ClientStep {
        let options = half.challenge_options().options();
        let segment = half.challenge(options.bytes());
        if let Err(reason) = replace(packet, headers, &segment, &mut self.scratch) {
            return ClientStep::Drop(reason);
        }
        turn_link(packet);
        self.stats.challenged += 1;
        ClientStep::Reply
    }

    /// Holds what is new; whether nothing had to be left.
    fn hold(&mut self, half: &mut HalfOpen, tcp: &TcpHeader, payload: &[u8]) -> bool {
        let (bytes, last) = match half.brought(tcp, payload) {
            Brought::Nothing => return true,
            Brought::Outside => return false,
            Brought::Bytes(bytes, last) => (bytes, last),
        };
        let room = self.limits.held_bytes.saturating_sub(self.stats.held_bytes);
        let fits = bytes.get(..room).unwrap_or(bytes);
        half.held.extend_from_slice(fits);
        self.stats.held_bytes += fits.len();
        let all = fits.len() == bytes.len();
        half.fin = all && last == Last::Yes;
        all
    }

    pub(super) fn handle_backend(
        &mut self,
        half: &mut HalfOpen,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> BackendStep {
        let Some(&tcp) = headers.tcp() else {
            return BackendStep::Drop(DropReason::NoSession);
        };
        if !is_sound(packet, headers) {
            return BackendStep::Drop(DropReason::BadChecksum);
        }
        let ours = tcp.acknowledgement == half.first();
        match (tcp.has(ACK), ours) {
            // Only what answers our SYN is believed (RFC 9293, 3.10.7.3).
            (true, true) if tcp.has(RST) => self.refused(half, None, packet, headers),
            (true, true) if tcp.has(SYN) => self.answered(half, &tcp, packet, headers),
            (true, false) if !tcp.has(RST) => self.stale(&tcp, packet, headers),
            _ => BackendStep::Drop(DropReason::OutsideWindow),
        }
    }

    fn answered(
        &mut self,
        half: &mut HalfOpen,
        tcp: &TcpHeader,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> BackendStep {
        let answer = Said::read(packet, headers);
        if half.is_broken_by(&answer) {
            self.stats.promises_broken += 1;
            let reset = Released::only(half.reset_to_backend());
            return self.refused(half, Some(reset), packet, headers);
        }
        let said = Said {
            timestamps: answer
                .timestamps
                .filter(|_| half.cookie.timestamp.is_some()),
            ..Said::default()
        };
        let options = said.options();
        let scale = match half.asked.window_scale {
            Some(_) => answer.window_scale.unwrap_or(0),
            None => 0,
        };
        let ends = (headers.source_end(), headers.destination_end());
        let opening = half.opening(ends, tcp, scale, options.bytes());
        if let Err(reason) = replace(packet, headers, &opening, &mut self.scratch) {
            return BackendStep::Drop(reason);
        }
        self.stats.joined += 1;
        let mss = answer.mss.unwrap_or_else(|| default_mss(headers.source));
        let splice = half.splice(tcp, &answer);
        self.let_go(half);
        BackendStep::Joined {
            splice,
            released: half.release(tcp.window, mss),
            promised_scale: half.scale(),
        }
    }

    fn refused(
        &mut self,
        half: &HalfOpen,
        to_backend: Option<Released>,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> BackendStep {
        let reset = half.reset_to_client(headers.source_end(), headers.destination_end());
        if let Err(reason) = replace(packet, headers, &reset, &mut self.scratch) {
            return BackendStep::Drop(reason);
        }
        if to_backend.is_none() {
            self.stats.refused += 1;
        }
        BackendStep::Refused(to_backend)
    }

    /// The backend has another connection of these ends: an RST ends it (RFC 9293, 3.10.7.3).
    fn stale(
        &mut self,
        tcp: &TcpHeader,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
    ) -> BackendStep {
        let reset = TcpSegment::new(headers.destination_end(), headers.source_end(), RST)
            .sequence(tcp.acknowledgement);
        if let Err(reason) = replace(packet, headers, &reset, &mut self.scratch) {
            return BackendStep::Drop(reason);
        }
        turn_link(packet);
        self.stats.stale += 1;
        BackendStep::Reply
    }
}

fn flow_of(headers: &Headers) -> Result<(FlowKey, TcpHeader), DropReason> {
    match (headers.flow(), headers.tcp()) {
        (Some(flow), Some(&tcp)) => Ok((flow, tcp)),
        _ => Err(DropReason::Unsupported),
    }
}

/// Of what a client asks for, what its backends do.
fn agreed(config: &SynProxyConfig, said: &Said, tcp: &TcpHeader, client: IpAddr) -> SynOptions {
    let timestamps = config.timestamps && said.timestamps.is_some();
    SynOptions {
        mss: said.mss.unwrap_or_else(|| default_mss(client)),
        window_scale: said.window_scale,
        sack: config.sack && said.sack,
        timestamps,
        ecn: config.ecn && timestamps && tcp.has(ECE | CWR),
    }
}

/// What a SYN-ACK says to it.
fn promise(
    config: &SynProxyConfig,
    asked: &SynOptions,
    cookie: Cookie,
    said: &Said,
    client: IpAddr,
) -> Said {
    let longer = if client.is_ipv4() { 0 } else { 20 };
    Said {
        mss: Some(config.mss.saturating_sub(longer)),
        window_scale: asked.window_scale.map(|_| config.window_scale.min(14)),
        sack: asked.sack,
        timestamps: cookie.timestamp.map(|value| Timestamps {
            value,
            echo: said.timestamps.map_or(0, |it| it.value),
        }),
    }
}
