//! Keeps the memory of the process to itself.

use std::io;

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Keeps keys in this process's memory out of core dumps, of debuggers and, where it may, of swap.
///
/// For the program to call once, early, before it reads keys. From then on the process is not
/// dumpable: no core is written, nor piped to a collector of them; another process without
/// CAP_SYS_PTRACE neither attaches to it nor reads its memory; and much of its own `/proc` belongs to
/// root. It does not keep keys from whoever executes code in this process, nor from root.
///
/// Memory is locked only where RLIMIT_MEMLOCK is unlimited (systemd: `LimitMEMLOCK=infinity`), as an
/// allocation beyond that limit would end the process; then pages are locked as they are touched.
///
/// # Errors
///
/// When the kernel refuses; what it did not refuse holds.
///
/// Sources: PR_SET_DUMPABLE(2const), ptrace(2), core(5), mlockall(2).
pub fn protect_process() -> io::Result<Protection> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // The process may become dumpable again, as by a change of its user.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    let is_unlimited = rustix::process::getrlimit(Resource::Memlock)
        .current
        .is_none();
    if is_unlimited {
        let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
        rustix::mm::mlockall(flags)?;
    }
    Ok(Protection {
        locked: is_unlimited,
    })
}

/// What [`protect_process`] came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Protection {
    /// Whether memory is kept out of swap. Where it is not, encrypt the swap, or have none.
    pub locked: bool,
}
