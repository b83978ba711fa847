//! Hosts of their own, joined by wires: network namespaces and veth pairs (ip-netns(8), veth(4)).

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host;

/// A network namespace, which is deleted with this value, and its wires with it.
///
/// # Examples
///
/// ```
/// use harness::netns::Namespace;
///
/// let Some([client, server]) = Namespace::open() else {
///     return;
/// };
/// client.wire("10.1.0.1/24", &server, "10.1.0.2/24");
/// let listener = server.enter(|| std::net::TcpListener::bind("10.1.0.2:80"));
/// assert!(listener.is_ok());
/// assert!(client.enter(|| std::net::TcpStream::connect("10.1.0.2:80")).is_ok());
/// ```
#[derive(Debug)]
pub struct Namespace {
    name: Arc<Name>,
}

/// The name of a namespace, which is deleted with it.
#[derive(Debug)]
struct Name(String);

impl Namespace {
    /// `N` namespaces whose loopback is up, or a loud skip where the host does not permit them.
    #[must_use]
    #[track_caller]
    pub fn open<const N: usize>() -> Option<[Self; N]> {
        let mut opened = Vec::new();
        for _ in 0..N {
            match Self::add() {
                Ok(namespace) => opened.push(namespace),
                Err(reason) => {
                    host::skip(&format!("no network namespace: {reason}"));
                    return None;
                }
            }
        }
        opened.try_into().ok()
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name.0
    }

    /// The same namespace, which lasts until both values are gone.
    #[must_use]
    pub fn same(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
        }
    }

    /// Runs `ip` in it, with arguments as one would type them.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        let netns = ["-n", self.name()];
        let result = ip(netns.into_iter().chain(words.split_ascii_whitespace()));
        result.unwrap_or_else(|error| panic!("{}: ip {words}: {error}", self.name()));
    }

    /// Joins it by a wire to `other`; each end has its address, as `10.1.0.1/24`.
    #[track_caller]
    pub fn wire(&self, address: &str, other: &Self, other_address: &str) {
        let (near, far) = (interface(), interface());
        let peer = other.name();
        self.ip(&format!(
            "link add {near} type veth peer name {far} netns {peer}"
        ));
        for (namespace, link, address) in [(self, near, address), (other, far, other_address)] {
            // Duplicate address detection would keep an IPv6 address unusable for a second.
            let now = if address.contains(':') { "nodad" } else { "" };
            namespace.ip(&format!("address add {address} dev {link} {now}"));
            namespace.ip(&format!("link set {link} up"));
        }
    }

    /// Loses that many of a hundred packets, in and out, at random, or skips loudly where the host
    /// has no nftables. The kernel's own way to do so (netem) is not in every kernel.
    #[must_use]
    #[track_caller]
    pub fn lose(&self, percent: u8) -> bool {
        let rules = format!(
            "table inet loss {{
                 chain incoming {{
                     type filter hook input priority 0;
                     numgen random mod 100 < {percent} drop
                 }}
                 chain outgoing {{
                     type filter hook output priority 0;
                     numgen random mod 100 < {percent} drop
                 }}
             }}"
        );
        match self.nft(&rules) {
            Ok(()) => true,
            Err(reason) => {
                host::skip(&format!("no packet can be lost by nftables: {reason}"));
                false
            }
        }
    }

    fn nft(&self, rules: &str) -> Result<(), String> {
        let words = ["netns", "exec", self.name(), "nft", "-f", "-"];
        let mut nft = Command::new("ip")
            .args(words)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut stdin = nft.stdin.take().expect("it is piped");
        // A program that has ended at once says why on its standard error.
        let _ = stdin.write_all(rules.as_bytes());
        drop(stdin);
        let output = nft.wait_with_output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Runs `work` on a thread of this namespace; sockets opened there stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file =
            File::open(format!("/run/netns/{}", self.name())).expect("a namespace is a file");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), network).expect("root may enter");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn add() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{unique}", std::process::id());
        ip(["netns", "add", &name])?;
        let namespace = Self {
            name: Arc::new(Name(name)),
        };
        namespace.ip("link set lo up");
        Ok(namespace)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Its absence is what is wanted.
        let _ = ip(["netns", "delete", &self.0]);
    }
}

/// A name for one end of a wire; the kernel takes at most 15 characters.
fn interface() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("wire{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn ip<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let output = Command::new("ip").args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::path::Path;

    use super::*;
    use crate::process::Launch;
    use crate::wait::PATIENCE;

    #[test]
    fn two_hosts_talk_over_their_wire_in_both_families() {
        let Some([a, b]) = Namespace::open() else {
            return;
        };
        a.wire("10.1.0.1/24", &b, "10.1.0.2/24");
        a.wire("fd00::1/64", &b, "fd00::2/64");
        for address in ["10.1.0.2:7", "[fd00::2]:7"] {
            let listener = b.enter(|| TcpListener::bind(address)).unwrap();
            let mut client = a.enter(|| TcpStream::connect(address)).unwrap();
            client.write_all(b"x").unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            let mut byte = [0];
            accepted.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
        }
    }

    #[test]
    fn a_host_sees_none_of_our_ports_and_goes_with_its_value() {
        let Some([host]) = Namespace::open() else {
            return;
        };
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ours.local_addr().unwrap();
        host.enter(|| TcpStream::connect(address)).unwrap_err();

        let file = Path::new("/run/netns").join(host.name());
        assert!(file.exists());
        drop(host);
        assert!(!file.exists());
    }

    #[test]
    fn a_program_can_be_started_within() {
        let Some([host]) = Namespace::open() else {
            return;
        };
        let mut ip = Launch::new("ip")
            .args(["netns", "identify"])
            .within(&host)
            .start();
        ip.wait(PATIENCE);
        assert_eq!(ip.log().trim(), host.name());
    }

    #[test]
    fn a_lossy_host_loses_some_packets_and_not_all() {
        let Some([a, b]) = Namespace::open() else {
            return;
        };
        a.wire("10.1.0.1/24", &b, "10.1.0.2/24");
        if !b.lose(30) {
            return;
        }
        let hears = b.enter(|| UdpSocket::bind("10.1.0.2:7")).unwrap();
        let says = a.enter(|| UdpSocket::bind("10.1.0.1:0")).unwrap();
        hears.set_nonblocking(true).unwrap();
        let mut heard = 0;
        for _ in 0..1_000 {
            says.send_to(b"x", "10.1.0.2:7").unwrap();
            // The wire is a function call: what was sent has come by now, or never will.
            heard += u32::from(hears.recv(&mut [0]).is_ok());
        }
        // Five standard deviations from 700.
        assert!((628..772).contains(&heard), "{heard}");
    }
}
