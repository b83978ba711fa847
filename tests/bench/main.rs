//! Whole proxies side by side: what each costs for the same work, in one run.
//!
//! ```sh
//! cargo bench -p tests --bench relay -- tcp --at-most haproxy=1.0 --at-most nginx=1.0
//! cargo bench -p tests --bench relay -- bulk --at-most haproxy=1.0
//! cargo bench -p tests --bench relay -- udp --at-most nginx=0.8
//! cargo bench -p tests --bench relay -- trains --at-most nginx=0.5
//! cargo bench -p tests --bench relay -- memory --connections 9000
//! cargo bench -p tests --bench relay -- http https --at-most haproxy=1.0 --at-most pingora=0.5
//! cargo bench -p tests --bench relay -- h2 --at-most haproxy=1.4 --at-most pingora=0.6
//! cargo bench -p tests --bench relay -- handshakes --at-most haproxy=0.75
//! cargo bench -p tests --bench relay -- idle --kib-at-most plain=8 --kib-at-most tls=20 --kib-at-most h2=28
//! cargo bench -p tests --bench relay -- slow-backend --at-most even=1.2
//! ```
//!
//! Each proxy has one thread, on core 0; what makes the load and what answers it share core 1. All
//! proxies run from the first round to the last and take turns, so that what the host does
//! meanwhile falls on all alike. The figure that counts is the CPU time of the proxy for one unit
//! of work: unlike a rate, it does not depend on who shares the machine.
#![expect(clippy::print_stdout, reason = "a bench is read on a terminal")]
#![expect(
    clippy::print_stderr,
    reason = "a contender that is left out is said aloud"
)]

mod bulk;
mod contender;
mod http;
mod http_contender;
mod http_handshakes;
mod http_idle;
mod http_slow_backend;
mod memory;
mod options;
mod table;
mod tcp;
mod trains;
mod udp;

use std::process::ExitCode;

use harness::idle::Speech;
use options::{Options, Scene};

/// The proxy's core, and the one of everything else.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("{mistake}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    if let Err(error) = harness::host::pin_this_thread(LOAD_CORE) {
        eprintln!("core {LOAD_CORE}: {error}");
        return ExitCode::from(2);
    }
    let within = options.scenes.iter().fold(true, |within, scene| {
        let tables = match scene {
            Scene::Bulk => vec![bulk::compare(&options)],
            Scene::H2 => http::compare(&options, Speech::H2),
            Scene::Handshakes => vec![http_handshakes::compare(&options)],
            Scene::Http => http::compare(&options, Speech::Http),
            Scene::Https => http::compare(&options, Speech::Https),
            // Its limits are no ratios, and it has looked at them itself.
            Scene::Idle => return within & http_idle::compare(&options),
            Scene::Memory => vec![memory::compare(&options)],
            Scene::SlowBackend => vec![http_slow_backend::compare(&options)],
            Scene::Tcp => vec![tcp::compare(&options)],
            Scene::Trains => vec![trains::compare(&options)],
            Scene::Udp => vec![udp::compare(&options)],
        };
        tables.iter().fold(within, |within, table| {
            println!("{table}");
            within & table.keeps(&options.at_most)
        })
    });
    ExitCode::from(u8::from(!within))
}
