//! Servers, clients and hosts for the tests and benches that cross crates.
//!
//! | here | for |
//! |---|---|
//! | [`process`] | any program, with its files in a directory of its own, ready when it listens |
//! | [`peer`] | nginx, HAProxy, iperf3 and dnsmasq, with the shortest configuration that serves |
//! | [`server`] | backends in this process: echo, silent, resetting, named |
//! | [`clb`] | the product of this workspace, serving a file |
//! | [`client`] | many connections at once, each byte of which is checked |
//! | [`load`] | wrk and iperf3, and what they report |
//! | [`steady`] | a load that goes on while things happen, and what became of each request |
//! | [`raw`] | what a polite client does not do: resets, half-closes, tiny windows |
//! | [`http`], [`metrics`] | an admin port, and the figures it shows |
//! | [`netns`] | hosts of their own, joined by wires |
//! | [`procfs`] | what a process uses: CPU time, memory, descriptors, ports |
//! | [`host`] | free ports, directories, cores, and the loud skip |
//! | [`wait`] | a condition and its deadline, instead of a sleep |
//! | [`workspace`] | the crates of this workspace, their files and their programs |
#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a host that is not as a test needs it fails the test, here as everywhere below"
)]

pub mod clb;
pub mod client;
pub mod host;
pub mod http;
pub mod load;
pub mod metrics;
pub mod netns;
pub mod peer;
pub mod process;
pub mod procfs;
pub mod raw;
pub mod server;
pub mod steady;
pub mod wait;
pub mod workspace;
