//! Why an interface could not be opened.

use std::io;

use thiserror::Error;

use super::{AfXdpConfig, MAX_MTU};
use crate::sys::xdp_socket::Step;

/// Why an interface could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The driver cannot run the program, or not in the mode asked for.
    #[error("the XDP program cannot run on {interface}")]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel answered: `EOPNOTSUPP` if the driver cannot.
        source: io::Error,
    },
    /// Another XDP program runs on the interface.
    #[error("{0} runs another XDP program (`ip link show {0}` tells which)")]
    Occupied(String),
    /// A setting that is out of its range.
    #[error("{0}")]
    Config(&'static str),
    /// There are too few huge pages.
    #[error("no huge pages for {bytes} bytes (`sysctl vm.nr_hugepages`)")]
    HugePages {
        /// Bytes that were asked for.
        bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Something else in the kernel failed.
    #[error("cannot {doing} of {interface}")]
    Kernel {
        /// What was to be done.
        doing: &'static str,
        /// The interface.
        interface: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// More memory would be locked than the process may lock (`RLIMIT_MEMLOCK`).
    #[error(
        "{bytes} bytes of packet memory are more than may be locked: raise the limit \
         (`ulimit -l`, or `LimitMEMLOCK=` of systemd), or give the program CAP_IPC_LOCK"
    )]
    MemoryLocked {
        /// Bytes that were asked for, for each queue.
        bytes: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The interface takes packets that do not fit a frame.
    #[error("{interface} takes packets of {mtu} bytes, and at most {MAX_MTU} fit a frame")]
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its largest packet, in bytes.
        mtu: usize,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// The interface.
        interface: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The interface has no such queue.
    #[error("{interface} has {queues} queues, and no queue {queue}")]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// How many it has.
        queues: u32,
    },
    /// The interface has no Ethernet header: TUN, tunnels, cellular modems.
    #[error("{0} is not an Ethernet interface")]
    NotEthernet(String),
    /// The process lacks a capability.
    #[error("the program needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF")]
    NotPermitted(#[source] io::Error),
    /// The kernel does not accept the program: a fault of this library, or a kernel before 5.11.
    #[error("the kernel refuses the XDP program: {said}")]
    Program {
        /// What its verifier said.
        said: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another socket serves the queue.
    #[error("another socket serves queue {queue} of {interface}")]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The driver cannot use the packet memory itself.
    #[error("the driver of {interface} cannot do without copies")]
    ZeroCopy {
        /// The interface.
        interface: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl OpenError {
    /// A failed step of opening the socket of `queue`.
    pub(super) fn socket(
        config: &AfXdpConfig,
        queue: u32,
        (step, source): (Step, io::Error),
    ) -> Self {
        let interface = config.interface.clone();
        let bytes = u64::from(config.frames) * crate::sys::umem::FRAME as u64;
        let code = source.raw_os_error();
        match (step, code) {
            (_, Some(libc::EPERM | libc::EACCES)) => Self::NotPermitted(source),
            (Step::Allocate, _) if config.huge_pages => Self::HugePages { bytes, source },
            // net/xdp/xdp_umem.c, xdp_umem_account_pages.
            (Step::Register, Some(libc::ENOBUFS)) => Self::MemoryLocked { bytes, source },
            (Step::Bind, Some(libc::EBUSY)) => Self::QueueTaken { interface, queue },
            (Step::Bind, Some(libc::EOPNOTSUPP)) if config.copying == super::Copying::ZeroCopy => {
                Self::ZeroCopy { interface, source }
            }
            _ => Self::Kernel {
                doing: match step {
                    Step::Allocate => "allocate the packet memory",
                    Step::Socket => "make a socket",
                    Step::Register => "register the packet memory",
                    Step::Rings => "make the rings",
                    Step::BusyPoll => "set busy polling",
                    Step::Bind => "bind to a queue",
                },
                interface,
                source,
            },
        }
    }

    /// A failed call about an interface.
    pub(super) fn kernel(interface: &str, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.raw_os_error() {
            Some(libc::EPERM) => Self::NotPermitted(source),
            _ => Self::Kernel {
                doing,
                interface: interface.to_owned(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::af_xdp::Copying;

    fn of(config: &AfXdpConfig, step: Step, code: i32) -> OpenError {
        OpenError::socket(config, 3, (step, io::Error::from_raw_os_error(code)))
    }

    #[test]
    fn a_failed_step_is_told_by_what_can_be_done_about_it() {
        let config = AfXdpConfig::new("eth0");
        let locked = of(&config, Step::Register, libc::ENOBUFS);
        let told = locked.to_string();
        assert!(
            told.contains("16777216") && told.contains("ulimit"),
            "{told}"
        );
        assert!(matches!(locked, OpenError::MemoryLocked { .. }));

        let taken = of(&config, Step::Bind, libc::EBUSY);
        assert_eq!(taken.to_string(), "another socket serves queue 3 of eth0");
        let forbidden = of(&config, Step::Socket, libc::EPERM);
        assert!(matches!(forbidden, OpenError::NotPermitted(_)));

        let pages = of(&config, Step::Allocate, libc::ENOMEM);
        assert!(matches!(pages, OpenError::Kernel { .. }), "{pages:?}");
        let pages = of(
            &config.clone().huge_pages(true),
            Step::Allocate,
            libc::ENOMEM,
        );
        assert!(matches!(
            pages,
            OpenError::HugePages {
                bytes: 16_777_216,
                ..
            }
        ));

        let copies = of(&config, Step::Bind, libc::EOPNOTSUPP);
        assert_eq!(copies.to_string(), "cannot bind to a queue of eth0");
        let copies = of(
            &config.copying(Copying::ZeroCopy),
            Step::Bind,
            libc::EOPNOTSUPP,
        );
        assert!(matches!(copies, OpenError::ZeroCopy { .. }), "{copies:?}");
    }

    #[test]
    fn a_right_that_is_missing_is_told_whatever_was_asked() {
        let told =
            |code| OpenError::kernel("eth0", "learn the MTU")(io::Error::from_raw_os_error(code));
        assert!(matches!(told(libc::EPERM), OpenError::NotPermitted(_)));
        assert_eq!(told(libc::EIO).to_string(), "cannot learn the MTU of eth0");
    }
}
