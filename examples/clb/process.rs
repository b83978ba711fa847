//! What the kernel says of this process (proc(5)).

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin::snapshot::Process;

/// Reads it; what cannot be read is 0, as on a system without `/proc`.
pub(crate) fn read() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    Process {
        cpu_seconds: cpu_seconds(&stat).unwrap_or(0.0),
        // One of them is the directory itself, which is open while it is read.
        open_fds: fs::read_dir("/proc/self/fd")
            .map_or(0, |open| open.count().saturating_sub(1) as u64),
        // None is no limit, which the kernel does not know for descriptors (fs.nr_open).
        max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        resident_bytes: resident_pages(&statm).unwrap_or(0) * PAGE,
    }
}

/// Raises the number of descriptors that may be open to what the host allows, and tells it.
///
/// Each session takes up to two, and the usual limit of 1,024 is for programs that `select(2)`.
pub(crate) fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What cannot be raised is served with as it is.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// How long 1970-01-01 is past, as the host believes.
#[expect(
    clippy::disallowed_methods,
    reason = "a date for people, and what nodes agree on about time; no span is measured by it"
)]
pub(crate) fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The same in seconds, as people read it.
pub(crate) fn date() -> f64 {
    since_1970().as_secs_f64()
}

/// Fields 14 and 15, utime and stime, counted behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

/// The second field.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `USER_HZ`, which the kernel holds at 100 for programs on every architecture of today.
const TICKS: f64 = 100.0;

/// The page of x86-64, and of most arm64 kernels.
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_that_looks_like_fields() {
        let stat = "7 (a) b) 1 2) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn memory_is_the_second_field() {
        assert_eq!(resident_pages("100 25 3"), Some(25));
        assert_eq!(resident_pages("100"), None);
    }

    #[test]
    fn as_many_descriptors_may_be_open_as_the_host_allows() {
        let most = raise_descriptors();
        assert_eq!(most, getrlimit(Resource::Nofile).maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, most);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = read();
        assert!(
            process.resident_bytes > PAGE
                && process.open_fds > 2
                && process.max_fds >= process.open_fds,
            "{process:?}"
        );
    }
}
