//! Which packets come here, and which are left to the host.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use lbcore::address_list::Prefix;

use super::program::{self, HOST, KEY_LEN, REDIRECT, Side};
use super::{AfXdpConfig, Attach, OpenError};
use crate::sys::bpf::{Link, Map, MapKind, Program, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};

/// Where packets of a prefix go.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Steer {
    /// What is sent to or from it is left to the host: a hole in a larger prefix.
    Host,
    /// What is sent to it comes here: virtual addresses, and local addresses of FULLNAT. With it
    /// come ARP and neighbour discovery that ask for it.
    Redirect,
    /// What is sent from it comes here, unless it is sent to a prefix of its own: backends, whose
    /// answers go to clients by way of NAT. Include the routers between them and this host, whose
    /// ICMP errors go to the clients too.
    ///
    /// Make the host's own addresses [`Host`](Self::Host): or else answers that backends give to
    /// the host itself, to health checks for example, come here too.
    RedirectAnswers,
}

/// The program of one interface, and its map of prefixes. Shared by the transports of its queues:
/// once the last one is dropped, or the process ends, the interface runs no program.
#[derive(Debug)]
pub struct Steering {
    prefixes: Map,
    sockets: Map,
    link: Option<(Link, Attach)>,
}

impl Steering {
    /// Loads the program for `queues` queues; it does not run yet.
    pub(super) fn load(config: &AfXdpConfig, queues: u32) -> Result<(Self, Program), OpenError> {
        let failed = |doing| OpenError::kernel(&config.interface, doing);
        let prefixes = Map::create(MapKind::Prefixes, KEY_LEN, 4, config.max_prefixes)
            .map_err(failed("make the map of prefixes"))?;
        let sockets = Map::create(MapKind::Sockets, 4, 4, queues)
            .map_err(failed("make the map of sockets"))?;
        let code = program::steering(prefixes.as_fd().as_raw_fd(), sockets.as_fd().as_raw_fd())
            .ok_or(OpenError::Config("the XDP program has a jump to nowhere"))?;
        let program = Program::load("lb_steering", &code).map_err(|(source, said)| match source
            .raw_os_error()
        {
            Some(libc::EPERM) => OpenError::NotPermitted(source),
            _ => OpenError::Program { said, source },
        })?;
        let steering = Self {
            prefixes,
            sockets,
            link: None,
        };
        Ok((steering, program))
    }

    /// Has packets of `queue` go to `socket`.
    pub(super) fn serve(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.sockets.set_socket(queue, socket)
    }

    /// Has the interface run the program.
    pub(super) fn attach(
        &mut self,
        program: &Program,
        config: &AfXdpConfig,
        interface: u32,
    ) -> Result<(), OpenError> {
        let native = || program.attach(interface, XDP_FLAGS_DRV_MODE);
        let generic = || program.attach(interface, XDP_FLAGS_SKB_MODE);
        let attached = match config.attach {
            Attach::Native => native().map(|link| (link, Attach::Native)),
            Attach::Generic => generic().map(|link| (link, Attach::Generic)),
            // Drivers refuse for many reasons: no such mode, an offload that is on, too few queues.
            // None of them keeps the kernel from running the program.
            Attach::Any => native()
                .map(|link| (link, Attach::Native))
                .or_else(|_| generic().map(|link| (link, Attach::Generic))),
        };
        let interface = || config.interface.clone();
        self.link = Some(attached.map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => OpenError::Occupied(interface()),
            Some(libc::EPERM) => OpenError::NotPermitted(source),
            _ => OpenError::Attach {
                interface: interface(),
                source,
            },
        })?);
        Ok(())
    }

    /// Steers packets of `prefix`, from the next one on; the longest prefix of an address decides.
    ///
    /// A destination that is found decides alone; the source is looked up only if it is not, and
    /// not of multicast, broadcast, ARP and neighbour discovery. What nobody steers is left to the
    /// host. The two redirections of one prefix add up. May be called while packets are forwarded,
    /// from any thread.
    ///
    /// # Errors
    ///
    /// `ENOSPC` with more prefixes than [`AfXdpConfig::max_prefixes`], of which
    /// [`Steer::Host`] takes two.
    pub fn steer(&self, prefix: Prefix, steer: Steer) -> io::Result<()> {
        let set = |side, value: i32| {
            self.prefixes
                .set(&program::key(side, prefix), &value.to_ne_bytes())
        };
        match steer {
            Steer::Redirect => set(Side::Destination, REDIRECT),
            Steer::RedirectAnswers => set(Side::Source, REDIRECT),
            Steer::Host => {
                set(Side::Destination, HOST)?;
                set(Side::Source, HOST)
            }
        }
    }

    /// Takes back whatever was said of `prefix`; whether anything was.
    ///
    /// # Errors
    ///
    /// Those of `bpf(2)`, which has no reason for one.
    pub fn forget(&self, prefix: Prefix) -> io::Result<bool> {
        let destination = self
            .prefixes
            .remove(&program::key(Side::Destination, prefix))?;
        let source = self.prefixes.remove(&program::key(Side::Source, prefix))?;
        Ok(destination | source)
    }

    /// Where the program runs: never [`Attach::Any`].
    #[must_use]
    pub fn attached(&self) -> Attach {
        self.link.as_ref().map_or(Attach::Any, |(_, mode)| *mode)
    }
}
