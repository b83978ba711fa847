//! Servers, clients and hosts for the tests and benches that cross crates.
//!
//! | here | for |
//! |---|---|
//! | [`process`] | any program, with its files in a directory of its own, ready when it listens |
//! | [`peer`] | nginx, HAProxy, iperf3 and dnsmasq, with the shortest configuration that serves |
//! | [`server`] | backends in this process: echo, silent, resetting, named |
//! | [`clb`] | the product of this workspace, serving a file |
//! | [`client`] | many connections at once, each byte of which is checked |
//! | [`load`], [`h2load`] | wrk, iperf3 and h2load, and what they report |
//! | [`slow`] | slowhttptest: clients that are slow on purpose |
//! | [`keys`], [`tls`], [`idle`] | a certificate; a client of TLS 1.3; connections that say nothing |
//! | [`web`], [`origin`] | web servers in this process: slow ones, and one that tells what it saw |
//! | [`authority`], [`keyless`] | certificates for mutual TLS; a second implementation of Keyless |
//! | [`keyserver`], [`wire`] | `clb keyserver`, and a client of it that asks what it should not |
//! | [`node`], [`handshakes`] | a node whose key another has; a steady load of handshakes |
//! | [`relay`] | a way to a server that is slow, or cut |
//! | [`steady`] | a load that goes on while things happen, and what became of each request |
//! | [`proxy`] | the HTTP proxy in this process, before a test's backends |
//! | [`websocket`] | WebSocket over HTTP/1.1 and HTTP/2, both ends |
//! | [`raw`] | what a polite client does not do: resets, half-closes, tiny windows |
//! | [`http`], [`metrics`] | an admin port, and the figures it shows |
//! | [`netns`], [`lan`] | hosts of their own, joined by wires; a router, directors and servers |
//! | [`procfs`] | what a process uses: CPU time, memory, descriptors, ports |
//! | [`host`] | free ports, directories, cores, and the loud skip |
//! | [`length`] | how long a test that can be made longer runs |
//! | [`wait`] | a condition and its deadline, instead of a sleep |
//! | [`workspace`] | the crates of this workspace, their files and their programs |
#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a host that is not as a test needs it fails the test, here as everywhere below"
)]

pub mod authority;
pub mod clb;
pub mod client;
pub mod h2load;
pub mod handshakes;
pub mod host;
pub mod http;
pub mod idle;
pub mod keyless;
pub mod keys;
pub mod keyserver;
pub mod lan;
pub mod length;
pub mod load;
pub mod metrics;
pub mod netns;
pub mod node;
pub mod origin;
pub mod peer;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod server;
pub mod slow;
pub mod steady;
pub mod tls;
pub mod wait;
pub mod web;
pub mod websocket;
pub mod wire;
pub mod workspace;
