//! What a process uses: CPU time, memory, descriptors, ports (proc(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Sub;
use std::time::Duration;

/// CPU time that a process has used, all threads together, those that ended included.
///
/// The kernel tells it in ticks, 10 ms each on common hosts: measure spans of seconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CpuTime {
    /// In the program's own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// Of the process `pid` until now; `None` when there is no such process.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&stat, rustix::param::clock_ticks_per_second())
    }

    /// User and system time together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// Reads `/proc/PID/stat`, in which a second has `ticks_per_second` ticks.
    fn parse(stat: &str, ticks_per_second: u64) -> Option<Self> {
        // The second field is the program's name in parentheses, and may itself hold any
        // character; the last parenthesis ends it. The third field is the first one after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(14 - 3);
        let mut time = || {
            let ticks: u64 = fields.next()?.parse().ok()?;
            let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second);
            Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
        };
        Some(Self {
            user: time()?,
            system: time()?,
        })
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Memory of a process that is in RAM, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most there ever was.
    pub peak: u64,
}

impl Memory {
    /// Of the process `pid`; `None` when there is no such process.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// Reads `/proc/PID/status`.
    fn parse(status: &str) -> Option<Self> {
        let kibibytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Self {
            resident: kibibytes("VmRSS:")? * 1024,
            peak: kibibytes("VmHWM:")? * 1024,
        })
    }
}

/// Memory in RAM that the process `pid` shares with none, in bytes; `None` when there is no such
/// process.
///
/// Walks all its pages: takes milliseconds.
#[must_use]
pub fn private_memory(pid: u32) -> Option<u64> {
    private(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// Reads `/proc/PID/smaps_rollup`.
fn private(rollup: &str) -> Option<u64> {
    let kibibytes = |name: &str| -> Option<u64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_suffix("kB")?.trim().parse().ok()
    };
    Some((kibibytes("Private_Clean:")? + kibibytes("Private_Dirty:")?) * 1024)
}

/// How many descriptors the process `pid` has open; `None` when there is no such process.
#[must_use]
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// The protocol of a socket.
#[expect(clippy::exhaustive_enums, reason = "the two that listeners here speak")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// A TCP socket that listens.
    Tcp,
    /// A UDP socket that is bound, and not connected.
    Udp,
}

/// Whether `address` is served in the network namespace of the process `pid`.
///
/// Looks without connecting: a server that takes one client at a time is not disturbed.
#[must_use]
pub fn serves(pid: u32, protocol: Protocol, address: SocketAddr) -> bool {
    let (table, state) = match protocol {
        Protocol::Tcp => ("tcp", "0A"),
        Protocol::Udp => ("udp", "07"),
    };
    ["", "6"].iter().any(|family| {
        std::fs::read_to_string(format!("/proc/{pid}/net/{table}{family}"))
            .is_ok_and(|sockets| bound(&sockets, state).any(|local| covers(local, address)))
    })
}

/// The local addresses in a table of `/proc/net` whose state is `state`.
fn bound(table: &str, state: &str) -> impl Iterator<Item = SocketAddr> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?;
        let _remote = fields.next()?;
        (fields.next()? == state).then(|| parse_address(local))?
    })
}

/// `0100007F:1F90` is 127.0.0.1:8080: each 32-bit word as the host, little-endian, reads it.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |n: usize| -> Option<[u8; 4]> {
        let digits = address.get(n * 8..n * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            IpAddr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Whether a socket bound to `local` takes what is sent to `address`.
fn covers(local: SocketAddr, address: SocketAddr) -> bool {
    let everywhere = match local.ip() {
        // A dual-stack socket takes IPv4 as well.
        IpAddr::V6(ip) => ip == Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(ip) => ip == Ipv4Addr::UNSPECIFIED && address.is_ipv4(),
    };
    local.port() == address.port() && (everywhere || local.ip() == address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a real process whose name was set to hold what separates the fields.
    const STAT: &str = "4711 (a) S 1 (b) R 4242 4711 4711 0 -1 4194560 533 7 1 2 150 25 3 4 20 0 \
                        3 0 99 10000 120 18446744073709551615 1 1 0 0";

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100007F:1F91 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0
";

    #[test]
    fn cpu_time_is_read_after_the_last_parenthesis_of_the_name() {
        let time = CpuTime::parse(STAT, 100).unwrap();
        assert_eq!(time.user, Duration::from_millis(1_500));
        assert_eq!(time.system, Duration::from_millis(250));
        assert_eq!(time.total(), Duration::from_millis(1_750));
    }

    #[test]
    fn cut_and_empty_lines_give_no_cpu_time() {
        assert_eq!(CpuTime::parse("", 100), None);
        assert_eq!(CpuTime::parse("1 (a) S 1 2 3", 100), None);
    }

    #[test]
    fn a_span_is_the_later_less_the_earlier_and_never_negative() {
        let time = |user, system| CpuTime {
            user: Duration::from_millis(user),
            system: Duration::from_millis(system),
        };
        assert_eq!(time(50, 20) - time(30, 5), time(20, 15));
        assert_eq!(time(1, 1) - time(2, 2), time(0, 0));
    }

    #[test]
    fn private_memory_is_what_is_clean_and_what_is_dirty() {
        let text = "Rss: 90 kB\nPrivate_Clean:   3 kB\nPrivate_Dirty:   4 kB\nSwap: 1 kB\n";
        assert_eq!(private(text), Some(7 * 1024));
        assert_eq!(private("Private_Clean: 3 kB\n"), None);
        assert!(private_memory(std::process::id()).is_some_and(|bytes| bytes > 100_000));
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t 4 kB\n";
        let memory = Memory::parse(status).unwrap();
        assert_eq!(memory.resident, 1024 * 1024);
        assert_eq!(memory.peak, 2048 * 1024);
        // A kernel thread has neither line.
        assert_eq!(Memory::parse("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn only_sockets_in_the_state_are_bound() {
        let listening: Vec<_> = bound(TCP, "0A").map(|local| local.to_string()).collect();
        assert_eq!(listening, ["127.0.0.1:8080", "0.0.0.0:22"]);
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let v6 = parse_address("00000000000000000000000001000000:0035").unwrap();
        assert_eq!(v6.to_string(), "[::1]:53");
        for bad in [
            "",
            "0100007F",
            "0100007F:",
            "0100007F:XX",
            "01:0035",
            "G100007F:0035",
        ] {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_socket_covers_its_own_address_and_any_address_when_unspecified() {
        let says =
            |local: &str, address: &str| covers(local.parse().unwrap(), address.parse().unwrap());
        assert!(says("127.0.0.1:80", "127.0.0.1:80"));
        assert!(says("0.0.0.0:80", "127.0.0.1:80"));
        assert!(says("[::]:80", "127.0.0.1:80"));
        assert!(says("[::]:80", "[::1]:80"));
        assert!(!says("0.0.0.0:80", "[::1]:80"));
        assert!(!says("127.0.0.2:80", "127.0.0.1:80"));
        assert!(!says("127.0.0.1:81", "127.0.0.1:80"));
    }

    #[test]
    fn this_process_can_be_measured() {
        let me = std::process::id();
        let memory = Memory::of(me).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        assert!(CpuTime::of(me).is_some());
        assert_eq!(CpuTime::of(u32::MAX), None);
        assert_eq!(Memory::of(u32::MAX), None);
        assert_eq!(descriptors(u32::MAX), None);
    }

    #[test]
    fn an_open_socket_is_a_descriptor_and_is_served() {
        let me = std::process::id();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
        assert!(descriptors(me).unwrap() > 2);
        let address = listener.local_addr().unwrap();
        assert!(serves(me, Protocol::Tcp, address));
        assert!(serves(me, Protocol::Udp, socket.local_addr().unwrap()));

        drop(listener);
        assert!(!serves(me, Protocol::Tcp, address));
    }
}
