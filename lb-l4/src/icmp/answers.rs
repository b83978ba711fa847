//! Answers of our own, at a bounded rate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbcore::Instant;
use lbcore::flow::SourcePrefix;
use lbcore::hash::HashKey;
use lbcore::limit::TokenBucket;

use super::{Refusal, Unanswerable, echo_reply, refuse, reset};
use crate::packet::{DropReason, Packet, Verdict};
use crate::wire::Headers;

/// Which answers the forwarder gives, and how many.
///
/// # Examples
///
/// ```
/// use lb_l4::icmp::{AnswerConfig, TcpRefusal};
///
/// let quiet = AnswerConfig::default().refuse_tcp(TcpRefusal::PortUnreachable).errors_per_second(100);
/// assert_eq!(quiet.echoes_per_second, 1000);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnswerConfig {
    /// Errors and RSTs a second, to all together; 0 is no limit.
    ///
    /// The default is 1,000 for each worker, as Linux has for the host (`icmp_msgs_per_sec`).
    pub errors_per_second: u64,
    /// Echo replies a second, to all together; 0 is no limit. Default 1,000 for each worker.
    pub echoes_per_second: u64,
    /// Answers of either kind a second to one source, which is an IPv4 address or a /64 of IPv6;
    /// 0 is no limit. Default 50, so that one sender cannot use up what all have.
    ///
    /// Sources are told apart by one of 1,024 hashes: with very many senders, some share.
    pub answers_per_source: u64,
    /// From whom errors come, to packets of IPv4. Default none: of a service its own address, which the
    /// packet was sent to, as a host would answer, and which passes firewalls that know the session;
    /// else that of the interface.
    pub source_v4: Option<Ipv4Addr>,
    /// From whom errors come, to packets of IPv6. Default none, as above.
    pub source_v6: Option<Ipv6Addr>,
    /// How TCP is told that no backend is there. Default [`TcpRefusal::Reset`].
    pub refuse_tcp: TcpRefusal,
}

/// How TCP is told that a port is closed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TcpRefusal {
    /// By an ICMP error, as IPVS does.
    PortUnreachable,
    /// By a RST, as a host does: it passes where ICMP is filtered.
    #[default]
    Reset,
}

impl Default for AnswerConfig {
    fn default() -> Self {
        Self {
            errors_per_second: 1000,
            echoes_per_second: 1000,
            answers_per_source: 50,
            source_v4: None,
            source_v6: None,
            refuse_tcp: TcpRefusal::default(),
        }
    }
}

impl AnswerConfig {
    /// Sets [`errors_per_second`](Self::errors_per_second).
    #[must_use]
    pub const fn errors_per_second(mut self, rate: u64) -> Self {
        self.errors_per_second = rate;
        self
    }

    /// Sets [`echoes_per_second`](Self::echoes_per_second).
    #[must_use]
    pub const fn echoes_per_second(mut self, rate: u64) -> Self {
        self.echoes_per_second = rate;
        self
    }

    /// Sets [`answers_per_source`](Self::answers_per_source).
    #[must_use]
    pub const fn answers_per_source(mut self, rate: u64) -> Self {
        self.answers_per_source = rate;
        self
    }

    /// Sets [`source_v4`](Self::source_v4).
    #[must_use]
    pub const fn source_v4(mut self, source: Ipv4Addr) -> Self {
        self.source_v4 = Some(source);
        self
    }

    /// Sets [`source_v6`](Self::source_v6).
    #[must_use]
    pub const fn source_v6(mut self, source: Ipv6Addr) -> Self {
        self.source_v6 = Some(source);
        self
    }

    /// Sets [`refuse_tcp`](Self::refuse_tcp).
    #[must_use]
    pub const fn refuse_tcp(mut self, refusal: TcpRefusal) -> Self {
        self.refuse_tcp = refusal;
        self
    }
}

/// Answers packets in their buffers, as often as may be.
///
/// # Examples
///
/// ```
/// use lb_l4::icmp::{AnswerConfig, Answers, Refusal};
/// use lb_l4::packet::{DropReason, Link, Packet, Verdict};
/// use lb_l4::wire::emit::Datagram;
/// use lb_l4::wire::{Frame, parse};
/// use lbcore::Instant;
/// use lbcore::hash::HashKey;
///
/// let mut answers = Answers::new(Instant::ZERO, AnswerConfig::default(), HashKey::from_seed(1));
/// let mut buffer = vec![0; 64];
/// Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"?").emit(&mut buffer);
/// let end = buffer.len();
/// let mut packet = Packet::new(&mut buffer, 64..end, Link::Ip);
/// let Frame::Ip(headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
/// let reason = DropReason::BackendUnavailable;
/// let refusal = (Refusal::PortUnreachable, headers.destination);
/// let verdict = answers.refuse(Instant::ZERO, &mut packet, &headers, refusal, reason);
/// assert_eq!(verdict, Verdict::Reply);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Answers {
    config: AnswerConfig,
    errors: TokenBucket,
    echoes: TokenBucket,
    sources: Box<[TokenBucket]>,
    key: HashKey,
    stats: AnswerStats,
}

/// What [`Answers`] has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AnswerStats {
    /// ICMP errors sent.
    pub errors: u64,
    /// RSTs sent.
    pub resets: u64,
    /// Echo replies sent, each fragment counted.
    pub echoes: u64,
    /// Answers not sent because there were too many.
    pub limited: u64,
    /// Packets not answered because no such packet may be.
    pub unanswerable: u64,
}

impl Answers {
    /// With full buckets: a tenth of a second's answers at once, at least 10.
    #[must_use]
    pub fn new(now: Instant, config: AnswerConfig, key: HashKey) -> Self {
        let bucket = |rate: u64| TokenBucket::new(now, rate, (rate / 10).max(10));
        Self {
            errors: bucket(config.errors_per_second),
            echoes: bucket(config.echoes_per_second),
            sources: (0..SOURCES)
                .map(|_| bucket(config.answers_per_source))
                .collect(),
            config,
            key,
            stats: AnswerStats::default(),
        }
    }

    /// Turns a packet that is dropped for `reason` into the answer that says so:
    /// [`Verdict::Reply`]; [`Verdict::Drop`] if it may have none, or none now.
    ///
    /// It comes from `own`, an address of ours, unless another is configured.
    /// [`Refusal::PortUnreachable`] of TCP is a RST, if so configured. Count the reason either way.
    pub fn refuse(
        &mut self,
        now: Instant,
        packet: &mut Packet<'_>,
        headers: &Headers,
        (refusal, own): (Refusal, IpAddr),
        reason: DropReason,
    ) -> Verdict {
        let resets = refusal == Refusal::PortUnreachable
            && headers.tcp().is_some()
            && self.config.refuse_tcp == TcpRefusal::Reset;
        if !super::may_be_answered(packet, headers) {
            self.stats.unanswerable += 1;
            return Verdict::Drop(reason);
        }
        if !self.allows(now, headers.source, Kind::Error) {
            return Verdict::Drop(reason);
        }
        let done = if resets {
            reset(packet, headers)
        } else {
            refuse(packet, headers, refusal, self.source_for(own))
        };
        match (done, resets) {
            (Ok(()), true) => self.stats.resets += 1,
            (Ok(()), false) => self.stats.errors += 1,
            (Err(_), _) => {
                self.stats.unanswerable += 1;
                return Verdict::Drop(reason);
            }
        }
        Verdict::Reply
    }

    /// Turns an echo request, or a fragment of one, into its reply: [`Verdict::Reply`].
    ///
    /// Otherwise [`Verdict::Drop`] with [`DropReason::AnswerRate`] or [`DropReason::Unsupported`];
    /// see [`echo_reply`].
    pub fn echo(&mut self, now: Instant, packet: &mut Packet<'_>, headers: &Headers) -> Verdict {
        if !self.allows(now, headers.source, Kind::Echo) {
            return Verdict::Drop(DropReason::AnswerRate);
        }
        match echo_reply(packet, headers) {
            Ok(()) => {
                self.stats.echoes += 1;
                Verdict::Reply
            }
            Err(Unanswerable::NoRoom) => Verdict::Drop(DropReason::NoRoom),
            Err(_) => {
                self.stats.unanswerable += 1;
                Verdict::Drop(DropReason::Unsupported)
            }
        }
    }

    /// Whether an error that is made otherwise, such as that of
    /// [`Tunnelled::answer`](super::Tunnelled::answer), may be sent to `to` now; it is counted.
    pub fn allows_error(&mut self, now: Instant, to: IpAddr) -> bool {
        self.allows(now, to, Kind::Error)
    }

    /// From whom errors come: the address that is configured for the family of `own`, else `own`.
    #[must_use]
    pub fn source_for(&self, own: IpAddr) -> IpAddr {
        match own {
            IpAddr::V4(v4) => self.config.source_v4.unwrap_or(v4).into(),
            IpAddr::V6(v6) => self.config.source_v6.unwrap_or(v6).into(),
        }
    }

    /// What it has done.
    #[must_use]
    pub const fn stats(&self) -> AnswerStats {
        self.stats
    }

    /// The source's own bucket first: who has used it up takes nothing from the others.
    fn allows(&mut self, now: Instant, source: IpAddr, kind: Kind) -> bool {
        let all = match kind {
            Kind::Echo => &self.echoes,
            Kind::Error => &self.errors,
        };
        let allowed = self.bucket_of(source).try_take(now, 1) && all.try_take(now, 1);
        self.stats.limited += u64::from(!allowed);
        allowed
    }

    fn bucket_of(&self, source: IpAddr) -> &TokenBucket {
        let bits = match SourcePrefix::default().of(source) {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let hash = self.key.sip13(&bits.to_be_bytes());
        let place = (hash % SOURCES) as usize;
        &self.sources[place]
    }
}

enum Kind {
    Echo,
    Error,
}

/// How many sources are told apart: 40 KiB of buckets.
const SOURCES: u64 = 1024;
